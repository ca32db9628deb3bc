//! No engine at all: what W2 lets pass goes from one topic to the other as it came.
//!
//! With any engine a bid goes through the broker twice, and the broker has twice the requests. A relay that does nothing
//! else says what that costs: less cannot be had by an engine on this machine.

use crate::Result;
use crate::batch::Writer;
use crate::generate::PARTITIONS;
use crate::latency::{FETCH_BYTES, LEAST_PRICE, WAIT_MS, now_micros};
use crate::process::{Job, System, on_their_core};
use crate::tail::Tail;
use crate::wire::Client;

/// The word that makes this program a relay: `peer relay HOST:PORT IN OUT`.
pub const NAME: &str = "relay";
/// Requests without an answer, at most: as many as a producer has.
const WINDOW: usize = 5;

/// Starts this program as a relay, where systems under test run.
pub fn start(job: &Job<'_>) -> Result<System> {
    let mut command = on_their_core();
    command.arg(std::env::current_exe()?);
    command.args([NAME, job.bootstrap, job.input, job.output]);
    System::spawn(command, NAME, job.dir)
}

/// Relays until it is ended.
pub fn run(bootstrap: &str, input: &str, output: &str) -> Result<bool> {
    let (mut reader, mut sender) = (Client::connect(bootstrap)?, Client::connect(bootstrap)?);
    let mut writers: Vec<Writer> = (0..PARTITIONS).map(|_| Writer::new()).collect();
    let mut tail = Tail::new(input, FETCH_BYTES, vec![0; PARTITIONS]);
    println!("MARK RUNNING");
    loop {
        tail.read(&mut reader, WAIT_MS, |partition, record| {
            let passes = record.number("price") >= LEAST_PRICE;
            if let Some(writer) = writers.get_mut(partition).filter(|_| passes) {
                let now_ms = (now_micros() / 1000) as i64;
                writer.add(now_ms, record.key, record.value.unwrap_or_default());
            }
        })?;
        send(&mut sender, output, &mut writers)?;
    }
}

fn send(sender: &mut Client, output: &str, writers: &mut [Writer]) -> Result<()> {
    let with_records = writers.iter_mut().enumerate().filter(|(_, writer)| !writer.is_empty());
    let batches: Vec<(usize, &[u8])> = with_records.map(|(at, writer)| (at, writer.finish())).collect();
    if !batches.is_empty() {
        sender.produce(output, &batches, WINDOW)?;
    }
    drop(batches);
    writers.iter_mut().for_each(Writer::clear);
    Ok(())
}
