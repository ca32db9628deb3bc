#!/usr/bin/env bash
# Millstream against Kafka Streams. Builds both, then: broker and driver on core 1, the system under test on core 0.
# Arguments go to the driver (benches/src/bin/peer/args.rs).
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "$(nproc)" -lt 2 ]; then
    echo "bench-peer needs two cores: one for the broker, one for the system under test" >&2
    exit 1
fi
cargo build --quiet --release -p millstream-benches --bin millstream-workloads --bin peer
cargo build --quiet --release -p millstream-integration-tests --bin kafka
mvn -q -B -f benches/peer/pom.xml compile

built="${CARGO_TARGET_DIR:-target}/release"
# A broker of our own: a container could not be kept on its core, and one of somebody else's does other things too.
unset KAFKA_BOOTSTRAP_SERVERS KAFKA_HEAP_OPTS
driver() {
    MILLSTREAM_KAFKA=jars taskset -c 1 "$built/kafka" run "$built/peer" "$@"
}

# Topics and stores, up to 25 GB: not under /tmp, which may be memory.
disk=$(mktemp -d "${CARGO_TARGET_DIR:-$PWD/target}/bench-peer.XXXXXX")
memory=
trap 'rm -rf "$disk" ${memory:+"$memory"}' EXIT
export TMPDIR=$disk
outcome=0
if [[ ! " $* " =~ " --only "[Ll]1" " ]]; then
    driver "$@" || outcome=$?
fi

# L1: a broker whose garbage collections and writes to disk do not hide what is measured. Where there is no room in memory
# its topics (1 GB) lie with the others.
if [[ " $* " != *" --only "* || " $* " =~ [\ ,][Ll]1[\ ,] ]]; then
    if memory=$(mktemp -d /dev/shm/bench-peer.XXXXXX) && [ "$(df --output=avail "$memory" | tail -1)" -gt 4000000 ]; then
        TMPDIR=$memory
    fi
    export KAFKA_HEAP_OPTS="-Xms5g -Xmx5g -Xmn4g -XX:+AlwaysPreTouch"
    driver latency "$@" || outcome=$?
fi
exit "$outcome"
