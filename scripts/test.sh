#!/usr/bin/env bash
# All checks and all tests. One real Kafka serves all test binaries; it is stopped at the end, whatever happens.
set -euo pipefail
cd "$(dirname "$0")/.."

# What takes long waits for brokers, mostly for their failures: more tests at a time than there are cores.
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-4}

scripts/lint.sh
cargo test --manifest-path integration-tests/container/Cargo.toml
cargo test --release --workspace --no-run
"${CARGO_TARGET_DIR:-target}/release/kafka" run cargo test --release --workspace --no-fail-fast "$@"
