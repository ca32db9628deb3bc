//! One run of a workload over all its input: what it cost.

use crate::Result;
use crate::cases::Case;
use crate::check::Results;
use crate::generate::PARTITIONS;
use crate::process::{self, Job, Side, System, nap};
use crate::session::Session;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// The part of the input before the measured range.
const WARM_UP: f64 = 0.3;
/// A JVM is warm after so long, if that leaves [`LEAST_RANGE`] of the input.
const PEER_WARM_UP: Duration = Duration::from_secs(20);
/// The part of the input that must be left for measuring when the warm-up of the JVM takes longer.
const LEAST_RANGE: f64 = 0.3;
/// Between two looks at the group's committed offsets.
const LOOK_MS: u64 = 20;
/// Without any progress for so long, a run has failed.
const STALL: Duration = Duration::from_secs(120);
/// What a system still uses while it waits for its last commit: so much CPU at the end of a run is waiting, not work.
const IDLE_CPU: f64 = 0.03;

/// One look.
#[derive(Clone, Copy)]
struct Sample {
    at: Duration,
    done: u64,
    cpu: f64,
    broker_cpu: f64,
}

/// Runs a case once; returns its JSON line and its results.
pub fn run(session: &mut Session, case: &Case, side: Side, pair: usize) -> Result<(Value, Results)> {
    let (events, count) = (case.topic(session.scale), case.count(session.scale));
    let app = session.unique(&format!("{}-{}", case.workload, side.short()));
    let output = format!("{app}.out");
    session.client.create_topic(&output, PARTITIONS, &[])?;
    let dir = session.run_dir(&app)?;
    let input = if case.table {
        format!("{events},{}", session.campaigns())
    } else {
        events.clone()
    };
    let job = Job {
        workload: case.workload,
        app: &app,
        input: &input,
        output: &output,
        mode: case.mode,
        settings: case.settings.iter().map(|s| (*s).to_owned()).collect(),
        dir: dir.path(),
        bootstrap: &session.bootstrap,
    };
    let mut system = System::start(&session.programs, side, &job)?;
    let samples = watch(session, &mut system, &app, &events, count)?;
    let (rss, written) = (process::peak_rss_mib(system.pid()), process::written_mib(system.pid()));
    system.end()?;

    let results = Results::read(&mut session.client, &output, case.each, &session.hasher)?;
    let mut line = figures(side, count, &samples).ok_or("the run has no two commit marks")?;
    let facts = json!({
        "case": case.name,
        "system": side.name(),
        "pair": pair,
        "mode": case.mode,
        "settings": case.settings,
        "records": count,
        "peak_rss_mib": rss.round(),
        "written_mib": written.round(),
        "output_records": session.records(&output)?,
        "changelog_records": session.records_of(&app, "-changelog")?,
        "repartition_records": session.records_of(&app, "-repartition")?,
        "results": results.describe(),
    });
    merge(&mut line, facts);
    session.drop_topics(&app)?;
    Ok((line, results))
}

/// Looks on until all is committed.
fn watch(session: &mut Session, system: &mut System, app: &str, events: &str, count: u64) -> Result<Vec<Sample>> {
    let mut samples: Vec<Sample> = Vec::new();
    let mut progress = Instant::now();
    loop {
        let offsets = session.client.committed(app, events, PARTITIONS)?;
        let sample = Sample {
            at: system.started.elapsed(),
            done: offsets.iter().sum::<i64>().unsigned_abs(),
            cpu: process::cpu_seconds(system.pid()),
            broker_cpu: process::cpu_seconds(session.broker_pid),
        };
        if samples.last().is_none_or(|last| last.done != sample.done) {
            progress = Instant::now();
        }
        samples.push(sample);
        if sample.done >= count {
            return Ok(samples);
        }
        system.alive()?;
        if progress.elapsed() > STALL {
            return Err(system.fault(&format!(
                "made no progress for {} s at {} records",
                STALL.as_secs(),
                sample.done
            )));
        }
        nap(LOOK_MS);
    }
}

/// CPU per record between two commit marks: the first at or behind the warm-up, and the last.
fn figures(side: Side, count: u64, samples: &[Sample]) -> Option<Value> {
    let last = samples.last()?;
    let part = |sample: &Sample| sample.done as f64 / count as f64;
    let first_at = |least: f64, from: Duration| samples.iter().find(|s| part(s) >= least && s.at >= from);
    let mut first = first_at(WARM_UP, Duration::ZERO)?;
    if side == Side::Peer {
        let warm = first_at(WARM_UP, PEER_WARM_UP).filter(|s| part(s) <= 1.0 - LEAST_RANGE);
        first = warm.unwrap_or(first);
    }
    if first.done == last.done {
        // All in one commit: from the last look before any progress.
        first = samples.iter().rfind(|s| s.done < last.done)?;
    }
    let busy = samples
        .iter()
        .find(|s| s.at >= first.at && s.cpu >= last.cpu - IDLE_CPU)?;
    let (records, cpu) = ((last.done - first.done) as f64, last.cpu - first.cpu);
    let wall = (busy.at - first.at).as_secs_f64().max(0.001);
    Some(json!({
        "from": first.done,
        "to": last.done,
        "cpu_s": round(cpu),
        "wall_s": round(wall),
        "us_per_record": round(cpu * 1e6 / records),
        "records_per_s": (records / wall).round(),
        "core_share": round(cpu / wall),
        "broker_core_share": round((busy.broker_cpu - first.broker_cpu) / wall),
        "run_s": round(last.at.as_secs_f64()),
    }))
}

/// Four digits behind the point.
pub fn round(number: f64) -> f64 {
    (number * 1e4).round() / 1e4
}

/// Adds the fields of one object to another.
pub fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at: u64, done: u64, cpu: f64) -> Sample {
        Sample {
            at: Duration::from_secs(at),
            done,
            cpu,
            broker_cpu: 0.0,
        }
    }

    #[test]
    fn the_range_begins_at_the_first_commit_behind_the_warm_up() {
        let samples = [
            sample(1, 0, 0.5),
            sample(2, 20, 1.0),
            sample(3, 40, 2.0),
            sample(4, 100, 3.5),
            sample(6, 100, 3.5),
        ];
        let line = figures(Side::Ours, 100, &samples).expect("two marks");
        assert_eq!(
            (&line["from"], &line["cpu_s"], &line["wall_s"]),
            (&json!(40), &json!(1.5), &json!(1.0))
        );
        assert_eq!(line["us_per_record"], json!(25_000.0));
    }

    #[test]
    fn a_jvm_gets_its_twenty_seconds_where_enough_is_left() {
        let samples = [sample(10, 30, 9.0), sample(21, 60, 20.0), sample(35, 100, 33.0)];
        let line = figures(Side::Peer, 100, &samples).expect("two marks");
        assert_eq!(line["from"], json!(60));
        let samples = [sample(10, 30, 9.0), sample(21, 90, 20.0), sample(35, 100, 33.0)];
        let line = figures(Side::Peer, 100, &samples).expect("two marks");
        assert_eq!(line["from"], json!(30));
    }

    #[test]
    fn all_in_one_commit_counts_from_before_it() {
        let samples = [sample(1, 0, 0.5), sample(2, 100, 2.0)];
        let line = figures(Side::Ours, 100, &samples).expect("two looks");
        assert_eq!((&line["from"], &line["cpu_s"]), (&json!(0), &json!(1.5)));
    }
}
