//! What all runs against one broker share.

use crate::Result;
use crate::cases::{Case, Scale};
use crate::generate::{self, Data, PARTITIONS};
use crate::process::Programs;
use crate::wire::Client;
use std::hash::RandomState;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Records of the table of campaigns.
const CAMPAIGNS: u64 = 10_000;

/// A broker, the data in it, and the programs to compare.
pub struct Session {
    /// The driver's own connection.
    pub client: Client,
    /// `host:port`.
    pub bootstrap: String,
    /// The broker's process.
    pub broker_pid: u32,
    /// How much data.
    pub scale: Scale,
    /// The two systems.
    pub programs: Programs,
    /// The same for all results that are compared.
    pub hasher: RandomState,
    started: u64,
    names: u32,
}

impl Session {
    /// Connects to the broker that `kafka run` named.
    pub fn new(scale: Scale, programs: Programs) -> Result<Self> {
        let bootstrap = variable("KAFKA_BOOTSTRAP_SERVERS")?;
        let broker_pid = variable("KAFKA_BROKER_PID")?.parse()?;
        Ok(Self {
            client: Client::connect(&bootstrap)?,
            bootstrap,
            broker_pid,
            scale,
            programs,
            hasher: RandomState::new(),
            started: SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
            names: 0,
        })
    }

    /// A name that nothing else at this broker has.
    pub fn unique(&mut self, prefix: &str) -> String {
        self.names += 1;
        format!("{prefix}-{:x}-{}", self.started, self.names)
    }

    /// A directory for state and log of a run; gone with its handle.
    pub fn run_dir(&self, app: &str) -> Result<tempfile::TempDir> {
        Ok(tempfile::Builder::new()
            .prefix(&format!("millstream-bench-{app}-"))
            .tempdir()?)
    }

    /// The topic of the table.
    pub fn campaigns(&self) -> String {
        format!("{}-{CAMPAIGNS}", Data::Campaigns.name())
    }

    /// Loads what a case reads, if it is not there yet.
    pub fn load(&mut self, case: &Case) -> Result<()> {
        let (topic, count) = (case.topic(self.scale), case.count(self.scale));
        let start = Instant::now();
        generate::load(&mut self.client, &topic, case.data, count)?;
        if start.elapsed().as_secs() > 0 {
            eprintln!("loaded {topic} in {:.1} s", start.elapsed().as_secs_f64());
        }
        if case.table {
            let table = self.campaigns();
            generate::load(&mut self.client, &table, Data::Campaigns, CAMPAIGNS)?;
        }
        Ok(())
    }

    /// Records that were ever written to a topic of this driver.
    pub fn records(&mut self, topic: &str) -> Result<u64> {
        Ok(self.client.ends(topic, PARTITIONS)?.iter().sum::<i64>().unsigned_abs())
    }

    /// Records that were ever written to the internal topics of an application whose names end like this.
    pub fn records_of(&mut self, app: &str, ending: &str) -> Result<u64> {
        let mut records = 0;
        for (topic, partitions) in self.client.topics()? {
            if topic.starts_with(app) && topic.ends_with(ending) {
                records += self.client.ends(&topic, partitions)?.iter().sum::<i64>().unsigned_abs();
            }
        }
        Ok(records)
    }

    /// Deletes the topics of a run.
    pub fn drop_topics(&mut self, app: &str) -> Result<()> {
        for (topic, _) in self.client.topics()? {
            if topic.starts_with(app) {
                self.client.delete_topic(&topic)?;
            }
        }
        Ok(())
    }
}

fn variable(name: &str) -> Result<String> {
    std::env::var(name).map_err(|_| format!("{name} is not set: run this by `make bench-peer`").into())
}
