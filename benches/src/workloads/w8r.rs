//! W8r: as W8, but views of each campaign: rows of one campaign lie in several partitions and must meet first.
//!
//! They meet in whatever order the tasks before have written them. Which ones are late then differs from run to run, so these
//! windows, unlike all others here, have grace: a day, and nothing is late.

use std::time::Duration;

use millstream_state::codec::{I32, I64};
use millstream_topology::StreamBuilder;
use millstream_topology::options::{Grouped, Materialized, Produced};

use super::Topics;
use super::w8::{ten_seconds, with_campaign};

pub(super) fn add(builder: &StreamBuilder, topics: &Topics<'_>) {
    with_campaign(builder, topics)
        .group_by(|_ad, campaign| *campaign, Grouped::with(I32, I32).named("by-campaign"))
        .windowed_by(ten_seconds().grace(Duration::from_secs(24 * 60 * 60)))
        .count(Materialized::with(I32, I64).named("views"))
        .to(topics.output, Produced::with(I32, I64));
}
