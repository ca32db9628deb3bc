//! Runs one workload on Kafka until SIGTERM: the side of the comparison with Kafka Streams that is ours.
//!
//! ```text
//! millstream-workloads --workload W3 --bootstrap localhost:9092 --app-id counts --in u10k --out counts \
//!     --state-dir /tmp/state --mode expert -- producer.linger.ms=5
//! ```
//!
//! `benches/peer` has the data, the other side, and the driver that starts both. Moments that it wants to know are printed
//! as lines `MARK name epoch_ms`: `main`, `RESTORE_START_p` and `RESTORE_END_p_nN` for a store of partition `p` with `N`
//! records, `RUNNING`.

mod args;
mod marks;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use clap::Parser;
use millstream_benches::replay::Result;
use millstream_processor::broker::kafka::{KafkaBroker, KafkaSettings};
use millstream_processor::engines::DiskEngines;
use millstream_processor::{App, Components, RunUntil, StopHandle};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use args::Args;

fn main() -> ExitCode {
    marks::mark("main");
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("millstream-workloads: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let plan = args.workload.plan(&args.app_id, &args.topics()?)?;
    let config = args.config()?;
    let broker = Arc::new(KafkaBroker::new(KafkaSettings::of(&config))?);
    let components = Components {
        events: Some(Arc::new(marks::of_event)),
        ..Components::new(Arc::new(DiskEngines::new(&config)))
    };
    let app = App::new(plan, config, broker, components);
    stop_on_signals(app.stop_handle())?;
    app.run(RunUntil::Signal)?;
    Ok(())
}

/// The first SIGTERM or SIGINT asks for a last commit and the end, the second ends the process at once.
fn stop_on_signals(stop: StopHandle) -> Result<()> {
    let second = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, second.clone())?;
    }
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    thread::spawn(move || {
        for _signal in signals.forever() {
            second.store(true, Ordering::Relaxed);
            stop.stop();
        }
    });
    Ok(())
}
