#!/usr/bin/env bash
# Measures the operator on a control plane of its own, which is gone afterwards. Arguments go to the bench; see --help.
# Everything stays on the loopback address. The table goes to stdout, the figures to target/bench/fleet.json.
set -euo pipefail

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=hack/lib.sh
. "$repo/hack/lib.sh"
cd "$repo"

# Long before anything is started: the first release build takes minutes.
say "bench: building the operator and the bench for release"
cargo bench --quiet --bench fleet --no-run
case " $* " in
*" --help "* | *" -h "*) exec cargo bench --quiet --bench fleet -- --help ;;
esac

environment=$(hack/setup.sh --print-env) # a failure inside eval's argument would go unnoticed
eval "$environment"
cluster=$(mktemp -d "${TMPDIR:-/tmp}/devicecert-bench.XXXXXX")
trap 'tests/cluster/cluster down "$cluster" --purge; rm -rf "$cluster"' EXIT
trap 'exit 130' INT TERM
tests/cluster/cluster up "$cluster" --with-parent $$

export KUBECONFIG=$cluster/kubeconfig
kubectl apply --server-side -f crds/ >/dev/null
kubectl wait --for=condition=Established --timeout=60s -f crds/ >/dev/null
cargo bench --quiet --bench fleet -- "$@"
