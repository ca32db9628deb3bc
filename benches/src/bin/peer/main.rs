//! Millstream against Kafka Streams: the same workloads, on the same topics, of the same broker, in turns.
//!
//! `make bench-peer` builds both, starts a broker on core 1 and runs this beside it; the system under test has core 0 to
//! itself. `peer latency` does the same for L1, beside a broker of another make. `benches/README.md` has the method.
//! `peer report` writes the tables and the plot again from the results.

mod args;
mod batch;
mod cases;
mod check;
mod generate;
mod latency;
mod plot;
mod process;
mod relay;
mod report;
mod restore;
mod session;
mod start;
mod tail;
mod throughput;
mod wire;

use args::{Args, Part};
use cases::{Case, L1, R1, S1, THROUGHPUT};
use check::Results;
use process::{Programs, Side};
use serde_json::{Value, json};
use session::Session;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

/// What goes wrong here is told to people and ends the program.
pub type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

fn main() -> ExitCode {
    let run = || {
        let given: Vec<String> = std::env::args().skip(1).collect();
        if let [relay::NAME, bootstrap, input, output] = given.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            return relay::run(bootstrap, input, output);
        }
        let args = Args::parse(given.into_iter())?;
        match args.part {
            Part::Report => report::write(&args).map(|()| true),
            Part::Cases | Part::Latency => run(&args),
        }
    };
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("peer: {why}");
            ExitCode::FAILURE
        }
    }
}

/// True if everything ran and all results were equal.
fn run(args: &Args) -> Result<bool> {
    let programs = Programs {
        ours: args.ours.clone(),
        peer: args.peer.clone(),
    };
    let mut session = Session::new(args.scale, programs)?;
    fs::create_dir_all(args.results.parent().ok_or("a strange name for the results")?)?;
    let kept = match args.part {
        Part::Latency => others(&args.results, &L1)?,
        _ => String::new(),
    };
    let mut lines = Lines {
        file: File::create(&args.results)?,
        faults: Vec::new(),
    };
    lines.file.write_all(kept.as_bytes())?;
    match args.part {
        Part::Latency => latency::all(&mut session, args, &L1, &mut lines)?,
        _ => cases(&mut session, args, &mut lines)?,
    }
    report::write(args)?;
    for fault in &lines.faults {
        eprintln!("FAILED: {fault}");
    }
    Ok(lines.faults.is_empty())
}

/// The lines of results, if there are any, that are not of this case.
fn others(results: &Path, case: &Case) -> Result<String> {
    if !results.exists() {
        return Ok(String::new());
    }
    let mut kept = String::new();
    for line in fs::read_to_string(results)?.lines() {
        if serde_json::from_str::<Value>(line)?["case"] != case.name {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    Ok(kept)
}

fn cases(session: &mut Session, args: &Args, lines: &mut Lines) -> Result<()> {
    for case in THROUGHPUT.iter().filter(|case| args.wants(case)) {
        session.load(case)?;
        throughput(session, args, case, lines)?;
    }
    if args.wants(&R1) {
        restore::load(session, &R1)?;
        pairs(args, &R1, lines, |side, pair| restore::run(session, &R1, side, pair))?;
    }
    if args.wants(&S1) {
        session.load(&S1)?;
        pairs(args, &S1, lines, |side, pair| start::run(session, &S1, side, pair))?;
    }
    Ok(())
}

/// The file of results, one JSON object a line, and what failed.
pub struct Lines {
    file: File,
    faults: Vec<String>,
}

impl Lines {
    /// Adds a line, or notes the fault; the other runs go on.
    pub fn add(&mut self, what: &str, line: Result<Value>) -> Result<()> {
        match line {
            Ok(line) => {
                writeln!(self.file, "{line}")?;
                eprintln!("{line}");
            }
            Err(why) => {
                eprintln!("{what}: {why}");
                self.faults.push(format!("{what}: {why}"));
            }
        }
        Ok(())
    }
}

/// Calls `run` for both sides, in turns.
fn pairs(args: &Args, case: &Case, lines: &mut Lines, mut run: impl FnMut(Side, usize) -> Result<Value>) -> Result<()> {
    for pair in 1..=args.pairs(case) {
        for side in args.sides() {
            let what = format!("{}, {}, pair {pair}", case.name, side.name());
            lines.add(&what, run(side, pair))?;
        }
    }
    Ok(())
}

/// A throughput case: the results of every run must be those of the first.
fn throughput(session: &mut Session, args: &Args, case: &Case, lines: &mut Lines) -> Result<()> {
    let mut first: Option<Results> = None;
    let mut differences = Vec::new();
    pairs(args, case, lines, |side, pair| {
        let (mut line, results) = throughput::run(session, case, side, pair)?;
        let difference = first.as_ref().and_then(|first| first.difference(&results));
        throughput::merge(&mut line, json!({ "equal": difference.is_none() }));
        if let Some(difference) = difference {
            differences.push(format!(
                "{}, {}, pair {pair}: other results: {difference}",
                case.name,
                side.name()
            ));
        }
        first.get_or_insert(results);
        Ok(line)
    })?;
    for difference in differences {
        eprintln!("{difference}");
        lines.faults.push(difference);
    }
    Ok(())
}
