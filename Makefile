# Everything a person does with this repository. `make help` lists it.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

STACK := python3 dev/stack.py
TARGET := $(or $(CARGO_TARGET_DIR),target)
# nextest keeps fault tests apart from the others; plain cargo does so with one thread.
RUN_TESTS := if cargo nextest --version >/dev/null 2>&1; then cargo nextest run --locked; \
	else cargo test --locked -- --test-threads=1; fi

.PHONY: help demo up down test kills chaos clients soak check bench fmt build fetch

help: ## This list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

demo: build ## Kill a leader in the middle of a restore, and see every record come back
	@$(STACK) demo

up: build ## Start three replicas, mongod and ZooKeeper without data; prints the URLs and where the token is
	@$(STACK) up

down: ## Stop what `make up` started, and keep its files in .stack until the next `make up`
	@$(STACK) down

test: ## Everything that CI runs: format, lints, licences, the demonstration, the documents' commands, all tests
	@cargo fmt --check
	@cargo clippy --locked --quiet --all-targets -- -D warnings
	@trap '$(STACK) test-parts down' EXIT; \
	mkdir -p .run; \
	$(STACK) fetch; \
	$(STACK) deny; \
	cargo build --locked --quiet --features unfenced; \
	cp "$(TARGET)/debug/rollkeeper" .run/rollkeeper-unfenced; \
	cargo build --locked --quiet; \
	$(STACK) demo; \
	python3 -m unittest discover --start-directory dev; \
	$(STACK) test-parts up >/dev/null; \
	set -a; . .run/parts/env; set +a; \
	export ROLLKEEPER_TEST_UNFENCED="$$PWD/.run/rollkeeper-unfenced"; \
	$(RUN_TESTS)

kills: build ## Kill the leader 200 times during writes at full speed (KILLS=200, KILLS_SEED repeats a run)
	@trap '$(STACK) test-parts down' EXIT; \
	$(STACK) test-parts up >/dev/null; \
	set -a; . .run/parts/env; set +a; \
	KILLS="$(or $(KILLS),200)" cargo test --locked --quiet --test it -- --nocapture kills::

chaos: ## Break leaders, ZooKeeper and MongoDB until 100 failovers are checked (CHAOS=100 SEED=7; report in .run/chaos)
	@trap '$(STACK) test-parts down' EXIT; \
	mkdir -p .run; \
	$(STACK) fetch; \
	for broken in unfenced unleased; do \
		cargo build --locked --quiet --features "$$broken"; \
		cp "$(TARGET)/debug/rollkeeper" ".run/rollkeeper-$$broken"; \
	done; \
	cargo build --locked --quiet; \
	$(STACK) test-parts up >/dev/null; \
	set -a; . .run/parts/env; set +a; \
	export ROLLKEEPER_TEST_UNFENCED="$$PWD/.run/rollkeeper-unfenced"; \
	export ROLLKEEPER_TEST_UNLEASED="$$PWD/.run/rollkeeper-unleased"; \
	CHAOS="$(or $(CHAOS),100)" CHAOS_SEED="$(SEED)" \
		cargo test --locked --test it -- chaos:: --include-ignored --skip a_kept_history --nocapture --test-threads=1

clients: build ## Generate clients of the API, compile and run them, and let schemathesis ask everything
	@python3 dev/clients.py

soak: ## Simulate everything that can happen to a history (SECONDS=600 SEED=7; without SEED a new one)
	@trap '$(STACK) test-parts down' EXIT; \
	$(STACK) fetch; \
	cargo build --locked --quiet; \
	$(STACK) test-parts up >/dev/null; \
	set -a; . .run/parts/env; set +a; \
	SIM_SECONDS="$(or $(SECONDS),600)" SIM_SEED="$(SEED)" \
		cargo test --locked --test it -- simulation:: --nocapture

check: ## The quick loop: format, lints, and the tests that need no MongoDB or ZooKeeper
	@cargo fmt --check
	@cargo clippy --locked --quiet --all-targets -- -D warnings
	@cargo test --locked --quiet --lib -- --skip store::
	@cargo test --locked --quiet --test it -- tidy::

bench: ## Measure against the budgets of the design (USERS=1000000; WRITE=1 updates docs/benchmarks.md)
	@python3 dev/bench.py $(if $(WRITE),write)

fmt: ## Format the sources
	@cargo fmt

fetch: ## Get mongod, ZooKeeper and the tools, and start nothing
	@$(STACK) fetch

build:
	@cargo build --locked
