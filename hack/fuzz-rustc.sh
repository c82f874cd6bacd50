#!/usr/bin/env bash
# cargo's RUSTC_WORKSPACE_WRAPPER for hack/fuzz.sh: counts the branches of our own crates for libFuzzer. Dependencies are
# compiled as always, so they are not compiled again for fuzzing; and no flag needs a nightly compiler.
set -euo pipefail
flags=()
case ${CARGO_PKG_NAME:-} in
devicecert | devicecert-fuzz)
	flags=(--cfg fuzzing -Ccodegen-units=1 -Cpasses=sancov-module
		-Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
		-Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares)
	;;
esac
exec "$@" ${flags[@]+"${flags[@]}"}
