#!/usr/bin/env bash
# Generates crds/ and the chart's copy from src/api; --check only says whether they are what the sources give.
set -euo pipefail

usage() { echo "usage: hack/crds.sh [--check]" >&2; }

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=hack/lib.sh
. "$repo/hack/lib.sh"
cd "$repo"

[[ $# == 0 || $* == --check ]] || { usage && exit 2; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
fresh=$scratch/crds
mkdir "$fresh"

cargo run --quiet --locked --bin devicecert-operator -- crds --output-dir "$fresh"
for target in crds charts/devicecert-operator/files/crds; do
	diff -ruN "$target" "$fresh" >"$scratch/diff" && continue
	if [[ $* == --check ]]; then
		cat "$scratch/diff" >&2
		die "$target is not what src/api gives (the lines with + are); run: make crds"
	fi
	mkdir -p "$target"
	rm -f "$target"/*.yaml
	cp "$fresh"/*.yaml "$target/"
	say "wrote $target"
done
say "crds: up to date"
