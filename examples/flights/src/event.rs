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

/// A flight with what is known of its aircraft: a record of `flights.enriched`, flat in JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EnrichedFlight {
    /// The flight.
    #[serde(flatten)]
    pub event: FlightEvent,
    /// Who made the aircraft.
    pub manufacturer: Option<Str>,
    /// Its model.
    pub model: Option<Str>,
    /// Its year of manufacture.
    pub year: Option<i32>,
    /// Its number of seats.
    pub seats: Option<i32>,
}

impl EnrichedFlight {
    /// The flight with its plane, or with nulls where the registry does not know it.
    pub fn new(event: FlightEvent, plane: Option<&Plane>) -> Self {
        Self {
            event,
            manufacturer: plane.and_then(|plane| plane.manufacturer.clone()),
            model: plane.and_then(|plane| plane.model.clone()),
            year: plane.and_then(|plane| plane.year),
            seats: plane.and_then(|plane| plane.seats),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn an_enriched_flight_is_flat_in_json_and_reads_back() {
        let event = FlightEvent {
            tail: Str::from("N14228"),
            carrier: Str::from("UA"),
            flight: 1545,
            origin: Str::from("EWR"),
            dest: Str::from("IAH"),
            scheduled: 1_357_017_300_000,
            cancelled: false,
            dep_delay: Some(2),
            arr_delay: None,
            air_time: Some(227),
            distance: 1400,
        };
        let flight = EnrichedFlight::new(event, None);
        let text = r#"{"tail":"N14228","carrier":"UA","flight":1545,"origin":"EWR","dest":"IAH","scheduled":1357017300000,"cancelled":false,"dep_delay":2,"arr_delay":null,"air_time":227,"distance":1400,"manufacturer":null,"model":null,"year":null,"seats":null}"#;
        assert_eq!(serde_json::to_string(&flight).unwrap(), text);
        assert_eq!(serde_json::from_str::<EnrichedFlight>(text).unwrap(), flight);
    }
}
