//! R1: the state directory is gone, the changelog is there: what does a key cost to restore?

use crate::Result;
use crate::cases::Case;
use crate::generate::{self, Data, PARTITIONS};
use crate::process::{self, Job, Side, System};
use crate::session::Session;
use crate::throughput::round;
use serde_json::{Value, json};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(600);
/// An input without records: nothing but the restore is to be done.
const INPUT: &str = "r1-in";
const OUTPUT: &str = "r1-out";

/// The application keeps its id: its changelog is what is restored. One for each side, so that no group has to be shared.
fn app(side: Side) -> String {
    format!("r1-{}", side.short())
}

/// Loads a changelog for each side.
pub fn load(session: &mut Session, case: &Case) -> Result<()> {
    for topic in [INPUT, OUTPUT] {
        generate::load(&mut session.client, topic, Data::Empty, 0)?;
    }
    for side in [Side::Peer, Side::Ours] {
        let changelog = format!("{}-st-changelog", app(side));
        generate::load(&mut session.client, &changelog, case.data, case.count(session.scale))?;
    }
    Ok(())
}

/// One restore: from the first `RESTORE_START` to the last `RESTORE_END`.
pub fn run(session: &mut Session, case: &Case, side: Side, pair: usize) -> Result<Value> {
    let (app, keys) = (app(side), case.count(session.scale));
    let dir = session.run_dir(&app)?;
    let job = Job {
        workload: case.workload,
        app: &app,
        input: INPUT,
        output: OUTPUT,
        mode: case.mode,
        settings: Vec::new(),
        dir: dir.path(),
        bootstrap: &session.bootstrap,
    };
    let mut system = System::start(&session.programs, side, &job)?;
    let ends = system.wait_for("RESTORE_END_", PARTITIONS, LIMIT)?;
    let starts = system.marks("RESTORE_START_");
    let (Some(first), Some(last)) = (starts.first(), ends.last()) else {
        return Err(system.fault("told of no restore"));
    };
    let counts = ends
        .iter()
        .filter_map(|mark| mark.name.rsplit_once("_n")?.1.parse::<u64>().ok());
    let restored: u64 = counts.sum();
    if restored != keys {
        return Err(system.fault(&format!("restored {restored} records of {keys}")));
    }
    let (cpu, wall) = (last.cpu - first.cpu, (last.at - first.at).as_secs_f64());
    let line = json!({
        "case": case.name,
        "system": side.name(),
        "pair": pair,
        "mode": case.mode,
        "records": keys,
        "cpu_s": round(cpu),
        "wall_s": round(wall),
        "us_per_record": round(cpu * 1e6 / keys as f64),
        "records_per_s": (keys as f64 / wall).round(),
        "core_share": round(cpu / wall),
        "peak_rss_mib": process::peak_rss_mib(system.pid()).round(),
        "written_mib": process::written_mib(system.pid()).round(),
        "equal": true,
        "run_s": round(system.started.elapsed().as_secs_f64()),
    });
    system.end()?;
    Ok(line)
}
