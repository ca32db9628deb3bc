#!/usr/bin/env bash
# Sees to it that what cargo does not bring is there. Called by the Makefile: scripts/setup.sh build|test|kafka|bench|peer
#
# As root on a Debian-like system it installs what is missing; else it says what to install. A Rust toolchain is
# rustup's business: it is only checked.
set -euo pipefail
cd "$(dirname "$0")/.."
what=${1:?usage: scripts/setup.sh build|test|kafka|bench|peer}

say() { printf '%s\n' "$*" >&2; }
has() { command -v "$1" >/dev/null 2>&1; }

# The oldest compiler that builds this, from Cargo.toml.
check_rust() {
    if ! has cargo || ! has rustc; then
        say "Rust is missing. Install it from https://rustup.rs and run this again."
        exit 1
    fi
    local needed found
    needed=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
    found=$(rustc --version | cut -d' ' -f2)
    if [ "$(printf '%s\n%s\n' "$needed" "$found" | sort -V | head -n 1)" != "$needed" ]; then
        say "rustc $found is too old; this needs $needed or newer. Run: rustup update stable"
        exit 1
    fi
}

# Format and lints need two parts that rustup's minimal profile leaves out.
check_rust_tools() {
    local tool
    for tool in rustfmt clippy; do
        cargo "${tool/rustfmt/fmt}" --version >/dev/null 2>&1 || rustup component add "$tool"
    done
}

# RocksDB's bindings are made by libclang, wherever the distribution keeps it.
has_libclang() {
    [ -n "${LIBCLANG_PATH:-}" ] && return
    ldconfig -p 2>/dev/null | grep -q 'libclang[-.0-9]*\.so' && return
    compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' >/dev/null || compgen -G '/usr/lib64/libclang.so*' >/dev/null
}

docker_answers() { docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

# install WHY PACKAGE ... : true if all are there afterwards.
install() {
    local why=$1
    shift
    if [ "$(id -u)" != 0 ] || ! has apt-get; then
        say "Missing, for $why: $* (Debian's names)."
        if has apt-get; then say "Install them: sudo apt-get install $*"; fi
        return 1
    fi
    say "Installing, for $why: $*"
    local log
    log=$(mktemp)
    if ! { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"; } \
        >"$log" 2>&1 </dev/null; then
        tail -n 20 "$log" >&2
        return 1
    fi
    rm -f "$log"
}

# What the build cannot do without.
setup_build() {
    local missing=()
    has make || missing+=(make)
    has cc || missing+=(gcc libc6-dev)
    has c++ || missing+=(g++)
    has_libclang || missing+=(libclang-dev)
    # librdkafka's TLS and SCRAM are OpenSSL's.
    has pkg-config || missing+=(pkg-config)
    { has pkg-config && pkg-config --exists openssl; } || missing+=(libssl-dev)
    [ ${#missing[@]} = 0 ] || install "the build (RocksDB and librdkafka are compiled here)" "${missing[@]}" || exit 1
}

# Real Kafka: somebody's, an engine's, or Java's. Without any, its tests are skipped, loudly.
setup_kafka() {
    [ -n "${KAFKA_BOOTSTRAP_SERVERS:-}" ] && return
    docker_answers && return
    local missing=()
    has java || [ -x "${JAVA_HOME:-/nonexistent}/bin/java" ] || missing+=(default-jre-headless)
    has mvn || missing+=(maven)
    [ ${#missing[@]} = 0 ] || install "a real Apache Kafka to test with" "${missing[@]}" || true
}

# Kafka Streams is built by Maven; taskset gives each side its core.
setup_peer() {
    local missing=()
    has javac || [ -x "${JAVA_HOME:-/nonexistent}/bin/javac" ] || missing+=(default-jdk-headless)
    has mvn || missing+=(maven)
    has taskset || missing+=(util-linux)
    [ ${#missing[@]} = 0 ] || install "Kafka Streams, which we are measured against" "${missing[@]}" || exit 1
}

check_rust
setup_build
case $what in
build) ;;
kafka) setup_kafka ;;
bench) has valgrind || install "counting instructions" valgrind || exit 1 ;;
peer) setup_peer ;;
test)
    check_rust_tools
    setup_kafka
    has kcat || install "a second reader of what we write to Kafka" kcat || true
    has valgrind || install "counting instructions" valgrind ||
        say "NOT CHECKED in this run, for want of valgrind: whether records became dearer."
    ;;
*)
    say "unknown: $what"
    exit 1
    ;;
esac
