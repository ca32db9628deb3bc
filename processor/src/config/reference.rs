//! The reference page of the configuration, made from the table of options.

use std::fmt::Write;

use super::options::{CLIENT_PREFIXES, Kind, NOT_HERE, OPTIONS, OptionSpec};

const INTRODUCTION: &str = "\
# Configuration

For operators. This page is made from the table in `processor/src/config/options.rs`; a test holds the two together
(`UPDATE=1 cargo test --release -p millstream-processor reference_page` rewrites it).

A program says where its settings come from (`Config::builder()`): a file (YAML, or `.properties` by its ending), from the environment, and from `name=value` pairs on
the command line; later ones win. The environment variable of an option is `MILLSTREAM_` and its name in capitals with
`_` for `.`: `MILLSTREAM_COMMIT_INTERVAL_MS`. Unknown names are refused with the nearest right one, and all problems
are reported at once. Names and meanings are Kafka Streams' where it has them. Sizes may be written as `64MiB`.

";

/// The text of `docs/reference/config.md`.
pub fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    page.push_str("| Option | Values | Default | What it does |\n|---|---|---|---|\n");
    for option in OPTIONS {
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {} |",
            option.name,
            values(option),
            default(option),
            option.doc
        );
    }
    let prefixes: Vec<String> = CLIENT_PREFIXES.iter().map(|prefix| format!("`{prefix}`")).collect();
    let _ = write!(
        page,
        "\n## Settings of the Kafka clients\n\nNames that begin with {} go to that client without the prefix, as \
         librdkafka names them: `consumer.fetch.min.bytes`.\n\n## Kafka Streams' options that are not here\n\n",
        prefixes.join(", ")
    );
    for (name, mend) in NOT_HERE {
        let _ = writeln!(page, "- `{name}`: {mend}.");
    }
    page
}

fn values(option: &OptionSpec) -> String {
    match option.kind {
        Kind::Text => "text".to_owned(),
        Kind::Path => "directory".to_owned(),
        Kind::Bool => "`true`, `false`".to_owned(),
        Kind::Size { min } => format!("bytes, from {min}"),
        Kind::Int { min, max: i64::MAX } => format!("{}, from {min}", option.unit),
        Kind::Int { min, max } => format!("{}, {min} to {max}", option.unit),
        Kind::Choice(words) => words
            .iter()
            .map(|word| format!("`{word}`"))
            .collect::<Vec<_>>()
            .join(", "),
    }
}

fn default(option: &OptionSpec) -> String {
    match option.default {
        None => "see text".to_owned(),
        Some("") => "empty".to_owned(),
        Some(value) => format!("`{value}`"),
    }
}
