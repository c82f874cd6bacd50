# `make help` lists what there is. Everything works from a clean checkout: what is missing is installed or built first.
SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# One thing at a time: cargo and the API server use all cores anyway.
.NOTPARALLEL:
.PHONY: help quickstart down setup build test test-rust test-chart test-docs crds check-drift lint fmt fuzz bench clean-local

# Puts kubectl, helm, promtool and the API server on PATH; `exit 1` because a failed $$(…) does not stop eval.
tools = eval "$$(hack/setup.sh --print-env || echo exit 1)"

scripts = hack/*.sh .ci/run deploy/render.sh tests/cluster/cluster tests/chart/check.sh tests/docs.sh

help: ## list the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 22

# Only `make quickstart CLUSTER=existing` counts; a CLUSTER in the environment does not.
quickstart: ## a control plane, the operator, sample objects and an enrolled device, all on this machine
	@hack/quickstart.sh $(if $(filter command\ line:existing,$(origin CLUSTER):$(CLUSTER)),--existing-cluster)

down: ## stop what the quickstart started; PURGE=1 deletes .local/ too
	@hack/quickstart.sh down $(if $(PURGE),--purge)

clean-local: ## the same as: make down PURGE=1
	@hack/quickstart.sh down --purge

setup: ## install or build the programs that the other targets need
	@hack/setup.sh

build: setup ## build the operator (debug profile, as the tests and the quickstart use it)
	cargo build --locked

# A failure of one kind does not hide those of another.
test: setup ## every test; none needs a cluster or Docker
	@$(MAKE) --no-print-directory --keep-going test-docs test-chart test-rust

# Integration tests mostly wait, so twice as many run at a time as the machines for which this is made have processors.
test-rust: setup ## unit tests, and integration tests against a real API server
	@$(tools); RUST_TEST_THREADS=$${RUST_TEST_THREADS:-4} cargo test --locked

test-chart: setup ## the Helm chart, manifests, alerts and dashboard
	@unset KUBECONFIG; tests/chart/check.sh

test-docs: setup ## what the documentation says, compared with the sources; the README's tour, carried out
	@tests/docs.sh

crds: ## generate crds/ from src/api, and the chart's copy
	@hack/crds.sh

check-drift: ## fail if crds/ or the chart's copy differ from src/api
	@hack/crds.sh --check

lint: ## formatting, clippy and shellcheck
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	@if command -v shellcheck >/dev/null; then shellcheck -x $(scripts); else echo "(shellcheck is not installed: the scripts are not checked)"; fi

fmt: ## format the Rust sources
	cargo fmt

fuzz: ## feed random bytes to every parser for a short time each (FUZZ_SECONDS=10)
	@hack/fuzz.sh

# The second needs thousands of open files. The last is `controller` and `est` as in a pod, and only what differs there.
bench: setup ## measure EST alone, then issuance and EST on a local control plane, and compare with the bars
	cargo bench --locked --quiet --bench front --bench fleet --no-run
	@ulimit -n "$$(ulimit -Hn)" && cargo bench --locked --quiet --bench front
	@hack/bench.sh
	@hack/bench.sh --roles two --certificates 0 --restores 0 --devices 0 --out target/bench/two.json
