//! The rooms of the house: who may know whom. What a room must *not* know is what keeps it small; nobody sees an
//! absence, so this test does.

use millstream_integration_tests::sources;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

const STATE: &str = "millstream-state";
const TOPOLOGY: &str = "millstream-topology";
const PROCESSOR: &str = "millstream-processor";
const FLIGHTS: &str = "millstream-flights";

/// Every package of the workspace, and the packages of the workspace that it may use (state <- topology <-
/// processor <- cli). Benchmarks, integration tests and examples see the rooms; no room sees them, but the command
/// line tool shows the example.
const ALLOWED: &[(&str, &[&str])] = &[
    (STATE, &[]),
    (TOPOLOGY, &[STATE]),
    (PROCESSOR, &[STATE, TOPOLOGY]),
    (FLIGHTS, &[STATE, TOPOLOGY, PROCESSOR]),
    ("millstream-cli", &[STATE, TOPOLOGY, PROCESSOR, FLIGHTS]),
    ("millstream-benches", &[STATE, TOPOLOGY, PROCESSOR, FLIGHTS]),
    (
        "millstream-integration-tests",
        &[
            STATE,
            TOPOLOGY,
            PROCESSOR,
            FLIGHTS,
            "millstream-cli",
            "millstream-benches",
        ],
    ),
];

/// Packages from outside that one room alone may use: the C libraries, and what brings threads, clocks or sockets.
const CONFINED: &[(&str, &[&str])] = &[
    ("rdkafka", &[PROCESSOR]),
    ("rdkafka-sys", &[PROCESSOR]),
    ("kafka-protocol", &[PROCESSOR]),
    ("mio", &[PROCESSOR]),
    ("rustls", &[PROCESSOR]),
    ("rocksdb", &[STATE]),
    ("bincode", &[STATE]),
    ("tokio", &[PROCESSOR, "millstream-cli"]),
    ("tracing", &[PROCESSOR, "millstream-cli"]),
];

/// The packages of the workspace, each with its dependencies as Cargo.toml declares them, optional ones and those
/// for tests included.
fn packages() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
            "--manifest-path",
        ])
        .arg(sources::root().join("Cargo.toml"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    let names = |list: &Value| -> BTreeSet<String> {
        list.as_array()
            .expect("a list")
            .iter()
            .map(|d| d["name"].as_str().expect("a name").to_owned())
            .collect()
    };
    let packages = metadata["packages"].as_array().expect("a list of packages");
    packages
        .iter()
        .map(|p| {
            (
                p["name"].as_str().expect("a name").to_owned(),
                names(&p["dependencies"]),
            )
        })
        .collect()
}

#[test]
fn packages_use_only_the_rooms_below_them() {
    for (package, dependencies) in packages() {
        let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == package) else {
            panic!("{package} is new: say in this file which packages of the workspace it may use");
        };
        let wrong = dependencies
            .iter()
            .find(|d| d.starts_with("millstream-") && !allowed.contains(&d.as_str()));
        assert_eq!(wrong, None, "{package} must not depend on it");
    }
}

#[test]
fn confined_packages_stay_in_their_rooms() {
    let packages = packages();
    for (package, rooms) in CONFINED {
        let uses = packages
            .iter()
            .filter(|(_, dependencies)| dependencies.contains(*package));
        let wrong = uses.map(|(user, _)| user).find(|user| !rooms.contains(&user.as_str()));
        assert_eq!(wrong, None, "it must not depend on {package}: only {rooms:?} may");
    }
}

/// The clients can be replaced, librdkafka and our own, because one folder names what they are made of.
#[test]
fn only_broker_kafka_names_the_kafka_clients() {
    // As words: which client reads is a setting, whose values have its name in them.
    let clients = ["rdkafka", "rdkafka_sys", "kafka_protocol", "mio", "rustls"];
    for path in sources::files("", "rs") {
        if path.to_string_lossy().starts_with("processor/src/broker/kafka") {
            continue;
        }
        let code = sources::code(&path);
        let mut words = code.split(|c: char| !c.is_alphanumeric() && c != '_');
        let named = words.find(|word| clients.contains(word));
        assert_eq!(
            named,
            None,
            "{} names it; only processor/src/broker/kafka* may",
            path.display()
        );
    }
}

/// Likewise the storage engine and its folder.
#[test]
fn only_the_rocks_engine_names_rocksdb() {
    for path in sources::files("", "rs") {
        let is_home = path.to_string_lossy().starts_with("state/src/engine/rocks");
        if !is_home && sources::code(&path).contains("rocksdb::") {
            panic!(
                "{} names the rocksdb crate; only state/src/engine/rocks* may",
                path.display()
            );
        }
    }
}
