//! What is counted per window. Each of these can be merged, so that one update of an hour serves all six windows it is in.

use std::collections::BTreeSet;

use millstream_state::data::HeapBytes;
use millstream_state::text::Str;
use millstream_topology::Window;
use serde::{Deserialize, Serialize};

use crate::event::FlightEvent;

/// What is known of the flights from one airport in one window.
///
/// The mean is kept as sum and count: means cannot be merged, and integers do not depend on the order of addition.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Departures {
    flights: u64,
    cancelled: u64,
    departed: u64,
    delay_sum: i64,
    delay_max: Option<i32>,
    aircraft: BTreeSet<Str>,
}

impl Departures {
    /// Counts one flight.
    pub fn add(&mut self, event: &FlightEvent) {
        self.flights += 1;
        self.cancelled += u64::from(event.cancelled);
        if let Some(delay) = event.dep_delay {
            self.departed += 1;
            self.delay_sum += i64::from(delay);
            self.delay_max = self.delay_max.max(Some(delay));
        }
        if !self.aircraft.contains(&event.tail) {
            self.aircraft.insert(event.tail.clone());
        }
    }

    /// Adds what was counted elsewhere.
    pub fn merge(&mut self, other: &Self) {
        self.flights += other.flights;
        self.cancelled += other.cancelled;
        self.departed += other.departed;
        self.delay_sum += other.delay_sum;
        self.delay_max = self.delay_max.max(other.delay_max);
        self.aircraft.extend(other.aircraft.iter().cloned());
    }

    /// The row of `fleet.rolling` for this airport and window.
    pub fn row(&self, origin: Str, window: Window) -> RollingRow {
        RollingRow {
            origin,
            window_start: window.start,
            window_end: window.end,
            flights: self.flights,
            cancelled: self.cancelled,
            mean_dep_delay: (self.departed > 0).then(|| self.delay_sum as f64 / self.departed as f64),
            max_dep_delay: self.delay_max,
            aircraft: self.aircraft.len() as u64,
        }
    }
}

impl HeapBytes for Departures {
    fn heap_bytes(&self) -> usize {
        // A tree of short texts: what it holds, and about as much again for half-full nodes.
        self.aircraft.len() * 2 * size_of::<Str>()
    }
}

/// What the aircraft of one manufacturer did in one window.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Service {
    flights: u64,
    flown: u64,
    distance: u64,
}

impl Service {
    /// What one flight adds.
    pub fn of(flight: &FlightEvent) -> Self {
        let flown = !flight.cancelled;
        Self {
            flights: 1,
            flown: u64::from(flown),
            distance: if flown { u64::from(flight.distance) } else { 0 },
        }
    }

    /// Adds what was counted elsewhere.
    pub fn merge(&mut self, other: &Self) {
        self.flights += other.flights;
        self.flown += other.flown;
        self.distance += other.distance;
    }

    /// The row of `fleet.daily` for this manufacturer and window.
    pub fn row(&self, manufacturer: Str, window: Window) -> DailyRow {
        DailyRow {
            manufacturer,
            window_start: window.start,
            window_end: window.end,
            flights: self.flights,
            flown: self.flown,
            distance: self.distance,
        }
    }
}

impl HeapBytes for Service {}

/// A record of `fleet.rolling` and `fleet.rolling_1h_grace`, keyed by origin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RollingRow {
    /// The airport.
    pub origin: Str,
    /// First millisecond of the window.
    pub window_start: i64,
    /// First millisecond after it.
    pub window_end: i64,
    /// Flights scheduled in the window.
    pub flights: u64,
    /// How many of them never left.
    pub cancelled: u64,
    /// Mean delay in minutes of those that left; null if none did.
    pub mean_dep_delay: Option<f64>,
    /// The longest delay in minutes of those that left; null if none did.
    pub max_dep_delay: Option<i32>,
    /// How many different aircraft were meant to fly.
    pub aircraft: u64,
}

/// A record of `fleet.daily`, keyed by manufacturer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DailyRow {
    /// Who made the aircraft; `unknown` where the registry does not know it.
    pub manufacturer: Str,
    /// First millisecond of the window.
    pub window_start: i64,
    /// First millisecond after it.
    pub window_end: i64,
    /// Flights scheduled in the window.
    pub flights: u64,
    /// How many of them left.
    pub flown: u64,
    /// Miles these flew.
    pub distance: u64,
}
