//! The fleet job: every flight that left New York City in 2013 is a message of its aircraft.
//!
//! Read `topology` first: it is the whole job. `parse` turns a message into an event, `event` says what travels between
//! the steps, `aggregates` what is counted, and `data` holds the year of messages that the demo and the tests run on.
#![deny(clippy::indexing_slicing)]
#![deny(missing_docs)]

pub mod aggregates;
pub mod data;
pub mod event;
pub mod parse;
pub mod topology;
