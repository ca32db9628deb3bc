//! No engine at all: what W2 lets pass goes from one topic to the other as it came.
//!
//! With any engine a bid goes through the broker twice, and the broker has twice the requests. A relay that does nothing
//! else says what that costs: less cannot be had by an engine on this machine.

use crate::Result;
use crate::batch::{self, Writer};
use crate::generate::PARTITIONS;
use crate::latency::{LEAST_PRICE, now_micros};
use crate::process::{Job, System, on_their_core};
use crate::wire::{Client, From};

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
    let mut offsets = vec![0; PARTITIONS];
    println!("MARK RUNNING");
    loop {
        let mut next = offsets.clone();
        let ask = From {
            topic: input,
            offsets: &offsets,
            partition_bytes: 1 << 20,
            wait_ms: 100,
        };
        reader.fetch(&ask, |partition, bytes| {
            let (Some(writer), Some(slot)) = (writers.get_mut(partition), next.get_mut(partition)) else {
                return Ok(());
            };
            let read = batch::read(bytes, *slot, |record| {
                if record.number("price") >= LEAST_PRICE {
                    writer.add(
                        (now_micros() / 1000) as i64,
                        record.key,
                        record.value.unwrap_or_default(),
                    );
                }
            })?;
            *slot = read.unwrap_or(*slot);
            Ok(())
        })?;
        offsets = next;
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
