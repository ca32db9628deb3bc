//! A real Apache Kafka from the command line, by the same code that the tests use.
//!
//! `kafka up` starts one that stays, `kafka down` ends it (`make kafka-up`, `make kafka-down`);
//! `kafka run COMMAND ...` gives one to a command and all that it starts, and ends it afterwards (`make test`).

use millstream_integration_tests::kafka::{BOOTSTRAP_ENV, Broker, NoBroker, PID_ENV, SKIPPED_ENV, answers};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let result = match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["up"] => up(),
        ["down"] => down(),
        ["run", program, rest @ ..] => run(program, rest),
        _ => Err("usage: kafka up | down | run COMMAND [ARGUMENT ...]".to_owned()),
    };
    result.unwrap_or_else(|why| {
        eprintln!("{why}");
        ExitCode::FAILURE
    })
}

fn up() -> Result<ExitCode, String> {
    let note = note_file()?;
    if let Some(kept) = Kept::read(&note).filter(|kept| answers(&kept.bootstrap)) {
        println!("Apache Kafka is up already:\n{BOOTSTRAP_ENV}={}", kept.bootstrap);
        return Ok(ExitCode::SUCCESS);
    }
    let broker = Broker::start().map_err(|why| why.to_string())?;
    println!("{}", broker.describe());
    let bootstrap = broker.bootstrap().to_owned();
    if let Some(end) = broker.keep() {
        fs::write(&note, format!("{bootstrap}\n{end}\n"))
            .map_err(|e| format!("cannot write {}: {e}", note.display()))?;
    }
    println!("{BOOTSTRAP_ENV}={bootstrap}");
    Ok(ExitCode::SUCCESS)
}

fn down() -> Result<ExitCode, String> {
    let note = note_file()?;
    let Some(kept) = Kept::read(&note) else {
        println!("no Apache Kafka was up");
        return Ok(ExitCode::SUCCESS);
    };
    let status = Command::new("sh").arg("-c").arg(&kept.end).status();
    let ended = status.map_err(|e| format!("cannot run sh: {e}"))?.success();
    fs::remove_file(&note).map_err(|e| format!("cannot remove {}: {e}", note.display()))?;
    println!(
        "Apache Kafka at {} {}",
        kept.bootstrap,
        if ended { "is down" } else { "was gone already" }
    );
    Ok(ExitCode::SUCCESS)
}

/// Runs a command with a broker; without one where none can be had, and says how many tests that cost.
fn run(program: &str, args: &[&str]) -> Result<ExitCode, String> {
    let (bootstrap, why, broker) = match Broker::start() {
        Ok(broker) => (broker.bootstrap().to_owned(), String::new(), Some(broker)),
        Err(NoBroker::Unavailable(why)) => ("none".to_owned(), why, None),
        Err(NoBroker::Broken(why)) => return Err(why),
    };
    match &broker {
        Some(broker) => println!("Apache Kafka at {bootstrap}: {}", broker.describe()),
        None => println!("NO KAFKA: {why}"),
    }
    let skipped = tempfile::NamedTempFile::new().map_err(|e| format!("no temporary file: {e}"))?;
    let mut command = Command::new(program);
    command
        .args(args)
        .env(BOOTSTRAP_ENV, &bootstrap)
        .env(SKIPPED_ENV, skipped.path());
    if let Some(pid) = broker.as_ref().and_then(Broker::pid) {
        command.env(PID_ENV, pid.to_string());
    }
    let status = command.status().map_err(|e| format!("cannot run {program}: {e}"))?;
    drop(broker);
    let names = fs::read_to_string(skipped.path()).unwrap_or_default();
    if !names.is_empty() {
        let count = names.lines().count();
        println!(
            "\n*** {count} TESTS WERE SKIPPED: NO KAFKA CAN BE HAD HERE ({}) ***\n",
            first_line(&why)
        );
    }
    Ok(status
        .code()
        .map_or(ExitCode::FAILURE, |code| ExitCode::from(code as u8)))
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// Where `up` notes what `down` has to end.
fn note_file() -> Result<PathBuf, String> {
    let home = env::var_os("HOME").ok_or("no HOME, so no place to note the broker")?;
    let dir = PathBuf::from(home).join(".cache/millstream");
    fs::create_dir_all(&dir).map_err(|e| format!("cannot make {}: {e}", dir.display()))?;
    Ok(dir.join("kafka-up"))
}

/// A broker that `up` left running, and the shell command that ends it.
struct Kept {
    bootstrap: String,
    end: String,
}

impl Kept {
    fn read(note: &Path) -> Option<Self> {
        let text = fs::read_to_string(note).ok()?;
        let mut lines = text.lines().map(str::to_owned);
        Some(Self {
            bootstrap: lines.next()?,
            end: lines.next()?,
        })
    }
}
