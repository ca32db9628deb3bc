//! What a store is, as plain data.

use serde::{Deserialize, Serialize};

/// The kind of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum StoreKind {
    /// One value per key: [`KeyValue`](crate::schema::KeyValue).
    KeyValue,
    /// One value per key and slice of time: [`Slices`](crate::schema::Slices).
    Window,
}

/// One store of a sub-topology.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreSpec {
    /// Its name: unique in the topology, the name of its family in the engine, part of the name of its changelog.
    pub name: String,
    /// What it holds.
    pub kind: StoreKind,
    /// Whether it has a changelog. A store without one is rebuilt by reading its input again.
    pub logged: bool,
    /// How long a slice lives after its start, ms (window size + grace). `None`: rows never expire.
    pub retention_ms: Option<i64>,
}
