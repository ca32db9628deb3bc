# Two commands do everything: `make demo` shows Millstream at work, `make test` proves it. Each does all of its own
# set-up. `make help` lists the rest.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help demo test bench bench-peer lint fmt docs kafka-up kafka-down

# CI clones afresh each time. RocksDB and librdkafka (a quarter of an hour on two cores) must not be built afresh too.
ifeq ($(CI),true)
export CARGO_TARGET_DIR ?= $(HOME)/.cache/millstream/target
# What is kept for the next build of the same clone is lost with it.
export CARGO_INCREMENTAL ?= 0
endif

# Always --release: one build profile serves the demo, the tests and the benchmarks.
CARGO_RUN := cargo run --quiet --release

help: ## list these commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | while IFS=$$'\t' read -r verb text; do printf '  make %-12s %s\n' "$$verb" "$$text"; done

demo: ## a year of real flights through the whole engine; ARGS="--dir DIR" and the like are handed on
	@scripts/setup.sh build
	@$(CARGO_RUN) -p millstream-cli -- demo $(ARGS)

test: ## everything: format, lints, docs, all tests, on real Apache Kafka too where it can be had
	@scripts/setup.sh test
	@scripts/test.sh

bench: ## what a record costs: micro benchmarks, instruction counts, and the floors
	@scripts/setup.sh bench
	cargo bench -p millstream-benches $(ARGS)
	@$(CARGO_RUN) -p millstream-benches --bin instructions
	@$(CARGO_RUN) -p millstream-benches --bin floors

bench-peer: ## against Kafka Streams, on the same topics: 80 minutes, with QUICK=1 8; ARGS="--only W1,W3" and the like are handed on
	@scripts/setup.sh peer
	@scripts/bench-peer.sh $(if $(QUICK),--quick,$(if $(ARGS),,--readme benches/README.md)) $(ARGS)

lint: ## format, clippy and rustdoc, without the tests
	@scripts/setup.sh build
	@scripts/lint.sh

fmt: ## write the format that `make lint` asks for
	cargo fmt --all

docs: ## the API documentation, under target/doc
	@scripts/setup.sh build
	cargo doc --release --no-deps --workspace

kafka-up: ## start Apache Kafka and leave it running
	@scripts/setup.sh kafka
	@$(CARGO_RUN) -p millstream-integration-tests --bin kafka -- up

kafka-down: ## stop what kafka-up started
	@$(CARGO_RUN) -p millstream-integration-tests --bin kafka -- down
