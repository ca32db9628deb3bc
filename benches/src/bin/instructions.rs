//! Did a change make a record dearer? Counts instructions of a fixed replay with callgrind, which a busy machine does not
//! disturb, and prints them beside those of the committed file.
//!
//! ```text
//! cargo run --release -p millstream-benches --bin instructions             compare with benches/instructions.json
//! cargo run --release -p millstream-benches --bin instructions -- --write  write that file
//! cargo run --release -p millstream-benches --bin instructions -- --check  of the workloads only: fails when one grew
//! ```
//!
//! The program runs itself once more for each case, under `valgrind --tool=callgrind`, which counts only inside
//! [`measured`]. There are crates for this (iai-callgrind, now gungraun); they want a second program of exactly their own
//! version installed by hand, and we need one number for each case.

use millstream_benches::cases::{self, Case, Skew};
use millstream_benches::data::{BATCH, KEYS};
use millstream_benches::parts::{self, PARTS};
use millstream_benches::replay::{Replay, Result};
use millstream_benches::stores::{Changelog, Rows};
use millstream_benches::workloads::Workload;
use millstream_state::engine::MemoryEngine;
use millstream_topology::Chunk;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;

/// Chunks that are fed before counting begins, so that keys are known; as many again are counted.
const WARM: usize = 200;
/// Argument of the program's second self.
const COUNT: &str = "--count";

/// How much dearer a workload may become unnoticed: counts are equal from run to run, but not to the last digit from one
/// machine to the next.
const TOLERANCE: f64 = 0.03;

/// Instructions per record (or row), by case.
type Counts = BTreeMap<String, f64>;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        [COUNT, case] => run(case),
        ["--write"] => write(&count_all(&all())?),
        ["--check"] => check(&count_all(&workloads())?),
        [] | ["--bench"] => compare(&count_all(&all())?),
        _ => Err(format!("unknown arguments {args:?}: none, --write or --check").into()),
    }
}

/// Callgrind counts what happens in here.
#[inline(never)]
fn measured(work: &mut dyn FnMut() -> Result<()>) -> Result<()> {
    let result = work();
    // Something after the call, or it would become a jump, and callgrind would never see us return.
    std::hint::black_box(result)
}

/// What is counted beside [`PARTS`], and how many records (or rows) it is.
const CASES: &[(&str, usize)] = &[
    ("forward", WARM * BATCH),
    ("count", WARM * BATCH),
    ("count, commit", KEYS as usize),
    ("JSON count", WARM * BATCH),
    ("hop 5", WARM * BATCH),
    ("hop 60", WARM * BATCH),
    ("hop 60, commits", WARM * BATCH),
    ("W1", WARM * BATCH),
    ("W2", WARM * BATCH),
    ("W3", WARM * BATCH),
    ("W4", WARM * BATCH),
    ("W5a", WARM * BATCH),
    ("W5b", WARM * BATCH),
    ("W8", WARM * BATCH),
    ("seal and write", KEYS as usize),
    ("restore", RESTORED as usize),
];

const RESTORED: u64 = 20_000;
fn all() -> Vec<(&'static str, usize)> {
    let parts = PARTS.iter().map(|part| (*part, parts::ROWS));
    CASES.iter().copied().chain(parts).collect()
}

/// What `--check` holds: workloads from end to end, with their commits.
fn workloads() -> Vec<(&'static str, usize)> {
    let is_held = |case: &&(&str, usize)| matches!(case.0, "W2" | "W3" | "W5a" | "W8");
    CASES.iter().filter(is_held).copied().collect()
}

fn run(case: &str) -> Result<()> {
    let records = 2 * WARM * BATCH;
    match case {
        "forward" => feed(&cases::forward(records)?),
        "count" => feed(&cases::count("count", records, KEYS)?),
        "count, commit" => commit(&cases::count("count", records, KEYS)?),
        "JSON count" => feed(&cases::json_count(records)?),
        "hop 5" => feed(&cases::hop("hop 5", 10, 2, Skew::Auctions, records)?),
        "hop 60" => feed(&cases::hop("hop 60", 60, 1, Skew::Auctions, records)?),
        "hop 60, commits" => commit(&cases::hop("hop 60", 60, 1, Skew::Auctions, records)?),
        "W8" => whole(&cases::workload(case, records)?, KEYS as usize),
        _ if Workload::find(case).is_some() => whole(&cases::workload(case, records)?, 0),
        "seal and write" => {
            let mut rows = Rows::new(Box::new(MemoryEngine::new()), 100)?;
            rows.dirty(KEYS, 0);
            rows.commit(0)?;
            rows.dirty(KEYS, 1);
            measured(&mut || rows.commit(1).map(drop))
        }
        "restore" => {
            let changelog = Changelog::new(RESTORED);
            let mut rows = Rows::new(Box::new(MemoryEngine::new()), 100)?;
            measured(&mut || rows.restore(&changelog).map(drop))
        }
        part => {
            let mut step = parts::step(part).ok_or_else(|| format!("there is no case '{part}'"))?;
            step()?;
            measured(&mut step)
        }
    }
}

fn feed(case: &Case) -> Result<()> {
    let mut replay = Replay::new(case)?;
    let (warm, rest) = case.chunks.split_at(WARM);
    for chunks in warm.chunks(case.commit_every) {
        chunks.iter().try_for_each(|chunk| replay.feed(chunk))?;
        replay.commit()?;
    }
    for chunks in rest.chunks(case.commit_every) {
        measured(&mut || chunks.iter().try_for_each(|chunk| replay.feed(chunk)))?;
        replay.commit()?;
    }
    Ok(())
}

