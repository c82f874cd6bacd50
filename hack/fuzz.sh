#!/usr/bin/env bash
# Fuzzes every target in fuzz/ for a short time. Needs nothing but stable Rust and a C++ compiler.
set -euo pipefail

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=hack/lib.sh
. "$repo/hack/lib.sh"
cd "$repo"

usage() {
	cat <<'EOF'
usage: hack/fuzz.sh [TARGET...]
environment:
  FUZZ_SECONDS  how long each target runs; default 10
A target that fails ends the script with the path of the input that did it. Run it again with: hack/fuzz.sh TARGET=INPUT
What is newly found stays in fuzz/found/TARGET/, which git ignores; fuzz/corpus/ has the seeds.
EOF
}
case ${1:-} in -h | --help) usage && exit ;; esac

# `if` keeps targets apart whose entry points are not there.
features=()
[[ -e src/est/fuzz.rs ]] && features+=(front)
[[ -e src/registrar/socket/mod.rs ]] && features+=(socket)
list=$(IFS=,; echo "${features[*]-}")

command -v c++ >/dev/null || die "libFuzzer needs a C++ compiler: install g++"
say "fuzz: building the targets"
messages=$(RUSTC_WORKSPACE_WRAPPER=$repo/hack/fuzz-rustc.sh \
	cargo build --locked --package devicecert-fuzz --features "$list" --bins --message-format json-render-diagnostics) ||
	die "the targets do not compile"
declare -A programs
while IFS=$'\t' read -r name program; do
	programs[$name]=$program
done < <(python3 -c '
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("executable") and "/fuzz" in message["manifest_path"]:
        print(message["target"]["name"], message["executable"], sep="\t")
' <<<"$messages")

wanted=("$@")
((${#wanted[@]})) || mapfile -t wanted < <(printf '%s\n' "${!programs[@]}" | sort)
seconds=${FUZZ_SECONDS:-10} failed=0
for target in "${wanted[@]}"; do
	input=${target#*=} target=${target%%=*}
	[[ -n ${programs[$target]:-} ]] || die "there is no fuzz target $target: choose from ${!programs[*]}"
	if [[ $input != "$target" ]]; then
		"${programs[$target]}" "$input" || failed=1
		continue
	fi
	mkdir -p "fuzz/found/$target" "fuzz/artifacts/$target" "fuzz/corpus/$target"
	log=$(mktemp)
	if "${programs[$target]}" -max_total_time="$seconds" -timeout=5 -rss_limit_mb=1024 -max_len=8192 -print_final_stats=1 \
		-artifact_prefix="fuzz/artifacts/$target/" "fuzz/found/$target" "fuzz/corpus/$target" >"$log" 2>&1; then
		runs=$(sed -nE 's/^stat::number_of_executed_units: *//p' "$log")
		coverage=$(sed -nE 's/.* cov: ([0-9]+) .*/\1/p' "$log" | tail -n 1)
		echo "ok    fuzz $target: $runs inputs, ${coverage:-0} branches"
	else
		failed=1
		grep -E 'panicked|assertion|left:|right:|ERROR|Test unit written' "$log" >&2 || tail -n 20 "$log" >&2
		echo "FAIL  fuzz $target"
	fi
	rm -f "$log"
done
exit "$failed"
