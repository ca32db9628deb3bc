//! W8: views of advertisements get their campaign from a table; views of each advertisement in windows of 10 s.

use std::time::Duration;

use millstream_state::codec::{I32, I64, Ignored, Json};
use millstream_state::text::Str;
use millstream_topology::options::{Consumed, Grouped, Joined, Materialized, Produced};
use millstream_topology::windows::TimeWindows;
use millstream_topology::{Stream, StreamBuilder};
use serde::{Deserialize, Serialize};

use super::Topics;

pub(super) fn add(builder: &StreamBuilder, topics: &Topics<'_>) {
    with_campaign(builder, topics)
        .group_by_key(Grouped::with(I32, I32))
        .windowed_by(ten_seconds())
        .count(Materialized::with(I32, I64).named("views"))
        .to(topics.output, Produced::with(I32, I64));
}

/// What is known of an advertisement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Campaign {
    /// The campaign it belongs to.
    pub campaign: i32,
    /// What it is called.
    pub name: Str,
}

/// As it is on its topic.
pub type CampaignCodec = Json<Campaign>;

/// Each view with the campaign of its advertisement.
pub(super) fn with_campaign(builder: &StreamBuilder, topics: &Topics<'_>) -> Stream<i32, i32> {
    let json = CampaignCodec::new();
    let campaigns = builder.table::<i32, Campaign>(
        topics.table,
        Consumed::with(I32, json),
        Materialized::with(I32, json).named("campaigns"),
    );
    builder
        .stream::<i32, ()>(topics.input, Consumed::with(I32, Ignored))
        .join(&campaigns, Joined::with(I32, Ignored), |_ad, (), found| found.campaign)
}

pub(super) fn ten_seconds() -> TimeWindows {
    TimeWindows::of_size(Duration::from_secs(10))
}
