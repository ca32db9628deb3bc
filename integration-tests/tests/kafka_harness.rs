//! The broker for tests itself: it answers, it ends with whoever started it, and Java's tools run beside it.

use millstream_integration_tests::kafka::{self, jars};
use millstream_integration_tests::readers;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[test]
fn the_shared_broker_answers() {
    let Some(broker) = kafka::shared() else { return };
    assert!(
        kafka::answers(broker.bootstrap()),
        "{} does not answer",
        broker.bootstrap()
    );
}

/// The harness of a test that panics in a `static`'s presence, that exits, or that is killed, runs no destructors.
#[test]
fn a_broker_ends_with_the_process_that_started_it_even_if_that_is_killed() {
    let Some(_) = kafka::shared() else { return };
    let mut owner = Command::new(env!("CARGO_BIN_EXE_kafka"))
        .args(["run", "cat"])
        .env_remove(kafka::BOOTSTRAP_ENV)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the kafka command starts");
    let mut line = String::new();
    BufReader::new(owner.stdout.take().expect("piped"))
        .read_line(&mut line)
        .expect("it says where the broker is");
    let bootstrap = line
        .split_whitespace()
        .find(|word| word.starts_with("127.0.0.1:"))
        .expect(&line);
    let bootstrap = bootstrap.trim_end_matches(':').to_owned();
    assert!(kafka::answers(&bootstrap), "{line}");

    owner.kill().expect("killed");
    owner.wait().expect("ended");
    let limit = Instant::now() + Duration::from_secs(20);
    while kafka::answers(&bootstrap) {
        assert!(Instant::now() < limit, "the broker at {bootstrap} outlived its owner");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The two readers that judge our own output agree with each other first.
#[test]
fn java_and_kcat_read_the_same() {
    let Some(broker) = kafka::shared() else { return };
    let topic = kafka::unique("harness");
    let Ok(mut create) = jars::tool("org.apache.kafka.tools.TopicCommand") else {
        return eprintln!("no JDK or Maven beside the given broker");
    };
    let create = create.args(["--bootstrap-server", broker.bootstrap(), "--create", "--topic", &topic]);
    let created = create.output().expect("java runs");
    assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stdout));

    let kcat = Command::new("kcat")
        .args(["-P", "-K", ":", "-b", broker.bootstrap(), "-t", &topic])
        .stdin(Stdio::piped())
        .spawn();
    let Ok(mut kcat) = kcat else {
        return eprintln!("no kcat");
    };
    kcat.stdin
        .take()
        .expect("piped")
        .write_all(b"JFK:14.5\nEWR:9\n")
        .expect("kcat takes lines");
    assert!(kcat.wait().expect("kcat ends").success());

    let seen = readers::kcat(broker.bootstrap(), &topic).expect("kcat is there");
    let mut pairs: Vec<_> = seen.iter().map(|s| (s.key.as_str(), s.value.as_str())).collect();
    pairs.sort_unstable();
    assert_eq!(pairs, [("EWR", "9"), ("JFK", "14.5")]);
    assert_eq!(
        readers::java(broker.bootstrap(), &topic, 2).expect("java is there"),
        seen
    );
}
