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
/// The part of the input that must be left for measuring behind the warm-up.
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
    let repartition = case.repartition.map(|name| format!("{app}-{name}-repartition"));
    let mut system = System::start(&session.programs, side, &job)?;
    let samples = watch(
        session,
        &mut system,
        &app,
        &Input {
            topic: &events,
            count,
            repartition,
        },
    )?;
    let running = system.marks("RUNNING").first().map(|mark| Sample {
        at: mark.at - system.started,
        done: 0,
        cpu: mark.cpu,
        broker_cpu: samples.first().map_or(0.0, |sample| sample.broker_cpu),
    });
    let (rss, written) = (process::peak_rss_mib(system.pid()), process::written_mib(system.pid()));
    system.end()?;

    let results = Results::read(&mut session.client, &output, case.each, &session.hasher)?;
    let mut line = figures(side, count, running, &samples).ok_or("the run has no two commit marks")?;
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

/// What is to be done.
struct Input<'a> {
    topic: &'a str,
    count: u64,
    /// The topic in the middle: what lies there is to be done too.
    repartition: Option<String>,
}

impl Input<'_> {
    /// Records that the group has committed, of the input and of the topic in the middle, whichever are fewer.
    fn done(&self, session: &mut Session, app: &str) -> Result<u64> {
        let sum = |offsets: Vec<i64>| offsets.iter().sum::<i64>().unsigned_abs();
        let done = sum(session.client.committed(app, self.topic, PARTITIONS)?);
        let Some(middle) = &self.repartition else {
            return Ok(done);
        };
        let passed = sum(session.client.committed(app, middle, PARTITIONS)?);
        if done >= self.count && passed > 0 && passed >= session.records(middle)? {
            return Ok(done);
        }
        // Not done before what is in the middle is: a record is counted when it has gone through both.
        Ok(done.min(passed).min(self.count.saturating_sub(1)))
    }
}

/// Looks on until all is committed.
fn watch(session: &mut Session, system: &mut System, app: &str, input: &Input<'_>) -> Result<Vec<Sample>> {
    let mut samples: Vec<Sample> = Vec::new();
    let mut progress = Instant::now();
    loop {
        let sample = Sample {
            at: system.started.elapsed(),
            done: input.done(session, app)?,
            cpu: process::cpu_seconds(system.pid()),
            broker_cpu: process::cpu_seconds(session.broker_pid),
        };
        if samples.last().is_none_or(|last| last.done != sample.done) {
            progress = Instant::now();
        }
        samples.push(sample);
        if sample.done >= input.count {
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
fn figures(side: Side, count: u64, running: Option<Sample>, samples: &[Sample]) -> Option<Value> {
    let last = samples.last()?;
    let part = |sample: &Sample| sample.done as f64 / count as f64;
    let first_at = |least: f64, from: Duration| samples.iter().find(|s| part(s) >= least && s.at >= from);
    let mut first = first_at(WARM_UP, Duration::ZERO)?;
    if side == Side::Peer {
        let warm = first_at(WARM_UP, PEER_WARM_UP).filter(|s| part(s) <= 1.0 - LEAST_RANGE);
        first = warm.unwrap_or(first);
    }
    if part(first) > 1.0 - LEAST_RANGE {
        // So fast that hardly a commit mark lies between the warm-up and the end: everything counts, from the moment the
        // system says that it runs.
        first = running.as_ref().or(samples.first())?;
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
        let line = figures(Side::Ours, 100, None, &samples).expect("two marks");
        assert_eq!(
            (&line["from"], &line["cpu_s"], &line["wall_s"]),
            (&json!(40), &json!(1.5), &json!(1.0))
        );
        assert_eq!(line["us_per_record"], json!(25_000.0));
    }

    #[test]
    fn a_jvm_gets_its_twenty_seconds_where_enough_is_left() {
        let samples = [sample(10, 30, 9.0), sample(21, 60, 20.0), sample(35, 100, 33.0)];
        let line = figures(Side::Peer, 100, None, &samples).expect("two marks");
        assert_eq!(line["from"], json!(60));
        let samples = [sample(10, 30, 9.0), sample(21, 90, 20.0), sample(35, 100, 33.0)];
        let line = figures(Side::Peer, 100, None, &samples).expect("two marks");
        assert_eq!(line["from"], json!(30));
    }

    #[test]
    fn too_few_records_behind_the_warm_up_count_from_when_it_ran() {
        let samples = [sample(1, 0, 0.1), sample(2, 98, 1.5), sample(3, 100, 2.0)];
        let line = figures(Side::Ours, 100, Some(sample(1, 0, 0.5)), &samples).expect("two marks");
        assert_eq!((&line["from"], &line["cpu_s"]), (&json!(0), &json!(1.5)));
    }

    #[test]
    fn all_in_one_commit_counts_from_when_it_ran() {
        let samples = [sample(1, 0, 0.1), sample(2, 0, 1.5), sample(3, 100, 2.0)];
        let line = figures(Side::Ours, 100, Some(sample(1, 0, 0.5)), &samples).expect("two looks");
        assert_eq!((&line["from"], &line["cpu_s"]), (&json!(0), &json!(1.5)));
    }
}
