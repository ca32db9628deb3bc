//! The whole job.
//!
//! ```text
//! flights.raw ──parse──> flights.events ──left join planes──> flights.enriched ──by manufacturer, 24 h──> fleet.daily
//!      │                       │
//!      └─bad─> flights.dead    └──by origin, 6 h every 1 h, grace 24 h──> fleet.rolling
//!                              └──by origin, 6 h every 1 h, grace  1 h──> fleet.rolling_1h_grace ──late──> fleet.late
//! ```

use std::time::Duration;

use millstream_state::codec::{Bincode, Json, Utf8};
use millstream_state::text::Str;
use millstream_topology::aggregate::Fold;
use millstream_topology::operators::parse::{Emit, ParseError, Parsed, RawMessage};
use millstream_topology::options::{Consumed, Grouped, Joined, Materialized, Produced, Repartitioned};
use millstream_topology::windows::{TimeWindows, Windowed};
use millstream_topology::{EmitStrategy, GroupedStream, Plan, Stream, StreamBuilder, TopologyErrors, WindowedStream};

use crate::aggregates::{Departures, Service};
use crate::event::{EnrichedFlight, FlightEvent, Plane};
use crate::parse;

/// The application's id: consumer group and prefix of internal topics.
pub const APPLICATION: &str = "fleet";
/// Partitions of every topic.
pub const PARTITIONS: i32 = 4;

/// Messages as they come in.
pub const RAW: &str = "flights.raw";
/// The registry of aircraft.
pub const PLANES: &str = "planes";
/// Messages that could not be parsed.
pub const DEAD: &str = "flights.dead";
/// Parsed messages: what every other job reads.
pub const EVENTS: &str = "flights.events";
/// Events with what is known of the aircraft.
pub const ENRICHED: &str = "flights.enriched";
/// Rolling figures of each airport.
pub const ROLLING: &str = "fleet.rolling";
/// Daily figures of each manufacturer.
pub const DAILY: &str = "fleet.daily";
/// As [`ROLLING`], with a grace period that is too short for this data.
pub const ROLLING_1H: &str = "fleet.rolling_1h_grace";
/// Events that came too late for [`ROLLING_1H`].
pub const LATE: &str = "fleet.late";

/// All topics that must exist before the job starts.
pub const TOPICS: [&str; 9] = [RAW, PLANES, DEAD, EVENTS, ENRICHED, ROLLING, DAILY, ROLLING_1H, LATE];

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The job as a plan, ready to run.
pub fn plan() -> Result<Plan, TopologyErrors> {
    let builder = StreamBuilder::new();
    fleet(&builder);
    builder.build(APPLICATION)
}

/// Adds the job to `builder`.
pub fn fleet(builder: &StreamBuilder) {
    builder
        .raw_stream(RAW, "messages")
        .parse(Parsed::named("parse").dead_letters_to(DEAD), parse_message)
        .to(EVENTS, Produced::with(Utf8, Json::<FlightEvent>::new()));

    let events = builder.stream(EVENTS, Consumed::with(Utf8, Json::<FlightEvent>::new()).named("events"));
    let enriched = enrich(builder, &events);
    enriched.to(ENRICHED, Produced::with(Utf8, Json::new()));

    let origins = by_origin(&events);
    rolling(origins.windowed_by(six_hours(DAY)), "rolling", ROLLING);
    let strict = origins
        .windowed_by(six_hours(HOUR))
        .late_to(LATE, Produced::with(Utf8, Json::new()));
    rolling(strict, "rolling-1h-grace", ROLLING_1H);
    daily(&enriched);
}

/// One message, one event. Its time is the scheduled departure: what the message is about, not when it came in.
fn parse_message(message: &RawMessage<'_>, emit: &mut Emit<'_, Str, FlightEvent>) -> Result<(), ParseError> {
    let event = parse::flight(message.value().ok_or("the value is null")?)?;
    emit.event(event.tail.clone(), event.clone(), event.scheduled);
    Ok(())
}

/// Adds what the registry knows of the aircraft; nothing for an unknown one.
fn enrich(builder: &StreamBuilder, events: &Stream<Str, FlightEvent>) -> Stream<Str, EnrichedFlight> {
    let planes = builder.table(
        PLANES,
        Consumed::with(Utf8, Json::<Plane>::new()).named("planes"),
        Materialized::with(Utf8, Bincode::new()).named("planes-by-tail"),
    );
    let joined = Joined::with(Utf8, Json::new()).named("enrich");
    events.left_join(&planes, joined, |_tail: &Str, event, plane| {
        EnrichedFlight::new(event, plane)
    })
}

/// All flights from one airport in one place: both rolling aggregates read the same repartition topic.
fn by_origin(events: &Stream<Str, FlightEvent>) -> GroupedStream<Str, FlightEvent> {
    events
        .select_key(|_tail, event| event.origin.clone())
        .repartition(Repartitioned::with(Utf8, Bincode::new()).named("by-origin"))
        .group_by_key(Grouped::with(Utf8, Bincode::new()))
}

/// The last six hours, every hour.
fn six_hours(grace: Duration) -> TimeWindows {
    TimeWindows::of_size(6 * HOUR).advance_by(HOUR).grace(grace)
}

/// Departures by airport, written once, when the window closes.
fn rolling(windows: WindowedStream<Str, FlightEvent>, name: &str, topic: &str) {
    let departures = Fold::new(
        Departures::default,
        |sum: &mut Departures, _origin: &Str, event: &FlightEvent| {
            sum.add(event);
        },
    );
    windows
        .named(name)
        .emit(EmitStrategy::OnWindowClose)
        .aggregate(
            departures.merging(Departures::merge),
            Materialized::with(Utf8, Bincode::new()).named(format!("{name}-store")),
        )
        .to_stream()
        .map(|Windowed { key: origin, window }, sum| (origin.clone(), sum.row(origin, window)))
        .to(topic, Produced::with(Utf8, Json::new()));
}

/// Service by manufacturer and day, written once, when the day closes.
fn daily(enriched: &Stream<Str, EnrichedFlight>) {
    let service = Fold::new(Service::default, |sum: &mut Service, _maker: &Str, one: &Service| {
        sum.merge(one);
    });
    let unknown = || Str::from("unknown");
    enriched
        // What is added up travels to the manufacturer's task, not the whole flight.
        .map(move |_tail, flight| {
            let one = Service::of(&flight.event);
            (flight.manufacturer.unwrap_or_else(unknown), one)
        })
        .group_by_key(Grouped::with(Utf8, Bincode::new()).named("by-manufacturer"))
        .windowed_by(TimeWindows::of_size(DAY).grace(DAY))
        .named("daily")
        .emit(EmitStrategy::OnWindowClose)
        .aggregate(
            service.merging(Service::merge),
            Materialized::with(Utf8, Bincode::new()).named("daily-store"),
        )
        .to_stream()
        .map(|Windowed { key: maker, window }, sum| (maker.clone(), sum.row(maker, window)))
        .to(DAILY, Produced::with(Utf8, Json::new()));
}
