//! The fleet job record by record, in memory: what one flight does to every topic.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use millstream_flights::aggregates::{DailyRow, RollingRow};
use millstream_flights::data::DEVICE_TYPE;
use millstream_flights::event::{EnrichedFlight, Plane};
use millstream_flights::topology::{DAILY, DEAD, ENRICHED, EVENTS, LATE, PLANES, RAW, ROLLING, ROLLING_1H, plan};
use millstream_flights::{data, parse};
use millstream_state::codec::{BytesCodec, Json, Nullable, Utf8};
use millstream_state::text::Str;
use millstream_topology::TestDriver;
use millstream_topology::driver::Restart;

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;
/// 2013-01-01T10:15:00Z.
const TEN_FIFTEEN: i64 = 1_357_035_300_000;

fn driver() -> TestDriver {
    TestDriver::new(&plan().unwrap()).unwrap()
}

/// A line as the data set has them; `delay` none means cancelled.
fn line(tail: &str, hour: u32, delay: Option<i32>) -> String {
    let (dep_time, delay) = delay.map_or(("NA", "NA".to_string()), |delay| ("517", delay.to_string()));
    format!(
        "2013,1,1,{dep_time},515,{delay},830,819,11,UA,1545,{tail},EWR,IAH,227,1400,5,15,2013-01-01T{hour:02}:00:00Z"
    )
}

fn send(driver: &TestDriver, line: &str) {
    let arrival = parse::arrival(line).unwrap();
    let headers = [(DEVICE_TYPE.0, Some(DEVICE_TYPE.1))];
    let (key, value) = (arrival.to_be_bytes(), line.as_bytes());
    driver
        .raw_input(RAW)
        .pipe_with_headers(Some(&key), Some(value), arrival, &headers)
        .unwrap();
}

fn register(driver: &TestDriver, tail: &str, manufacturer: Option<&str>) {
    let plane = Plane {
        tail: tail.into(),
        year: Some(1999),
        kind: None,
        manufacturer: manufacturer.map(Str::from),
        model: None,
        engines: Some(2),
        seats: Some(149),
        speed: None,
        engine: None,
    };
    let planes = driver.input::<Str, Plane>(PLANES, Utf8, Json::new());
    planes.pipe(&tail.into(), &plane, data::PLANES_TIMESTAMP).unwrap();
}

fn rolling(driver: &TestDriver, topic: &str) -> Vec<(Str, RollingRow, i64)> {
    driver
        .output(topic, Utf8, Json::<RollingRow>::new())
        .read_all()
        .unwrap()
}

fn daily(driver: &TestDriver) -> Vec<(Str, DailyRow, i64)> {
    driver.output(DAILY, Utf8, Json::<DailyRow>::new()).read_all().unwrap()
}

#[test]
fn a_flight_is_counted_in_six_windows_and_in_one_day() {
    let driver = driver();
    register(&driver, "N1", Some("BOEING"));
    send(&driver, &line("N1", 10, Some(7)));
    assert!(
        rolling(&driver, ROLLING).is_empty(),
        "windows are written when they close"
    );
    driver.finish().unwrap();

    let rows = rolling(&driver, ROLLING);
    let ten = TEN_FIFTEEN - 15 * 60_000;
    let starts: Vec<i64> = rows.iter().map(|(_, row, _)| row.window_start).collect();
    assert_eq!(starts, (0..6).map(|back| ten - (5 - back) * HOUR).collect::<Vec<_>>());
    for (key, row, timestamp) in rows {
        let expected = RollingRow {
            origin: "EWR".into(),
            window_start: row.window_start,
            window_end: row.window_start + 6 * HOUR,
            flights: 1,
            cancelled: 0,
            mean_dep_delay: Some(7.0),
            max_dep_delay: Some(7),
            aircraft: 1,
        };
        assert_eq!((key, row, timestamp), ("EWR".into(), expected, TEN_FIFTEEN));
    }
    let day = TEN_FIFTEEN.div_euclid(DAY) * DAY;
    let expected = DailyRow {
        manufacturer: "BOEING".into(),
        window_start: day,
        window_end: day + DAY,
        flights: 1,
        flown: 1,
        distance: 1400,
    };
    assert_eq!(daily(&driver), [("BOEING".into(), expected, TEN_FIFTEEN)]);
}

#[test]
fn means_leave_cancelled_flights_out_and_aircraft_count_once() {
    let driver = driver();
    send(&driver, &line("N1", 10, Some(10)));
    send(&driver, &line("N1", 10, Some(-5)));
    send(&driver, &line("N2", 10, None));
    driver.finish().unwrap();
    let (_, row, _) = &rolling(&driver, ROLLING)[0];
    assert_eq!((row.flights, row.cancelled, row.aircraft), (3, 1, 2));
    assert_eq!((row.mean_dep_delay, row.max_dep_delay), (Some(2.5), Some(10)));
    let (_, row, _) = &daily(&driver)[0];
    assert_eq!((row.flights, row.flown, row.distance), (3, 2, 2800));
}

