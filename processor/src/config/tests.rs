//! Golden texts of the configuration's errors, precedence, and the reference page.

use super::*;

fn vars(pairs: &[(&str, &str)]) -> impl Iterator<Item = (String, String)> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect::<Vec<_>>()
        .into_iter()
}

fn with_yaml(text: &str) -> ConfigBuilder {
    let mut builder = Config::builder();
    builder.take(sources::read_yaml(text, "fleet.yaml"));
    builder
}

fn errors(builder: ConfigBuilder) -> String {
    match builder.build() {
        Ok(_) => "no problem".to_owned(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn all_problems_come_at_once_with_place_and_mend() {
    let text = "application.id: fleet/one\n# typing error\ncommit.intervall.ms: 100\nnum.stream.threads: zero\n\
                processing.exception.handler: dead-letter\nnum.standby.replicas: 1\nmemory.max.bytes: 1MiB\n";
    let builder = with_yaml(text)
        .env(vars(&[("MILLSTREAM_POLL_MS", "-4"), ("HOME", "/root")]))
        .set("favourite.colour", "red");
    assert_eq!(
        errors(builder),
        "8 problems in the configuration:
  fleet.yaml:3: commit.intervall.ms is not an option: did you mean commit.interval.ms?
  fleet.yaml:4: num.stream.threads: `zero` is not a whole number
  fleet.yaml:6: num.standby.replicas is an option of Kafka Streams that Millstream does not have: there are no standby tasks yet
  fleet.yaml:7: memory.max.bytes: 1MiB is too small: at least 33554432
  environment MILLSTREAM_POLL_MS: poll.ms: -4 is too small: at least 1
  command line: favourite.colour is not an option: docs/reference/config.md lists them all
  fleet.yaml:1: application.id becomes part of topic names: use letters, digits, '.', '_' and '-' only
  fleet.yaml:5: processing.exception.handler is dead-letter, so errors.dead.letter.queue.topic.name must name the topic"
    );
}

#[test]
fn files_that_are_not_settings_say_so() {
    assert_eq!(
        errors(with_yaml("- a\n")),
        "2 problems in the configuration:
  fleet.yaml:1: is not a list of `name: value` lines: expected mapping start at line 1, column 1
  application.id is not set: give it in the file, as MILLSTREAM_APPLICATION_ID, or on the command line"
    );
    let missing = errors(
        Config::builder()
            .file(Path::new("/nowhere/fleet.yaml"))
            .set("application.id", "a"),
    );
    assert!(
        missing.contains("/nowhere/fleet.yaml: cannot be read: No such file"),
        "{missing}"
    );
}

#[test]
fn later_places_win_and_clients_get_their_own() {
    let config = with_yaml("application.id: file\npoll.ms: 5\nstate.dir:\nconsumer.fetch.min.bytes: 7\n")
        .env(vars(&[
            ("MILLSTREAM_APPLICATION_ID", "env"),
            ("MILLSTREAM_PRODUCER_LINGER_MS", "5"),
        ]))
        .set("application.id", "flag")
        .build()
        .unwrap();
    assert_eq!(
        (config.application_id.as_str(), config.client_id.as_str()),
        ("flag", "flag")
    );
    assert_eq!(config.poll, Duration::from_millis(5));
    assert_eq!(config.state_dir, Path::new("millstream-data/state"));
    assert_eq!(config.consumer.get("fetch.min.bytes").map(String::as_str), Some("7"));
    assert_eq!(config.producer.get("linger.ms").map(String::as_str), Some("5"));
}

#[test]
fn commits_are_frequent_where_they_are_exact() {
    let local = Config::builder().set("application.id", "a");
    assert_eq!(local.build().unwrap().commit_interval, Duration::from_millis(100));
    let kafka = || {
        Config::builder()
            .set("application.id", "a")
            .set("bootstrap.servers", "localhost:9092")
    };
    assert_eq!(kafka().build().unwrap().commit_interval, Duration::from_secs(30));
    let refused = errors(kafka().set("processing.guarantee", "exactly_once_v2"));
    assert!(
        refused.contains("not implemented on Kafka yet: use at_least_once"),
        "{refused}"
    );
}

#[test]
fn services_beside_the_pod_are_no_options() {
    let links = [
        ("MILLSTREAM_SERVICE_HOST", "10.0.0.1"),
        ("MILLSTREAM_SERVICE_PORT", "80"),
        ("MILLSTREAM_SERVICE_PORT_HTTP", "80"),
        ("MILLSTREAM_PORT", "tcp://10.0.0.1:80"),
        ("MILLSTREAM_PORT_80_TCP_ADDR", "10.0.0.1"),
        ("MILLSTREAM_APPLICATION_ID", "fleet"),
    ];
    assert_eq!(
        Config::builder().env(vars(&links)).build().unwrap().application_id,
        "fleet"
    );
}

#[test]
fn properties_are_read_as_people_write_them() {
    let text = "! comment\napplication.id=fleet\nstate.dir : /var/\\\n   lib\n\n\
                deserialization.exception.handler=org.apache.kafka.streams.errors.LogAndContinueExceptionHandler\n";
    let mut builder = Config::builder();
    builder.take(sources::read_properties(text, "fleet.properties"));
    let config = builder.build().unwrap();
    assert_eq!(config.state_dir, Path::new("/var/lib"));
    assert_eq!(config.deserialization_policy, Policy::Continue);
}

/// Defaults are values like any other, so they must pass their own check.
#[test]
fn defaults_are_valid() {
    for option in OPTIONS {
        if let Some(default) = option.default {
            assert_eq!(normal(option, default).as_deref(), Ok(default), "{}", option.name);
        }
    }
    let config = Config::builder()
        .set("application.id", "a")
        .set("memory.max.bytes", "64MiB")
        .build()
        .unwrap();
    assert_eq!(config.memory_max_bytes, 64 << 20);
}

#[test]
fn reference_page_is_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/config.md");
    let page = reference::page();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &page).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == page,
        "docs/reference/config.md differs from the table of options: run again with UPDATE=1"
    );
}
