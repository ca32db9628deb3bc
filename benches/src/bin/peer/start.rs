//! S1: a record waits in each partition; how long from the start of the process to the first output?

use crate::Result;
use crate::cases::Case;
use crate::generate::PARTITIONS;
use crate::process::{self, Job, Side, System};
use crate::session::Session;
use crate::throughput::round;
use crate::wire::From;
use serde_json::{Value, json};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

/// One start.
pub fn run(session: &mut Session, case: &Case, side: Side, pair: usize) -> Result<Value> {
    let app = session.unique(&format!("{}-{}", case.workload, side.short()));
    let output = format!("{app}.out");
    session.client.create_topic(&output, PARTITIONS, &[])?;
    let dir = session.run_dir(&app)?;
    let input = case.topic(session.scale);
    let job = Job {
        workload: case.workload,
        app: &app,
        input: &input,
        output: &output,
        mode: case.mode,
        // What waits in a producer is no part of starting.
        settings: vec!["producer.linger.ms=0".to_owned()],
        dir: dir.path(),
        bootstrap: &session.bootstrap,
    };
    let mut system = System::start(&session.programs, side, &job)?;
    let mut there = false;
    while !there {
        let from = From {
            topic: &output,
            offsets: &[0; PARTITIONS],
            partition_bytes: 1 << 20,
            wait_ms: 100,
        };
        session.client.fetch(&from, |_partition, _bytes| {
            there = true;
            Ok(())
        })?;
        system.alive()?;
        if system.started.elapsed() > LIMIT {
            return Err(system.fault("wrote nothing"));
        }
    }
    let (wall, cpu) = (system.started.elapsed(), process::cpu_seconds(system.pid()));
    let since_start = |name: &str| {
        let mark = system.marks(name).first().cloned();
        mark.map(|mark| round((mark.at - system.started).as_secs_f64()))
    };
    let line = json!({
        "case": case.name,
        "system": side.name(),
        "pair": pair,
        "mode": case.mode,
        "first_output_s": round(wall.as_secs_f64()),
        "main_s": since_start("main"),
        "running_s": since_start("RUNNING"),
        "cpu_s": round(cpu),
        "peak_rss_mib": process::peak_rss_mib(system.pid()).round(),
    });
    system.end()?;
    session.drop_topics(&app)?;
    Ok(line)
}