#[test]
fn an_unknown_plane_leaves_nulls() {
    let driver = driver();
    register(&driver, "N2", None);
    send(&driver, &line("N1", 10, Some(0)));
    send(&driver, &line("N2", 10, Some(0)));
    driver.finish().unwrap();
    let enriched = driver
        .output::<Str, EnrichedFlight>(ENRICHED, Utf8, Json::new())
        .read_all()
        .unwrap();
    let found: Vec<_> = enriched
        .iter()
        .map(|(key, flight, _)| (&**key, flight.manufacturer.clone(), flight.seats))
        .collect();
    assert_eq!(found, [("N1", None, None), ("N2", None, Some(149))]);
    let rows = daily(&driver);
    assert_eq!((rows.len(), &*rows[0].0, rows[0].1.flights), (1, "unknown", 2));
}

#[test]
fn events_carry_their_own_time_and_the_messages_headers() {
    let driver = driver();
    send(&driver, &line("N1", 10, Some(90)));
    let events = driver.output::<Str, serde_json::Value>(EVENTS, Utf8, Json::new());
    let event = events.read().unwrap().unwrap();
    assert_eq!(
        event.timestamp, TEN_FIFTEEN,
        "scheduled, though it came in 90 minutes later"
    );
    assert_eq!(event.headers, [("device-type".to_string(), Some(b"aircraft".to_vec()))]);
    assert_eq!(event.value["dep_delay"], 90);
}

#[test]
fn a_bad_message_becomes_a_dead_letter_as_it_came() {
    let good = line("N1", 10, Some(0));
    let bad: [Vec<u8>; 6] = [
        line("NA", 10, None).into(),
        b"".into(),
        b"a,b,c".into(),
        b"\xff\xfe".into(),
        good.replace("1400", "far").into(),
        good[5..].into(),
    ];
    let driver = driver();
    for line in &bad {
        let headers = [(DEVICE_TYPE.0, Some(DEVICE_TYPE.1))];
        driver
            .raw_input(RAW)
            .pipe_with_headers(Some(b"any key"), Some(line), 5, &headers)
            .unwrap();
    }
    driver.raw_input(RAW).pipe(None, None, 5).unwrap();
    send(&driver, &good);

    let letters = driver.output::<Option<Vec<u8>>, Option<Vec<u8>>>(DEAD, Nullable(BytesCodec), Nullable(BytesCodec));
    for (offset, line) in bad.iter().enumerate() {
        let letter = letters.read().unwrap().expect("a letter for each");
        assert_eq!(letter.key.as_deref(), Some(&b"any key"[..]));
        assert_eq!(letter.value.as_deref(), Some(line.as_slice()));
        assert_eq!(letter.timestamp, 5);
        let header = |name: &str| {
            let found = letter
                .headers
                .iter()
                .find(|(n, _)| n == name)
                .and_then(|(_, value)| value.clone());
            String::from_utf8(found.unwrap_or_default()).unwrap()
        };
        assert_eq!(header("device-type"), "aircraft", "its own headers stay");
        assert_eq!(header("__streams.errors.topic"), RAW);
        assert_eq!(header("__streams.errors.offset"), offset.to_string());
    }
    assert!(letters.read().unwrap().is_some(), "a null value is bad data too");
    assert!(letters.read().unwrap().is_none());
    assert_eq!(
        driver.output::<Str, serde_json::Value>(EVENTS, Utf8, Json::new()).len(),
        1,
        "the good one went on"
    );
}

#[test]
fn with_one_hour_of_grace_a_flight_is_late_once_for_each_window_missed() {
    let driver = driver();
    send(&driver, &line("N1", 10, Some(0)));
    send(&driver, &line("N2", 20, Some(0)));
    // Stream time is 20:15: windows that end by 19:00 are closed, that is those that start from 5:00 to 10:00 but one.
    send(&driver, &line("N3", 10, Some(700)));
    driver.finish().unwrap();
    let late = driver.output::<Str, serde_json::Value>(LATE, Utf8, Json::new());
    assert_eq!(late.len(), 6);
    let first = late.read().unwrap().unwrap();
    assert_eq!((&*first.key, &first.value["tail"]), ("EWR", &serde_json::json!("N3")));
    let names: Vec<&str> = first.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert!(
        names.contains(&"__streams.late.window.start") && names.contains(&"__streams.late.lateness.ms"),
        "{names:?}"
    );
    let flights = |topic| {
        rolling(&driver, topic)
            .iter()
            .map(|(_, row, _)| row.flights)
            .sum::<u64>()
    };
    assert_eq!(
        (flights(ROLLING_1H), flights(ROLLING)),
        (12, 18),
        "a day of grace is enough"
    );
}

#[test]
fn nothing_is_lost_or_counted_twice_over_restarts() {
    let lines: Vec<String> = (0..24)
        .map(|hour| line(&format!("N{}", hour % 5), hour, Some(hour as i32)))
        .collect();
    let run = |restart: Option<Restart>| {
        let driver = driver();
        for line in &lines {
            send(&driver, line);
            if let Some(from) = restart {
                driver.restart(from).unwrap();
            }
        }
        driver.finish().unwrap();
        (rolling(&driver, ROLLING), rolling(&driver, ROLLING_1H), daily(&driver))
    };
    let whole = run(None);
    assert_eq!(run(Some(Restart::FromEngine)), whole);
    assert_eq!(run(Some(Restart::FromChangelog)), whole);
}

#[test]
fn the_topology_reads_as_it_always_did() {
    let described = plan().unwrap().describe();
    assert_eq!(
        described,
        include_str!("topology.txt"),
        "if this change is meant: millstream describe > tests/topology.txt"
    );
}
