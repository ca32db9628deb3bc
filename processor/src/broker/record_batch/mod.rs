//! Kafka's RecordBatch v2: the unit in which records are fetched and written.

pub mod chunk;
