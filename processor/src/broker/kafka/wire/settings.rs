//! The settings of the connections, by librdkafka's names and with its defaults: the same settings serve both clients.

use std::fmt;
use std::time::Duration;

use rdkafka::config::ClientConfig;

use super::metadata::Address;
use super::sasl::{Credentials, Mechanism};
use super::tls::{self, TlsSettings};
use crate::broker::FetchConfig;
use crate::broker::kafka::KafkaSettings;

/// Settings that our connections cannot serve: the caller takes librdkafka, which can, or says better what is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsupported {
    /// Which setting, and what about it.
    pub why: String,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl std::error::Error for Unsupported {}

/// What the connections need to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `client.id`.
    pub client_id: String,
    /// `bootstrap.servers`.
    pub(super) bootstrap: Vec<Address>,
    /// `broker.address.family`.
    pub(super) family: Family,
    /// `socket.timeout.ms`: how long an answer may take.
    pub request_timeout: Duration,
    /// `socket.connection.setup.timeout.ms`: from the first packet until requests are taken.
    pub setup_timeout: Duration,
    /// `reconnect.backoff.ms` and `reconnect.backoff.max.ms`.
    pub reconnect: Pause,
    /// `retry.backoff.ms` and `retry.backoff.max.ms`: between questions for leaders that are not known.
    pub retry: Pause,
    /// `topic.metadata.refresh.interval.ms`; `None` for -1, never.
    pub metadata_age: Option<Duration>,
    /// `receive.message.max.bytes`, at least its default: the largest answer that is taken.
    pub max_answer: usize,
    pub(super) tls: Option<TlsSettings>,
    pub(super) sasl: Option<Credentials>,
}

/// A pause that doubles from `first` up to `longest`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pause {
    /// After the first failure.
    pub first: Duration,
    /// After many.
    pub longest: Duration,
}

impl Pause {
    /// The pause after `failures` in a row, between 80 and 120 % by `chance`, so that many clients do not come at once.
    pub(super) fn after(&self, failures: u32, chance: u8) -> Duration {
        self.doubled(failures).mul_f64(0.8 + 0.4 * f64::from(chance) / 255.0)
    }

    /// The pause after `failures` in a row.
    pub(in crate::broker::kafka) fn doubled(&self, failures: u32) -> Duration {
        let doubled = self.first.saturating_mul(1 << failures.saturating_sub(1).min(16));
        doubled.min(self.longest)
    }
}

/// Which addresses of a name are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Any,
    V4,
    V6,
}

/// librdkafka's default; a smaller value would make a large record unreadable instead of slow.
const MAX_ANSWER: usize = 100_000_000;

/// Settings that change how a broker is trusted or spoken to, and that only librdkafka follows.
const ELSEWHERE: &[&str] = &[
    "ssl.cipher.suites",
    "ssl.curves.list",
    "ssl.sigalgs.list",
    "ssl.keystore.location",
    "ssl.crl.location",
    "ssl.engine.location",
    "ssl.providers",
    "sasl.oauthbearer.method",
    "sasl.oauthbearer.config",
    "plugin.library.paths",
];

impl Settings {
    /// The settings of a reader.
    pub fn of_reader(kafka: &KafkaSettings, fetch: &FetchConfig) -> Result<Self, Unsupported> {
        Self::read(&kafka.reader(fetch))
    }