/// Updates and commits. `table` records, which come first, are warm-up as well.
fn whole(case: &Case, table: usize) -> Result<()> {
    let mut replay = Replay::new(case)?;
    let (warm, rest) = case.chunks.split_at(WARM + table.div_ceil(BATCH));
    let mut pass = |chunks: &[Arc<Chunk>]| {
        chunks.iter().try_for_each(|chunk| replay.feed(chunk))?;
        replay.commit()
    };
    warm.chunks(case.commit_every).try_for_each(&mut pass)?;
    measured(&mut || rest.chunks(case.commit_every).try_for_each(&mut pass))?;
    assert_eq!(replay.dropped(), 0, "{}", case.name);
    Ok(())
}

fn commit(case: &Case) -> Result<()> {
    let mut replay = Replay::new(case)?;
    let (warm, rest) = case.chunks.split_at(WARM);
    for chunks in warm.chunks(case.commit_every) {
        chunks.iter().try_for_each(|chunk| replay.feed(chunk))?;
        replay.commit()?;
    }
    for chunks in rest.chunks(case.commit_every) {
        chunks.iter().try_for_each(|chunk| replay.feed(chunk))?;
        measured(&mut || replay.commit())?;
    }
    Ok(())
}

/// Half of the cases beside the other half: counts do not depend on what else the machine does.
fn count_all(cases: &[(&str, usize)]) -> Result<Counts> {
    let (one, other) = cases.split_at(cases.len() / 2);
    let counted = thread::scope(|scope| {
        let beside = scope.spawn(|| count_each(one).map_err(|error| error.to_string()));
        let counts = count_each(other);
        Ok::<_, String>((beside.join().map_err(|_| "a count panicked")??, counts))
    });
    let (mut counts, others) = counted?;
    counts.extend(others?);
    Ok(counts)
}

fn count_each(cases: &[(&str, usize)]) -> Result<Counts> {
    let dir = tempfile::tempdir()?;
    cases
        .iter()
        .map(|(case, records)| Ok((case.to_string(), count(case, dir.path())? as f64 / *records as f64)))
        .collect()
}

fn count(case: &str, dir: &Path) -> Result<u64> {
    let out = dir.join("callgrind.out");
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--quiet", "--tool=callgrind", "--toggle-collect=instructions::measured"]);
    valgrind.arg(format!("--callgrind-out-file={}", out.display()));
    valgrind.arg(std::env::current_exe()?).args([COUNT, case]);
    let status = valgrind.stdin(Stdio::null()).status();
    let status = status
        .map_err(|error| format!("cannot run valgrind ({error}): install it (Debian: apt-get install valgrind)"))?;
    if !status.success() {
        return Err(format!("case '{case}' under valgrind: {status}").into());
    }
    let text = std::fs::read_to_string(&out)?;
    let total = text
        .lines()
        .find_map(|line| line.strip_prefix("totals: ").or(line.strip_prefix("summary: ")));
    match total.and_then(|total| total.trim().parse().ok()) {
        Some(0) | None => Err(format!("callgrind counted nothing for '{case}': was `measured` inlined?").into()),
        Some(total) => Ok(total),
    }
}

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions.json")
}

fn write(counts: &Counts) -> Result<()> {
    let rounded: BTreeMap<_, _> = counts
        .iter()
        .map(|(case, count)| (case, (count * 10.0).round() / 10.0))
        .collect();
    std::fs::write(file(), serde_json::to_string_pretty(&rounded)? + "\n")?;
    println!("wrote {}", file().display());
    Ok(())
}

fn committed() -> Result<Counts> {
    Ok(serde_json::from_slice(&std::fs::read(file())?)?)
}

fn check(counts: &Counts) -> Result<()> {
    let committed = committed()?;
    let mut grown = Vec::new();
    for (case, now) in counts {
        let then = committed.get(case).copied().unwrap_or(0.0);
        println!("{case}: {now:.1} instructions per record, committed {then:.1}");
        if *now > then * (1.0 + TOLERANCE) {
            grown.push(format!(
                "{case}: {then:.1} -> {now:.1} ({:+.1} %)",
                (now / then - 1.0) * 100.0
            ));
        }
    }
    if grown.is_empty() {
        return Ok(());
    }
    Err(format!(
        "records became dearer by more than {:.0} %, in instructions: {}. Find out why (callgrind_annotate), or accept it: \
         `cargo run --release -p millstream-benches --bin instructions -- --write`, in the same commit",
        TOLERANCE * 100.0,
        grown.join(", ")
    )
    .into())
}

fn compare(counts: &Counts) -> Result<()> {
    let committed = committed()?;
    println!("| case | instructions per record | committed | difference |");
    println!("|---|--:|--:|--:|");
    for (case, _) in all() {
        let now = counts.get(case).copied().unwrap_or(f64::NAN);
        let (then, difference) = match committed.get(case) {
            Some(then) => (format!("{then:.1}"), format!("{:+.1} %", (now / then - 1.0) * 100.0)),
            None => ("-".to_owned(), "new".to_owned()),
        };
        println!("| {case} | {now:.1} | {then} | {difference} |");
    }
    Ok(())
}
