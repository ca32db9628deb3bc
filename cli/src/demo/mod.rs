//! `millstream demo`: the fleet job of `examples/flights` on a year of real messages.

pub mod feed;
pub mod job;
mod progress;
pub mod start;
mod summary;

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use millstream_processor::RunUntil;
use millstream_processor::broker::Broker;

use crate::args::DemoOptions;
use crate::failure::Failure;
use crate::place::Place;
use crate::stop::Stop;

use self::job::Job;

/// Feeds the year, runs the job to the end of it, and prints what it found.
pub fn run(options: &DemoOptions, out: &mut dyn Write) -> Result<(), Failure> {
    let stop = Stop::on_signals()?;
    let place = Place::of(&options.place);
    let state_dir = options.state_dir.clone().unwrap_or_else(|| place.state_dir());
    let broker = place.open()?;
    let began = Instant::now();
    eprintln!("A year of flights from New York City, in the {}.", broker.describe());
    eprintln!("{}", start::prepare(&*broker, &state_dir)?);

    let mut job = Job::new(broker.clone(), &state_dir, options.threads);
    if let Place::Kafka(servers) = &place {
        // At least once commits every 30 s otherwise: too seldom to watch.
        job = job.set("bootstrap.servers", servers).set("commit.interval.ms", 1000);
    }
    match options.speed {
        None => all_at_once(&*broker, &job, &stop)?,
        Some(speed) => replay(&*broker, &job, speed, &stop)?,
    }
    if stop.asked() {
        eprintln!("Stopped as asked; everything up to here is committed. The same command goes on from here.");
        return Ok(());
    }
    eprintln!("Done in {:.1} s.", began.elapsed().as_secs_f64());
    summary::print(&*broker, &place, out)
}

fn all_at_once(broker: &dyn Broker, job: &Job, stop: &Stop) -> Result<(), Failure> {
    let began = Instant::now();
    let fed = feed::feed(broker, None, stop)?;
    eprintln!(
        "{fed} messages are in the log after {:.1} s; now the job reads them.",
        began.elapsed().as_secs_f64()
    );
    if !stop.asked() {
        job.run(RunUntil::EndOfInput, || stop.asked())?;
    }
    Ok(())
}

/// The job runs while messages come in; when the last one is there, a second run takes it to the end and closes windows.
fn replay(broker: &dyn Broker, job: &Job, speed: f64, stop: &Stop) -> Result<(), Failure> {
    let feeding = AtomicBool::new(true);
    thread::scope(|scope| {
        let feeder = scope.spawn(|| {
            let fed = feed::feed(broker, Some(speed), stop);
            feeding.store(false, Ordering::Relaxed);
            fed
        });
        let ran = job.run(RunUntil::Signal, || stop.asked() || !feeding.load(Ordering::Relaxed));
        if ran.is_err() {
            stop.ask();
        }
        match feeder.join() {
            Ok(fed) => fed.and(ran),
            Err(_) => Err(Failure::failed(
                "the thread that produces messages panicked; this is a bug, please report it",
            )),
        }
    })?;
    if !stop.asked() {
        job.run(RunUntil::EndOfInput, || stop.asked())?;
    }
    Ok(())
}
