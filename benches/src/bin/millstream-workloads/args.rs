//! The command line, and what it means for the configuration.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use millstream_benches::replay;
use millstream_benches::workloads::{Topics, WORKLOADS, Workload};
use millstream_processor::Config;

/// One workload on Kafka, until SIGTERM.
#[derive(Parser)]
pub struct Args {
    /// Which one.
    #[arg(long, value_parser = workload)]
    pub workload: &'static Workload,
    /// Kafka, as HOST:PORT.
    #[arg(long)]
    bootstrap: String,
    /// Consumer group, and prefix of internal topics.
    #[arg(long)]
    pub app_id: String,
    /// Input topic; the table's topic behind a comma, where the workload has one.
    #[arg(long = "in", value_delimiter = ',', required = true)]
    input: Vec<String>,
    /// Topic of results.
    #[arg(long = "out")]
    output: String,
    /// Where stores are kept.
    #[arg(long)]
    state_dir: PathBuf,
    /// Which settings to begin with.
    #[arg(long, value_enum)]
    mode: Mode,
    /// Further settings, as name=value.
    #[arg(last = true, value_parser = setting)]
    settings: Vec<(String, String)>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// The settings both sides share in the comparison.
    Expert,
    /// Ours, save for commits each second, by which the driver sees progress.
    Defaults,
}

/// What both sides are set to.
const EXPERT: &[(&str, &str)] = &[
    ("num.stream.threads", "1"),
    ("statestore.cache.max.bytes", "10MiB"),
    // RocksDB gets a quarter of it. The peer has a heap of 2 GiB, and for each partition of a store a cache of 50 MiB.
    ("memory.max.bytes", "1GiB"),
    ("producer.compression.type", "none"),
];

/// In any mode.
const ALWAYS: &[(&str, &str)] = &[
    ("commit.interval.ms", "1000"),
    // The events are of 2023, and Kafka deletes by their time: changelogs of windows must outlive a century.
    ("windowstore.changelog.additional.retention.ms", "3155760000000"),
];

impl Args {
    /// Where the workload reads and writes.
    pub fn topics(&self) -> replay::Result<Topics<'_>> {
        match *self.input {
            [ref input] if self.workload.inputs == 1 => Ok((input.as_str(), "")),
            [ref input, ref table] if self.workload.inputs == 2 => Ok((input.as_str(), table.as_str())),
            _ => Err(format!(
                "--in names {} topics, but {} reads {}",
                self.input.len(),
                self.workload.name,
                self.workload.inputs
            )
            .into()),
        }
        .map(|(input, table)| Topics {
            input,
            table,
            output: &self.output,
        })
    }

    /// All settings; later ones win.
    pub fn config(&self) -> replay::Result<Config> {
        let mut builder = Config::builder()
            .set("application.id", &self.app_id)
            .set("bootstrap.servers", &self.bootstrap)
            .set("state.dir", self.state_dir.display());
        let expert = EXPERT.iter().filter(|_| self.mode == Mode::Expert);
        for (name, value) in ALWAYS.iter().chain(expert) {
            builder = builder.set(*name, value);
        }
        for (name, value) in &self.settings {
            builder = builder.set(name, value);
        }
        Ok(builder.build()?)
    }
}

fn workload(name: &str) -> Result<&'static Workload, String> {
    let known = || WORKLOADS.iter().map(|w| format!("\n  {w}")).collect::<String>();
    Workload::find(name).ok_or_else(|| format!("is not one of:{}", known()))
}

fn setting(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').ok_or("expected name=value")?;
    Ok((pair.0.to_owned(), pair.1.to_owned()))
}