    /// Reads the settings of a client, as `KafkaSettings` makes them of the user's.
    pub fn read(config: &ClientConfig) -> Result<Self, Unsupported> {
        let read = Values(config);
        for name in ELSEWHERE {
            if read.text(name).is_some() {
                return Err(unsupported(format!("{name} is set")));
            }
        }
        let protocol = read.text("security.protocol").unwrap_or("plaintext").to_lowercase();
        let (secured, authenticated) = match &*protocol {
            "plaintext" => (false, false),
            "ssl" => (true, false),
            "sasl_plaintext" => (false, true),
            "sasl_ssl" => (true, true),
            other => return Err(unsupported(format!("security.protocol is {other}"))),
        };
        Ok(Self {
            client_id: read.text("client.id").unwrap_or("millstream").to_owned(),
            bootstrap: bootstrap(&read)?,
            family: match read.text("broker.address.family").unwrap_or("any") {
                "any" => Family::Any,
                "v4" => Family::V4,
                "v6" => Family::V6,
                other => return Err(unsupported(format!("broker.address.family is {other}"))),
            },
            request_timeout: read.millis("socket.timeout.ms", 60_000)?,
            setup_timeout: read.millis("socket.connection.setup.timeout.ms", 30_000)?,
            reconnect: Pause {
                first: read.millis("reconnect.backoff.ms", 100)?,
                longest: read.millis("reconnect.backoff.max.ms", 10_000)?,
            },
            retry: Pause {
                first: read.millis("retry.backoff.ms", 100)?,
                longest: read.millis("retry.backoff.max.ms", 1_000)?,
            },
            metadata_age: match read.text("topic.metadata.refresh.interval.ms") {
                Some("-1") => None,
                _ => Some(read.millis("topic.metadata.refresh.interval.ms", 300_000)?),
            },
            max_answer: MAX_ANSWER.max(read.number("receive.message.max.bytes", MAX_ANSWER as u64)? as usize),
            tls: secured.then(|| tls_settings(&read)).transpose()?,
            sasl: authenticated.then(|| credentials(&read)).transpose()?,
        })
    }
}

fn unsupported(why: impl Into<String>) -> Unsupported {
    Unsupported { why: why.into() }
}

/// Values by name; empty is unset, as for librdkafka.
struct Values<'a>(&'a ClientConfig);

impl<'a> Values<'a> {
    fn text(&self, name: &str) -> Option<&'a str> {
        self.0.get(name).map(str::trim).filter(|value| !value.is_empty())
    }

    fn owned(&self, name: &str) -> Option<String> {
        self.text(name).map(str::to_owned)
    }

    fn number(&self, name: &str, default: u64) -> Result<u64, Unsupported> {
        match self.text(name) {
            None => Ok(default),
            Some(value) => match value.parse::<u32>() {
                Ok(number) => Ok(number.into()),
                Err(_) => Err(unsupported(format!("{name} is {value}"))),
            },
        }
    }

    fn millis(&self, name: &str, default: u64) -> Result<Duration, Unsupported> {
        self.number(name, default).map(Duration::from_millis)
    }

    fn is_false(&self, name: &str) -> bool {
        matches!(self.text(name), Some("false" | "f" | "0"))
    }
}

/// `host:port` or `[v6]:port`, separated by commas; a protocol in front is librdkafka's way to say the same twice.
fn bootstrap(read: &Values<'_>) -> Result<Vec<Address>, Unsupported> {
    let text = read.text("bootstrap.servers").unwrap_or_default();
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    let addresses: Result<Vec<Address>, Unsupported> = entries.map(address).collect();
    match addresses {
        Ok(addresses) if addresses.is_empty() => Err(unsupported("bootstrap.servers names no broker")),
        other => other,
    }
}

fn address(entry: &str) -> Result<Address, Unsupported> {
    let refused = || unsupported(format!("bootstrap.servers has {entry}, which is no HOST:PORT"));
    let place = entry.split_once("://").map_or(entry, |(_, place)| place);
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or_else(refused)?;
            (host, port.strip_prefix(':'))
        }
        None => match place.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        },
    };
    let port = port.map_or(Ok(9092), str::parse).map_err(|_| refused())?;
    if host.is_empty() || port == 0 {
        return Err(refused());
    }
    Ok(Address {
        host: host.to_owned(),
        port,
    })
}

