//! The part of a Nexmark bid that jobs want to know.

use serde::{Deserialize, Serialize};

/// Four fields of a JSON bid; the parser skips the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bid {
    /// What is bid for.
    pub auction: i64,
    /// Who bids.
    pub bidder: i64,
    /// How much.
    pub price: i64,
    /// When, ms.
    #[serde(rename = "dateTime")]
    pub time: i64,
}
