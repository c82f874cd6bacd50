#!/usr/bin/env bash
# Compares what the documentation says with the sources, then runs a quickstart of its own and carries out the README's tour.
set -euo pipefail

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=hack/lib.sh
. "$repo/hack/lib.sh"
cd "$repo"

[[ $# == 0 ]] || { echo "usage: tests/docs.sh" >&2 && exit 2; }
python3 tests/docs.py claims

scratch=$(mktemp -d)
export DEVICECERT_LOCAL="$scratch/a folder" EST_PORT METRICS_PORT # a space, because paths may have one
EST_PORT=$(free_port) METRICS_PORT=$(free_port)
stop() {
	hack/quickstart.sh down --purge >"$scratch/down.log" 2>&1 || cat "$scratch/down.log" >&2
	rm -rf "$scratch"
}
trap stop EXIT
trap 'exit 130' INT TERM

say "docs: a quickstart of its own, on ports $EST_PORT and $METRICS_PORT"
hack/quickstart.sh >"$scratch/quickstart.log" 2>&1 || { tail -n 40 "$scratch/quickstart.log" >&2 && say "FAIL  make quickstart" && exit 1; }
say "ok    make quickstart"
hack/quickstart.sh >"$scratch/again.log" 2>&1 || { tail -n 40 "$scratch/again.log" >&2 && say "FAIL  make quickstart, a second time" && exit 1; }
say "ok    make quickstart, a second time"
python3 tests/docs.py tour "$DEVICECERT_LOCAL" "$EST_PORT" "$METRICS_PORT"
