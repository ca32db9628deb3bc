//! Networks that break connections, and brokers that make writers wait.

use millstream_integration_tests::kafka;
use millstream_integration_tests::kafka::proxy::{Break, Way};
use millstream_processor::broker::SinkConfig;
use millstream_processor::broker::dice::Dice;
use millstream_processor::config::KafkaProduce;

use crate::two_brokers::{TwoBrokers, with_two_brokers};
use crate::writer::{Writer, topic};

crate::through_each_client!(
    connections_that_break_anywhere_cost_nothing,
    answers_that_are_lost_cost_nothing,
    a_writer_that_is_throttled_writes_everything,
);

/// Writes until everything has broken that was to break, and a little more.
fn write_through(brokers: &TwoBrokers, client: KafkaProduce, what: &str, mut places: impl FnMut(usize) -> Vec<Break>) {
    let mut writer = Writer::new(brokers.connect(client), SinkConfig::default(), &topic(what, 4, 1));
    writer.commit(500);
    brokers.break_at(&mut places);
    while brokers.networks.iter().any(|network| network.breaks_left() > 0) {
        writer = writer.at_work(|writer| writer.commit(500)).done();
    }
    writer.commit(500);
    writer.check_without_faults();
}

/// Within a handshake, within a batch, within an answer.
fn anywhere(dice: &mut Dice) -> Break {
    match dice.below(5) {
        0 | 1 => Break::After(Way::ToBroker, dice.below(50_000) as u64),
        2 => Break::After(Way::ToBroker, dice.below(300) as u64),
        _ => Break::After(Way::ToClient, dice.below(400) as u64),
    }
}

fn connections_that_break_anywhere_cost_nothing(client: KafkaProduce) {
    with_two_brokers(|brokers| {
        for seed in [1, 2] {
            let mut dice = Dice::new(seed);
            write_through(brokers, client, "cut", |_| {
                (0..12).map(|_| anywhere(&mut dice)).collect()
            });
        }
    });
}

/// The records are there, and are sent again: the broker must know them.
fn answers_that_are_lost_cost_nothing(client: KafkaProduce) {
    with_two_brokers(|brokers| {
        write_through(brokers, client, "lost", |_| vec![Break::BeforeProduceAnswer; 10]);
    });
}

fn a_writer_that_is_throttled_writes_everything(client: KafkaProduce) {
    with_two_brokers(|brokers| {
        let config = SinkConfig {
            name: kafka::unique("throttled"),
            ..SinkConfig::default()
        };
        // A broker lets ten seconds' worth pass, which the first commit is beyond; the second has to wait.
        let quota = [
            "--alter",
            "--add-config",
            "producer_byte_rate=20000",
            "--entity-type",
            "clients",
        ];
        let whose = ["--entity-name", &config.name];
        let set = brokers
            .cluster
            .tool("kafka.admin.ConfigCommand", &[&quota[..], &whose].concat());
        set.expect("a quota");
        let mut writer = Writer::new(brokers.connect(client), config, &topic("throttled", 1, 1));
        for count in [1300, 100] {
            writer = writer.at_work(move |writer| writer.commit(count)).done();
        }
        writer.check_without_faults();
    });
}
