//! W8r: as W8, but views of each campaign: rows of one campaign lie in several partitions and must meet first.

use millstream_state::codec::{I32, I64};
use millstream_topology::StreamBuilder;
use millstream_topology::options::{Grouped, Materialized, Produced};

use super::Topics;
use super::w8::{ten_seconds, with_campaign};

pub(super) fn add(builder: &StreamBuilder, topics: &Topics<'_>) {
    with_campaign(builder, topics)
        .group_by(|_ad, campaign| *campaign, Grouped::with(I32, I32).named("by-campaign"))
        .windowed_by(ten_seconds())
        .count(Materialized::with(I32, I64).named("views"))
        .to(topics.output, Produced::with(I32, I64));
}