fn tls_settings(read: &Values<'_>) -> Result<TlsSettings, Unsupported> {
    if read.is_false("enable.ssl.certificate.verification") {
        return Err(unsupported("enable.ssl.certificate.verification is false"));
    }
    let settings = TlsSettings {
        ca_location: read.owned("ssl.ca.location").filter(|place| place != "probe"),
        ca_pem: read.owned("ssl.ca.pem"),
        certificate_location: read.owned("ssl.certificate.location"),
        certificate_pem: read.owned("ssl.certificate.pem"),
        key_location: read.owned("ssl.key.location"),
        key_pem: read.owned("ssl.key.pem"),
        verify_name: match read.text("ssl.endpoint.identification.algorithm").unwrap_or("https") {
            "https" => true,
            "none" => false,
            other => {
                return Err(unsupported(format!("ssl.endpoint.identification.algorithm is {other}")));
            }
        },
    };
    if let Some(trouble) = tls::key_trouble(&settings) {
        return Err(unsupported(trouble));
    }
    Ok(settings)
}

fn credentials(read: &Values<'_>) -> Result<Credentials, Unsupported> {
    let name = read.text("sasl.mechanism").or_else(|| read.text("sasl.mechanisms"));
    let name = name.unwrap_or("GSSAPI");
    let Some(mechanism) = Mechanism::named(name) else {
        return Err(unsupported(format!("sasl.mechanism is {name}")));
    };
    let part = |name: &str| {
        let value = read.0.get(name).map(str::to_owned);
        value.ok_or_else(|| unsupported(format!("{name} is not set")))
    };
    Ok(Credentials {
        mechanism,
        username: part("sasl.username")?,
        password: part("sasl.password")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Settings, Unsupported> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", "one:1");
        for (name, value) in pairs {
            config.set(*name, *value);
        }
        Settings::read(&config)
    }

    #[test]
    fn servers_are_read_as_librdkafka_reads_them() {
        let settings = read(&[("bootstrap.servers", "a, SSL://b:1 ,[::1]:2,[fe80::1]")]).unwrap();
        let texts: Vec<String> = settings.bootstrap.iter().map(Address::to_string).collect();
        assert_eq!(texts, ["a:9092", "b:1", "[::1]:2", "[fe80::1]:9092"]);
        for wrong in [" ", ",", ":1", "a:", "a:b", "a:0", "a:70000", "[::1"] {
            assert!(read(&[("bootstrap.servers", wrong)]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_only_librdkafka_can_serve_is_named() {
        let sasl = |mechanism| [("security.protocol", "SASL_SSL"), ("sasl.mechanisms", mechanism)];
        for (pairs, part) in [
            (&sasl("GSSAPI")[..], "GSSAPI"),
            (&sasl("OAUTHBEARER"), "OAUTHBEARER"),
            (&[("security.protocol", "sasl_plaintext")], "GSSAPI"),
            (&sasl("PLAIN"), "sasl.username"),
            (&[("ssl.keystore.location", "/k")], "ssl.keystore.location"),
            (
                &[
                    ("security.protocol", "ssl"),
                    ("enable.ssl.certificate.verification", "false"),
                ],
                "verification",
            ),
            (&[("socket.timeout.ms", "soon")], "soon"),
            (&[("security.protocol", "ROT13")], "rot13"),
        ] {
            let why = read(pairs).unwrap_err().why;
            assert!(why.contains(part), "{why}");
        }
        assert!(read(&[("ssl.ca.location", "")]).is_ok(), "empty is unset");
    }

    #[test]
    fn secrets_are_not_shown() {
        let settings = read(&[
            ("security.protocol", "SASL_SSL"),
            ("sasl.mechanism", "SCRAM-SHA-512"),
            ("sasl.username", "me"),
            ("sasl.password", "hunter2"),
            ("ssl.key.pem", "hunter2"),
        ])
        .unwrap();
        let shown = format!("{settings:?}");
        assert!(shown.contains("Scram512") && shown.contains("me"), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        let pause = Pause {
            first: Duration::from_millis(100),
            longest: Duration::from_millis(10_000),
        };
        let millis = |failures, chance| pause.after(failures, chance).as_millis();
        assert_eq!((millis(1, 0), millis(1, 255)), (80, 120));
        assert_eq!((millis(2, 0), millis(4, 0)), (160, 640));
        assert_eq!((millis(100, 0), millis(u32::MAX, 255)), (8_000, 12_000));
    }
}
