//! The whole year through the test driver: the topology alone, without log, threads or partitions.

use millstream_flights::data::{self, DEVICE_TYPE, Flights};
use millstream_flights::event::Plane;
use millstream_flights::topology::{DAILY, DEAD, LATE, PLANES, RAW, ROLLING, ROLLING_1H, plan};
use millstream_integration_tests::fleet_check::{Promise, Record, Written, check};
use millstream_integration_tests::fleet_oracle;
use millstream_state::codec::{BytesCodec, Json, Utf8};
use millstream_state::text::Str;
use millstream_topology::TestDriver;
use millstream_topology::driver::Options;

#[test]
fn every_row_equals_the_batch_pass() {
    let options = Options {
        batch: 500,
        commit_every: 10_000,
        ..Options::default()
    };
    let driver = TestDriver::with(&plan().unwrap(), options).unwrap();
    let planes = driver.input::<Str, Plane>(PLANES, Utf8, Json::new());
    for plane in data::planes().unwrap() {
        planes.pipe(&plane.tail, &plane, data::PLANES_TIMESTAMP).unwrap();
    }
    let raw = driver.raw_input(RAW);
    let headers = [(DEVICE_TYPE.0, Some(DEVICE_TYPE.1))];
    for message in Flights::load().unwrap().messages() {
        let (key, line) = (message.key(), message.line.as_bytes());
        raw.pipe_with_headers(Some(&key), Some(line), message.arrival, &headers)
            .unwrap();
    }
    driver.finish().unwrap();

    let read = |topic| {
        let output = driver.output::<Vec<u8>, Vec<u8>>(topic, BytesCodec, BytesCodec);
        let mut records = Vec::new();
        while let Some(record) = output.read().unwrap() {
            let headers = record
                .headers
                .into_iter()
                .map(|(name, value)| (name, value.unwrap_or_default()))
                .collect();
            let (key, value, timestamp) = (Some(record.key), Some(record.value), record.timestamp);
            records.push(Record {
                key,
                value,
                timestamp,
                headers,
            });
        }
        records
    };
    let written = Written {
        rolling: read(ROLLING),
        daily: read(DAILY),
        dead: read(DEAD),
        strict: read(ROLLING_1H),
        late: read(LATE),
    };
    let expected = fleet_oracle::expected(&data::flights_csv().unwrap(), &data::planes_csv().unwrap());
    // The driver has one partition, so dead letters are placed by what the batch pass says of one.
    check(&written, &expected.in_one_partition(), Promise::Exact);
}
