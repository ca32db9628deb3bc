#!/usr/bin/env bash
# All checks and all tests. One real Kafka serves all test binaries; it is stopped at the end, whatever happens.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/lint.sh
cargo test --manifest-path integration-tests/container/Cargo.toml
cargo test --release --workspace --no-run
"${CARGO_TARGET_DIR:-target}/release/kafka" run cargo test --release --workspace --no-fail-fast "$@"
