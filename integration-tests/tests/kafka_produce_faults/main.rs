//! Writing to a real Kafka while brokers, networks and topics fail, through each client that can write: nothing that was
//! committed is lost, and nothing is there twice unless the sink reported a fault.
//!
//! `cargo test --test kafka_produce_faults native::` runs what concerns one client.

mod brokers;
mod history;
mod network;
mod read_back;
mod topics;
mod two_brokers;
mod writer;

/// Makes a test of each of these functions for every client that writes.
macro_rules! through_each_client {
    ($($test:ident),* $(,)?) => {
        mod librdkafka {
            $(#[test]
            fn $test() {
                super::$test(millstream_processor::config::KafkaProduce::Librdkafka);
            })*
        }
        mod native {
            $(#[test]
            fn $test() {
                super::$test(millstream_processor::config::KafkaProduce::Native);
            })*
        }
    };
}
use through_each_client;
