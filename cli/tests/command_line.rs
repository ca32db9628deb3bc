//! The binary as people and scripts call it: output, exit codes, pipes.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use millstream_cli::args::PlaceOptions;
use millstream_cli::place::Place;
use millstream_processor::broker::{GroupToken, SinkConfig, TopicPartition, TopicSpec};
use millstream_topology::headers;

fn millstream(arguments: &[&str], dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
    command.args(arguments).arg("--dir").arg(dir);
    command
}

fn run(arguments: &[&str], dir: &Path) -> Output {
    millstream(arguments, dir).output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// A log with one topic of `copies` times four records, and nobody who owns it.
fn log(dir: &Path, copies: usize) {
    let place = Place::of(&PlaceOptions {
        dir: Some(dir.to_path_buf()),
        bootstrap_servers: None,
    });
    let broker = place.open().expect("a new log");
    broker.admin().create(&TopicSpec::new("readings", 1)).expect("a topic");
    let mut sink = broker.sink(&SinkConfig::default()).expect("a writer");
    let to = sink.open(&TopicPartition::new("readings", 0)).expect("its partition");
    let mut block = Vec::new();
    headers::append(&[], &[("unit", Some(b"bar"))], &mut block);
    for _ in 0..copies {
        sink.append(to, 1_000, Some(b"boiler"), Some(br#"{"pressure":1.50}"#), &block)
            .expect("written");
        sink.append(to, 2_000, Some(&7i64.to_be_bytes()), Some(b"plain text"), &[])
            .expect("written");
        sink.append(to, 3_000, Some(&[0xff, 0xfe]), Some(&[0, 0xff]), &[])
            .expect("written");
        sink.append(to, 4_000, None, None, &[]).expect("written");
    }
    sink.commit(&GroupToken::alone("test"), &mut |_| Vec::new())
        .expect("committed");
}

#[test]
fn cat_prints_a_line_of_json_for_each_record() {
    let dir = tempfile::tempdir().expect("a directory");
    log(dir.path(), 1);
    let output = run(&["cat", "readings"], dir.path());
    assert!(output.status.success());
    let expected = [
        r#"{"partition":0,"offset":0,"timestamp":1000,"key":"boiler","value":{"pressure":1.50},"headers":{"unit":"bar"}}"#,
        r#"{"partition":0,"offset":1,"timestamp":2000,"key":7,"value":"plain text","headers":{}}"#,
        r#"{"partition":0,"offset":2,"timestamp":3000,"key":{"base64":"//4="},"value":{"base64":"AP8="},"headers":{}}"#,
        r#"{"partition":0,"offset":3,"timestamp":4000,"key":null,"value":null,"headers":{}}"#,
    ];
    assert_eq!(text(&output.stdout).lines().collect::<Vec<_>>(), expected);
    let output = run(&["cat", "readings", "--format", "raw", "--limit", "2"], dir.path());
    assert_eq!(text(&output.stdout), "{\"pressure\":1.50}\nplain text\n");
}

#[test]
fn topics_are_listed_with_their_records() {
    let dir = tempfile::tempdir().expect("a directory");
    log(dir.path(), 3);
    let output = run(&["topics"], dir.path());
    let lines: Vec<Vec<String>> = text(&output.stdout)
        .lines()
        .map(|line| line.split_whitespace().map(str::to_owned).collect())
        .collect();
    assert_eq!(
        lines,
        [
            ["TOPIC", "PARTITIONS", "RECORDS", "CLEANUP"],
            ["readings", "1", "12", "delete"]
        ]
    );
}

#[test]
fn what_is_wrong_is_told_with_its_exit_code() {
    let dir = tempfile::tempdir().expect("a directory");
    let nothing = run(&["topics"], &dir.path().join("nowhere"));
    assert_eq!(nothing.status.code(), Some(2));
    assert!(
        text(&nothing.stderr).contains("run it first"),
        "{}",
        text(&nothing.stderr)
    );

    log(dir.path(), 1);
    let unknown = run(&["cat", "reading"], dir.path());
    assert_eq!((unknown.status.code(), unknown.stdout.len()), (Some(2), 0));
    assert!(
        text(&unknown.stderr).contains("topics: readings"),
        "{}",
        text(&unknown.stderr)
    );

    assert_eq!(run(&["cat"], dir.path()).status.code(), Some(2), "the topic is missing");
    assert_eq!(run(&["demo", "--speed", "0"], dir.path()).status.code(), Some(2));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let dir = tempfile::tempdir().expect("a directory");
    log(dir.path(), 20_000);
    let mut cat = millstream(&["cat", "readings"], dir.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut first = String::new();
    BufReader::new(cat.stdout.take().expect("a pipe"))
        .read_line(&mut first)
        .expect("a line");
    assert!(first.starts_with(r#"{"partition":0"#));
    let mut said = String::new();
    cat.stderr
        .take()
        .expect("a pipe")
        .read_to_string(&mut said)
        .expect("text");
    assert_eq!((said.as_str(), cat.wait().expect("ended").success()), ("", true));
}

#[test]
fn the_topology_is_described() {
    let output = Command::new(env!("CARGO_BIN_EXE_millstream"))
        .arg("describe")
        .output()
        .expect("the binary runs");
    assert!(text(&output.stdout).starts_with("Topologies:\n   Sub-topology: 0"));
}
