//! Is it fast enough? Prints a Markdown table: each case, what it does on one core, and the floor it is held to.
//!
//! `cargo run --release -p millstream-benches --bin floors`. Best of five by CPU time; exits with 1 when a floor is missed.

use millstream_benches::cases::{self, Case, Skew};
use millstream_benches::clock::cpu_time_of;
use millstream_benches::data::KEYS;
use millstream_benches::replay::{Replay, Result};
use millstream_benches::stores::{self, Changelog, Disk, Rows};
use std::process::ExitCode;
use std::time::Duration;

const RUNS: usize = 5;

/// What a floor is about.
enum Floor {
    /// Millions of records a second, or more.
    AtLeast(f64),
    /// Milliseconds, or fewer.
    Within(f64),
    /// Times the cost of the row before, or less.
    Times(f64),
    /// No floor: a figure to know.
    None,
}

struct Report {
    below: usize,
    before: Duration,
}

impl Report {
    fn start() -> Self {
        println!("| case | records/s on one core | ns per record | floor | |");
        println!("|---|--:|--:|---|---|");
        Report {
            below: 0,
            before: Duration::ZERO,
        }
    }

    /// `spent` is the CPU time of one record (or row).
    fn row(&mut self, name: &str, spent: Duration, records: usize, floor: &Floor) {
        let each = spent.as_secs_f64() / records.max(1) as f64;
        let rate = 1.0 / each / 1e6;
        let whole = spent.as_secs_f64() * 1e3;
        let times = each / self.before.as_secs_f64();
        let (held, text) = match floor {
            Floor::AtLeast(millions) => (rate >= *millions, format!(">= {millions} M/s")),
            Floor::Within(limit) => (whole <= *limit, format!("{whole:.2} ms, <= {limit} ms")),
            Floor::Times(limit) => (times <= *limit, format!("{times:.2} x the case above, <= {limit} x")),
            Floor::None => (true, String::new()),
        };
        let verdict = match floor {
            Floor::None => "",
            _ if held => "ok",
            _ => "**below**",
        };
        println!("| {name} | {rate:.2} M | {:.1} | {text} | {verdict} |", each * 1e9);
        self.below += usize::from(!held);
        self.before = Duration::from_secs_f64(each);
    }
}

fn main() -> Result<ExitCode> {
    let mut report = Report::start();
    let million = 1_000_000;
    stream(&mut report, &cases::forward(million)?, Floor::None)?;
    stream(
        &mut report,
        &cases::count("count, 10,000 i64 keys", 2 * million, KEYS)?,
        Floor::AtLeast(10.0),
    )?;
    stream(
        &mut report,
        &cases::count("count, 1,000,000 i64 keys", 2 * million, million as u64)?,
        Floor::None,
    )?;
    stream(&mut report, &cases::json_count(300_000)?, Floor::AtLeast(2.0))?;
    windows(&mut report, "hop 5", "hop 60", Skew::Auctions)?;
    windows(
        &mut report,
        "hop 5, uniform keys",
        "hop 60, uniform keys",
        Skew::Uniform,
    )?;
    commit(&mut report)?;
    restore(&mut report)?;
    Ok(if report.below == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Records and their commits together.
fn stream(report: &mut Report, case: &Case, floor: Floor) -> Result<()> {
    let runs = (0..RUNS).map(|_| run(case)).collect::<Result<Vec<_>>>()?;
    let best = runs
        .iter()
        .map(|(update, commit)| *update + *commit)
        .min()
        .unwrap_or_default();
    report.row(case.name, best, case.records(), &floor);
    Ok(())
}

/// The floors are about updates; the commits, which emit every window that changed, are reported beside them.
fn windows(report: &mut Report, five: &'static str, sixty: &'static str, skew: Skew) -> Result<()> {
    let records = 1_000_000;
    let mut commits = Vec::new();
    let floors = match skew {
        Skew::Auctions => (Floor::AtLeast(8.0), Floor::Times(1.5)),
        Skew::Uniform => (Floor::None, Floor::None),
    };
    for (name, size, advance, floor) in [(five, 10, 2, floors.0), (sixty, 60, 1, floors.1)] {
        let case = cases::hop(name, size, advance, skew, records)?;
        let runs = (0..RUNS).map(|_| run(&case)).collect::<Result<Vec<_>>>()?;
        let update = runs.iter().map(|(update, _)| *update).min().unwrap_or_default();
        report.row(&format!("{name}: updates"), update, records, &floor);
        commits.push((name, runs.iter().map(|(_, commit)| *commit).min().unwrap_or_default()));
    }
    for (name, commit) in commits {
        report.row(
            &format!("{name}: its commits, one each second of event time"),
            commit,
            records,
            &Floor::None,
        );
    }
    Ok(())
}

/// CPU time of the updates and of the commits of a whole replay.
fn run(case: &Case) -> Result<(Duration, Duration)> {
    let mut replay = Replay::new(case)?;
    let (mut updates, mut commits) = (Duration::ZERO, Duration::ZERO);
    for chunks in case.chunks.chunks(case.commit_every) {
        let (spent, result) = cpu_time_of(|| chunks.iter().try_for_each(|chunk| replay.feed(chunk)));
        result?;
        updates += spent;
        let (spent, result) = cpu_time_of(|| replay.commit());
        result?;
        commits += spent;
    }
    if replay.dropped() > 0 {
        return Err(format!("{}: {} records were dropped", case.name, replay.dropped()).into());
    }
    Ok((updates, commits))
}

fn commit(report: &mut Report) -> Result<()> {
    for (name, value_bytes) in [("8 B", 8), ("100 B", 100)] {
        let disk = Disk::new(&stores::families())?;
        let mut rows = Rows::new(Box::new(disk.engine.clone()), value_bytes)?;
        let mut best = Duration::MAX;
        for round in 0..4 * RUNS as u64 {
            rows.dirty(KEYS, round);
            let (spent, written) = cpu_time_of(|| rows.commit(round as i64));
            best = best.min(spent);
            assert_eq!(written?, KEYS as usize);
        }
        let name = format!("commit, 10,000 dirty rows of 8 + {name}, into RocksDB");
        report.row(&name, best, KEYS as usize, &Floor::Within(10.0));
    }
    Ok(())
}

fn restore(report: &mut Report) -> Result<()> {
    let changelog = Changelog::new(1_000_000);
    let mut best = Duration::MAX;
    for _ in 0..RUNS {
        let disk = Disk::new(&stores::families())?;
        let mut rows = Rows::new(Box::new(disk.engine.clone()), VALUE)?;
        let (spent, restored) = cpu_time_of(|| rows.restore(&changelog));
        best = best.min(spent);
        assert_eq!(restored?.rows as usize, changelog.len());
    }
    report.row(
        "restore, rows of 8 + 100 B, into RocksDB",
        best,
        changelog.len(),
        &Floor::AtLeast(1.0),
    );
    Ok(())
}

const VALUE: usize = 100;
