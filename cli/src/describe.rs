//! `millstream describe`: the demo's topology.

use std::io::Write;

use crate::failure::Failure;

/// Prints Kafka Streams' text form, which its topology viewers can draw.
pub fn run(out: &mut dyn Write) -> Result<(), Failure> {
    let plan = millstream_flights::topology::plan().map_err(|errors| Failure::failed(errors.to_string()))?;
    write!(out, "{}", plan.describe())?;
    Ok(out.flush()?)
}
