//! What is measured: each workload, its data, and the settings that both sides get.

use crate::generate::Data;

/// How much data: each has its own table of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// A first look in minutes: too short to warm up a JVM, so its ratios flatter us.
    Quick,
    /// What the committed figures are made with.
    Standard,
    /// As much as the data's description says; hours.
    Full,
    /// At most so many records: does it work, are the results equal? Its figures mean nothing.
    AtMost(u64),
}

/// A workload under some settings.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// What reports and `--only` call it.
    pub name: &'static str,
    /// The workload, as `--workload` knows it.
    pub workload: &'static str,
    /// Its events.
    pub data: Data,
    /// Records: quick, standard, full.
    pub records: [u64; 3],
    /// Does it read the table of campaigns too?
    pub table: bool,
    /// The name of the grouping that goes through a repartition topic, if there is one.
    pub repartition: Option<&'static str>,
    /// `expert` or `defaults`.
    pub mode: &'static str,
    /// Settings for both sides, beyond those of the mode.
    pub settings: &'static [&'static str],
    /// Measured once only, for comparison.
    pub once: bool,
    /// Does every input record give one output record at most, so that all outputs must be equal, not only the last ones?
    pub each: bool,
    /// What is asked of us: times the peer's CPU.
    pub must: Option<f64>,
    /// What we aim at.
    pub target: Option<f64>,
}

const M: u64 = 1_000_000;
const K: u64 = 1_000;

const fn case(name: &'static str, workload: &'static str, data: Data, records: [u64; 3]) -> Case {
    Case {
        name,
        workload,
        data,
        records,
        table: false,
        repartition: None,
        mode: "expert",
        settings: &[],
        once: false,
        each: false,
        must: None,
        target: None,
    }
}

impl Case {
    const fn asked(self, must: f64, target: f64) -> Self {
        Case {
            must: Some(must),
            target: Some(target),
            ..self
        }
    }

    const fn each(self) -> Self {
        Case { each: true, ..self }
    }

    const fn with_table(self) -> Self {
        Case { table: true, ..self }
    }

    const fn through(self, repartition: &'static str) -> Self {
        Case {
            repartition: Some(repartition),
            ..self
        }
    }

    const fn set(self, settings: &'static [&'static str]) -> Self {
        Case { settings, ..self }
    }

    const fn defaults(self) -> Self {
        Case {
            mode: "defaults",
            once: true,
            must: None,
            target: None,
            ..self
        }
    }

    /// Records of its input.
    pub fn count(&self, scale: Scale) -> u64 {
        let [quick, standard, full] = self.records;
        match scale {
            Scale::Quick => quick,
            Scale::Standard => standard,
            Scale::Full => full,
            Scale::AtMost(records) => quick.min(records),
        }
    }

    /// The topic of its events.
    pub fn topic(&self, scale: Scale) -> String {
        format!("{}-{}", self.data.name(), self.count(scale))
    }
}

const U10K: Data = Data::Uniform(10_000);
const U4M: Data = Data::Uniform(4_000_000);
const W1: Case = case("W1", "W1", U10K, [6 * M, 20 * M, 20 * M]).asked(3.0, 4.0).each();
const W3: Case = case("W3", "W3", U10K, [6 * M, 20 * M, 20 * M]).asked(12.0, 20.0);
const W3B: Case = case("W3b, 64 MiB", "W3b", U4M, [M, 6 * M, 12 * M]).asked(8.0, 15.0);

/// Throughput: CPU per record over a fixed range of records.
pub const THROUGHPUT: &[Case] = &[
    W1,
    Case {
        name: "W1, defaults",
        ..W1.defaults()
    },
    case("W2", "W2", Data::Bid300, [3 * M, 8 * M, 8 * M])
        .asked(4.0, 5.0)
        .each(),
    W3,
    Case {
        name: "W3, defaults",
        ..W3.defaults()
    },
    W3B.set(&["statestore.cache.max.bytes=67108864"]),
    Case {
        name: "W3b, 512 MiB",
        once: true,
        ..W3B.set(&["statestore.cache.max.bytes=536870912"])
    },
    case("W4", "W4", Data::Sensor, [2 * M, 6 * M, 12 * M]).asked(15.0, 30.0),
    case("W5a", "W5a", Data::Auctions, [1500 * K, 4 * M, 6 * M]).asked(18.0, 30.0),
    case("W5b", "W5b", Data::Auctions, [80 * K, 250 * K, 6 * M]).asked(50.0, 100.0),
    case("W5i", "W5i", U10K, [M, 3 * M, 20 * M]),
    case("W8", "W8", U10K, [1500 * K, 5 * M, 20 * M])
        .asked(12.0, 25.0)
        .with_table(),
    case("W8r", "W8r", U10K, [1500 * K, 5 * M, 20 * M])
        .asked(6.0, 10.0)
        .with_table()
        .through("by-campaign"),
];

/// Restore: CPU per key.
pub const R1: Case = case("R1", "R1", Data::Changelog, [2 * M, 10 * M, 10 * M]).asked(8.0, 13.0);

/// Start-up: from the start of the process to the first output record.
pub const S1: Case = case("S1", "S1", Data::One, [4, 4, 4]);

/// Latency at a steady rate, `linger.ms` 0, and then 5.
pub const L1: Case = case("L1", "L1", Data::Empty, [0, 0, 0]);
