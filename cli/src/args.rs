//! The arguments.

use std::path::PathBuf;

use clap::{ArgGroup, Parser, Subcommand, ValueEnum};

/// Stream processing over Kafka topics: rolling fleet aggregates from device messages.
#[derive(Debug, Parser)]
#[command(name = "millstream", version, about, after_help = EXIT_CODES)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Log more: once for what the processor does, twice for details (RUST_LOG overrides).
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done, or stopped as asked (SIGINT, SIGTERM); 1 failed; 2 wrong use or configuration;
65 damaged data; 75 not possible now, try again later (the broker does not answer, the directory is in use).
Results go to standard output, progress, logs and errors to standard error.";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs the fleet job on a year of real flights and shows what comes out.
    Demo(DemoOptions),
    /// Lists the topics of a log.
    Topics(PlaceOptions),
    /// Prints the records of a topic.
    Cat(CatOptions),
    /// Prints the demo's topology in Kafka Streams' text form.
    Describe,
}

/// Where the log is.
#[derive(Debug, Clone, clap::Args)]
#[command(group = ArgGroup::new("place").multiple(false))]
pub struct PlaceOptions {
    /// Directory of the embedded log and of the state stores [default: millstream-data].
    #[arg(long, value_name = "DIR", group = "place")]
    pub dir: Option<PathBuf>,
    /// Kafka brokers to use instead of the embedded log.
    #[arg(long, value_name = "HOST:PORT", group = "place")]
    pub bootstrap_servers: Option<String>,
}

/// Options of `millstream demo`.
#[derive(Debug, Clone, clap::Args)]
pub struct DemoOptions {
    /// Where the log is.
    #[command(flatten)]
    pub place: PlaceOptions,
    /// Replay at N times real time, so that one can watch it (86400: a day per second) [default: as fast as it goes].
    #[arg(long, value_name = "N", value_parser = positive)]
    pub speed: Option<f64>,
    /// Stream threads.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub threads: u32,
    /// Where the state stores are, with --bootstrap-servers [default: millstream-data/kafka-state].
    #[arg(long, value_name = "DIR", requires = "bootstrap_servers")]
    pub state_dir: Option<PathBuf>,
}

/// Options of `millstream cat`.
#[derive(Debug, Clone, clap::Args)]
pub struct CatOptions {
    /// The topic.
    pub topic: String,
    /// Where the log is.
    #[command(flatten)]
    pub place: PlaceOptions,
    /// One JSON object per record, or the bare value and a line end.
    #[arg(long, value_enum, default_value_t = Format::Json)]
    pub format: Format,
    /// Stop after N records.
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    /// Go on waiting for new records at the end of the topic.
    #[arg(long)]
    pub follow: bool,
}

/// How `cat` prints a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// `{"partition","offset","timestamp","key","value","headers"}`.
    Json,
    /// The value's bytes and a line end.
    Raw,
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && number > 0.0 => Ok(number),
        _ => Err("a number above 0 is needed, for example 3600 (an hour per second)".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_hang_together() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_log_is_in_one_place() {
        let both = ["millstream", "topics", "--dir", "x", "--bootstrap-servers", "y"];
        assert!(Args::try_parse_from(both).is_err());
    }

    #[test]
    fn speed_and_threads_are_checked() {
        for wrong in [
            ["--speed", "0"],
            ["--speed", "-1"],
            ["--speed", "fast"],
            ["--threads", "0"],
        ] {
            assert!(
                Args::try_parse_from(["millstream", "demo"].into_iter().chain(wrong)).is_err(),
                "{wrong:?}"
            );
        }
    }
}
