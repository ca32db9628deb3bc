#!/usr/bin/env bash
# Format, lints, and documentation: no warning passes.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo fmt --all --check
cargo clippy --release --workspace --all-targets -- --deny warnings
# What starts Kafka in a container is a workspace of its own (integration-tests/container/Cargo.toml says why).
container=integration-tests/container/Cargo.toml
cargo fmt --manifest-path $container --check
cargo clippy --manifest-path $container --all-targets -- --deny warnings
RUSTDOCFLAGS="--deny warnings" cargo doc --release --no-deps --workspace
# topology is promised to build in seconds, without any C++: so it is looked at without its neighbours' features too.
cargo clippy --release -p millstream-state -p millstream-topology --no-default-features -- --deny warnings
# Licences and origins of what we build on, where cargo-deny is installed.
if cargo deny --version >/dev/null 2>&1; then
    cargo deny --offline check bans licenses sources
fi
