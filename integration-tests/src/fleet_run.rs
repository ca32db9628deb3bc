//! Runs the fleet job: in this process, or as the binary, which can be killed.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use millstream_cli::demo::feed;
use millstream_cli::demo::job::Job;
use millstream_cli::demo::start::{self, Start};
use millstream_cli::place::Place;
use millstream_cli::reader::Reader;
use millstream_cli::stop::Stop;
use millstream_flights::topology::{APPLICATION, DAILY, DEAD, LATE, PARTITIONS, RAW, ROLLING, ROLLING_1H};
use millstream_processor::broker::{Broker, TopicPartition};
use millstream_processor::{RunUntil, Summary};

use crate::fleet_check::{Record, Written};

/// Longer than any step takes, on a machine that compiles at the same time.
const PATIENCE: Duration = Duration::from_secs(300);

/// Produces the year and runs the job to the end of it.
pub fn whole_year(
    broker: &Arc<dyn Broker>,
    state_dir: &Path,
    threads: u32,
    settings: &[(&'static str, &str)],
) -> Summary {
    let start = start::prepare(&**broker, state_dir).expect("topics can be created");
    assert!(
        !matches!(start, Start::GoesOn { .. }),
        "an earlier test left something behind: {start}"
    );
    feed::feed(&**broker, None, &Stop::default()).expect("the year can be produced");
    let job = Job::new(broker.clone(), state_dir, threads);
    let job = settings.iter().fold(job, |job, (name, value)| job.set(name, value));
    job.run(RunUntil::EndOfInput, || false).expect("the job runs")
}

/// Everything that the batch pass can judge.
pub fn written(broker: &dyn Broker) -> Written {
    Written {
        rolling: records(broker, ROLLING),
        daily: records(broker, DAILY),
        dead: records(broker, DEAD),
        strict: records(broker, ROLLING_1H),
        late: records(broker, LATE),
    }
}

fn records(broker: &dyn Broker, topic: &str) -> Vec<Record> {
    let mut reader = Reader::open(broker, topic).expect("the topic is there");
    let mut records = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while !reader.at_end() {
        assert!(Instant::now() < deadline, "{topic} does not come to its end");
        for chunk in reader.poll().expect("the topic can be read") {
            records.extend(chunk.records().iter().map(|record| {
                Record {
                    key: chunk.key(record).map(<[u8]>::to_vec),
                    value: chunk.value(record).map(<[u8]>::to_vec),
                    timestamp: record.timestamp,
                    headers: chunk
                        .headers(record)
                        .map(|(name, value)| {
                            (
                                String::from_utf8_lossy(name).into_owned(),
                                value.unwrap_or_default().to_vec(),
                            )
                        })
                        .collect(),
                }
            }));
        }
    }
    records
}

/// `millstream demo` at this place, in a process of its own; what it says goes to this test's output.
pub fn demo(place: &Place, state_dir: &Path, threads: u32, binary: &str) -> Child {
    let mut command = Command::new(binary);
    command.arg("demo").args(["--threads", &threads.to_string()]);
    match place {
        Place::Directory(dir) => command.arg("--dir").arg(dir),
        Place::Kafka(servers) => command
            .args(["--bootstrap-servers", servers])
            .arg("--state-dir")
            .arg(state_dir),
    };
    command
        .stdout(Stdio::null())
        .spawn()
        .expect("the binary can be started")
}

/// Kills the demo with SIGKILL as soon as this share of the messages is committed.
pub fn kill_at(mut demo: Child, place: &Place, share: f64) {
    let wanted = (share * millstream_flights::data::FLIGHT_COUNT as f64) as i64;
    let deadline = Instant::now() + PATIENCE;
    while committed(place) < wanted {
        assert!(Instant::now() < deadline, "no commit beyond {wanted} messages was seen");
        let ended = demo.try_wait().expect("the demo can be asked");
        assert!(
            ended.is_none(),
            "the demo ended before {wanted} messages were committed: {ended:?}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    demo.kill().expect("the demo can be killed");
    demo.wait().expect("the demo is gone");
}

/// How many messages the job has committed; 0 while there is no log to ask.
fn committed(place: &Place) -> i64 {
    let partitions: Vec<_> = (0..PARTITIONS).map(|p| TopicPartition::new(RAW, p)).collect();
    let asked = place
        .open_to_read()
        .and_then(|broker| Ok(broker.admin().committed(APPLICATION, &partitions)?));
    asked.map_or(0, |all| all.iter().flatten().map(|committed| committed.offset).sum())
}
