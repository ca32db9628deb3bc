//! W2: bids of a million or more, four of their fields. L1 is the same, measured from due time to arrival.

use millstream_state::codec::{I64, Json};
use millstream_topology::StreamBuilder;
use millstream_topology::options::{Consumed, Produced};

use super::{Bid, Topics};

const LEAST_PRICE: i64 = 1_000_000;

pub(super) fn add(builder: &StreamBuilder, topics: &Topics<'_>) {
    builder
        .stream(topics.input, Consumed::with(I64, Json::<Bid>::new()))
        .filter(|_auction, bid| bid.price >= LEAST_PRICE)
        .to(topics.output, Produced::with(I64, Json::new()));
}
