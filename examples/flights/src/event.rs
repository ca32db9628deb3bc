//! What travels on the job's topics, as it stands in their JSON.

use millstream_state::text::Str;
use serde::{Deserialize, Serialize};

/// One flight as its aircraft reported it: a record of `flights.events`, keyed by tail number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FlightEvent {
    /// The aircraft: the device of this fleet.
    pub tail: Str,
    /// The airline's two letters.
    pub carrier: Str,
    /// The flight number.
    pub flight: u32,
    /// The airport it left from.
    pub origin: Str,
    /// The airport it went to.
    pub dest: Str,
    /// Scheduled departure in epoch milliseconds: the event time.
    pub scheduled: i64,
    /// Whether it never left.
    pub cancelled: bool,
    /// Minutes it left too late (negative: too early); none if it never left.
    pub dep_delay: Option<i32>,
    /// Minutes it arrived too late; none if it did not arrive where it should.
    pub arr_delay: Option<i32>,
    /// Minutes in the air.
    pub air_time: Option<i32>,
    /// Miles between the two airports.
    pub distance: u32,
}

/// What the registry knows of an aircraft: a record of `planes`, keyed by tail number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plane {
    /// Its tail number.
    #[serde(rename = "tailnum")]
    pub tail: Str,
    /// Year of manufacture.
    pub year: Option<i32>,
    /// Kind of aircraft.
    #[serde(rename = "type")]
    pub kind: Option<Str>,
    /// Who made it.
    pub manufacturer: Option<Str>,
    /// Model.
    pub model: Option<Str>,
    /// Number of engines.
    pub engines: Option<i32>,
    /// Number of seats.
    pub seats: Option<i32>,
    /// Cruising speed in miles per hour.
    pub speed: Option<i32>,
    /// Kind of engine.
    pub engine: Option<Str>,
}

/// A flight with what is known of its aircraft: a record of `flights.enriched`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are those of FlightEvent and Plane")]
pub struct EnrichedFlight {
    pub tail: Str,
    pub carrier: Str,
    pub flight: u32,
    pub origin: Str,
    pub dest: Str,
    pub scheduled: i64,
    pub cancelled: bool,
    pub dep_delay: Option<i32>,
    pub arr_delay: Option<i32>,
    pub air_time: Option<i32>,
    pub distance: u32,
    pub manufacturer: Option<Str>,
    pub model: Option<Str>,
    pub year: Option<i32>,
    pub seats: Option<i32>,
}

impl EnrichedFlight {
    /// The flight with its plane, or with nulls where the registry does not know it.
    pub fn new(event: FlightEvent, plane: Option<&Plane>) -> Self {
        Self {
            tail: event.tail,
            carrier: event.carrier,
            flight: event.flight,
            origin: event.origin,
            dest: event.dest,
            scheduled: event.scheduled,
            cancelled: event.cancelled,
            dep_delay: event.dep_delay,
            arr_delay: event.arr_delay,
            air_time: event.air_time,
            distance: event.distance,
            manufacturer: plane.and_then(|plane| plane.manufacturer.clone()),
            model: plane.and_then(|plane| plane.model.clone()),
            year: plane.and_then(|plane| plane.year),
            seats: plane.and_then(|plane| plane.seats),
        }
    }
}
