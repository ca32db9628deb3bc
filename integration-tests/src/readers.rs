//! Other people's readers, to see that what we write to Kafka is Kafka's: Java's console consumer, and kcat.

use std::process::Command;

use crate::kafka::jars;

/// A record as another reader shows it. Text only: a null and an empty key look the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    /// Where it is.
    pub partition: i32,
    /// Its timestamp in milliseconds.
    pub timestamp: i64,
    /// Its key as text.
    pub key: String,
    /// Its value as text.
    pub value: String,
}

/// What Java's console consumer reads from the start of a topic until it has seen `count` records, sorted; fewer if
/// no more come. `None` where there is no JDK or Maven.
///
/// # Panics
/// If the tool is there and fails.
pub fn java(bootstrap: &str, topic: &str, count: usize) -> Option<Vec<Seen>> {
    let mut consumer = jars::tool("org.apache.kafka.tools.consumer.ConsoleConsumer").ok()?;
    consumer.args(["--bootstrap-server", bootstrap, "--topic", topic, "--from-beginning"]);
    consumer.args(["--max-messages", &count.to_string(), "--timeout-ms", "30000"]);
    for shown in ["print.key", "print.partition", "print.timestamp"] {
        consumer.args(["--formatter-property", &format!("{shown}=true")]);
    }
    Some(lines(consumer, "Java's console consumer", |line| {
        let mut fields = line.splitn(4, '\t');
        let timestamp = fields.next()?.strip_prefix("CreateTime:")?.parse().ok()?;
        let partition = fields.next()?.strip_prefix("Partition:")?.parse().ok()?;
        Some(Seen {
            partition,
            timestamp,
            key: fields.next()?.to_owned(),
            value: fields.next()?.to_owned(),
        })
    }))
}

/// What kcat reads from a whole topic, sorted. `None` where it is not installed.
///
/// # Panics
/// If it is there and fails.
pub fn kcat(bootstrap: &str, topic: &str) -> Option<Vec<Seen>> {
    Command::new("kcat").arg("-V").output().ok()?;
    let mut kcat = Command::new("kcat");
    kcat.args(["-C", "-q", "-e", "-b", bootstrap, "-t", topic, "-f", "%T\t%p\t%k\t%s\n"]);
    Some(lines(kcat, "kcat", |line| {
        let mut fields = line.splitn(4, '\t');
        let timestamp = fields.next()?.parse().ok()?;
        let partition = fields.next()?.parse().ok()?;
        Some(Seen {
            partition,
            timestamp,
            key: fields.next()?.to_owned(),
            value: fields.next()?.to_owned(),
        })
    }))
}

/// Runs a reader and takes its lines apart.
fn lines(mut command: Command, who: &str, parse: impl Fn(&str) -> Option<Seen>) -> Vec<Seen> {
    let output = command.output().unwrap_or_else(|e| panic!("{who} cannot be run: {e}"));
    assert!(
        output.status.success(),
        "{who}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap_or_else(|e| panic!("{who} shows no text: {e}"));
    let seen = text
        .lines()
        .map(|line| parse(line).unwrap_or_else(|| panic!("{who} shows {line:?}")));
    let mut seen: Vec<Seen> = seen.collect();
    seen.sort();
    seen
}
