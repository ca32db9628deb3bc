//! Proves to a broker who we are: PLAIN (RFC 4616), SCRAM-SHA-256 and SCRAM-SHA-512 (RFC 5802, RFC 7677).
//!
//! In SCRAM the password does not cross the wire, and the broker must prove that it knows it too.

use std::fmt;
use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::{digest, hmac, pbkdf2};

/// How the proof is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mechanism {
    Plain,
    Scram256,
    Scram512,
}

impl Mechanism {
    pub(super) fn named(name: &str) -> Option<Self> {
        [Self::Plain, Self::Scram256, Self::Scram512]
            .into_iter()
            .find(|mechanism| mechanism.name() == name)
    }

    /// As brokers spell it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Scram256 => "SCRAM-SHA-256",
            Self::Scram512 => "SCRAM-SHA-512",
        }
    }
}

/// Who we are.
#[derive(Clone)]
pub(super) struct Credentials {
    pub(super) mechanism: Mechanism,
    pub(super) username: String,
    pub(super) password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} as {:?}", format_args!("{:?}", self.mechanism), self.username)
    }
}

/// One proof under way.
pub(super) struct Exchange {
    credentials: Credentials,
    nonce: String,
    step: Step,
}

enum Step {
    /// PLAIN: the broker says yes by an empty answer.
    Sent,
    /// SCRAM: the broker tells salt and rounds.
    Challenge,
    /// SCRAM: the broker proves itself with this.
    Verify { key: hmac::Key, message: String },
}

/// What the broker said cannot be what a broker of this user says.
type Refused = String;

/// Kafka's own client takes no less, so that an impostor cannot ask for a proof that is easily guessed.
const LEAST_ROUNDS: u32 = 4096;
/// Half a second of work; Kafka itself creates users with at most 16,384.
const MOST_ROUNDS: u32 = 1_000_000;

impl Exchange {
    /// `random` makes the nonce.
    pub(super) fn new(credentials: &Credentials, random: [u8; 24]) -> Self {
        Self {
            credentials: credentials.clone(),
            nonce: BASE64.encode(random),
            step: match credentials.mechanism {
                Mechanism::Plain => Step::Sent,
                Mechanism::Scram256 | Mechanism::Scram512 => Step::Challenge,
            },
        }
    }

    /// What is sent first.
    pub(super) fn first(&self) -> Vec<u8> {
        match self.credentials.mechanism {
            Mechanism::Plain => {
                let Credentials { username, password, .. } = &self.credentials;
                format!("\0{username}\0{password}").into_bytes()
            }
            Mechanism::Scram256 | Mechanism::Scram512 => format!("n,,{}", self.first_bare()).into_bytes(),
        }
    }

    fn first_bare(&self) -> String {
        let name = self.credentials.username.replace('=', "=3D").replace(',', "=2C");
        format!("n={name},r={}", self.nonce)
    }

    /// Takes the broker's answer; returns what is sent next, or `None` when both sides are satisfied.
    pub(super) fn next(&mut self, answer: &[u8]) -> Result<Option<Vec<u8>>, Refused> {
        match &self.step {
            Step::Sent => Ok(None),
            Step::Challenge => self.prove(text(answer)?).map(Some),
            Step::Verify { key, message } => {
                let answer = text(answer)?;
                if let Some(error) = field(answer, 'e') {
                    return Err(format!("the broker says: {error}"));
                }
                let signature = decode(answer, 'v')?;
                match hmac::verify(key, message.as_bytes(), &signature) {
                    Ok(()) => Ok(None),
                    Err(_) => Err("the broker does not know the password: it is not who it says it is".into()),
                }
            }
        }
    }

    fn prove(&mut self, challenge: &str) -> Result<Vec<u8>, Refused> {
        if let Some(error) = field(challenge, 'e') {
            return Err(format!("the broker says: {error}"));
        }
        let nonce = field(challenge, 'r').unwrap_or_default();
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err("the broker's nonce does not continue ours".into());
        }
        let salt = decode(challenge, 's')?;
        let rounds = field(challenge, 'i').and_then(|rounds| rounds.parse().ok());
        let rounds = rounds.filter(|rounds| (LEAST_ROUNDS..=MOST_ROUNDS).contains(rounds));
        let Some(rounds) = rounds.and_then(NonZeroU32::new) else {
            return Err(format!(
                "the broker asks for a number of rounds that is not {LEAST_ROUNDS} to {MOST_ROUNDS}"
            ));
        };
        let (kdf, mac, hash) = match self.credentials.mechanism {
            Mechanism::Scram512 => (pbkdf2::PBKDF2_HMAC_SHA512, hmac::HMAC_SHA512, &digest::SHA512),
            _ => (pbkdf2::PBKDF2_HMAC_SHA256, hmac::HMAC_SHA256, &digest::SHA256),
        };
        let mut salted = vec![0; hash.output_len()];
        pbkdf2::derive(kdf, rounds, &salt, self.credentials.password.as_bytes(), &mut salted);
        let salted = hmac::Key::new(mac, &salted);
        // "biws" is "n,,": no channel binding.
        let without_proof = format!("c=biws,r={nonce}");
        let message = format!("{},{challenge},{without_proof}", self.first_bare());

        let client_key = hmac::sign(&salted, b"Client Key");
        let stored_key = hmac::Key::new(mac, digest::digest(hash, client_key.as_ref()).as_ref());
        let signature = hmac::sign(&stored_key, message.as_bytes());
        let proof: Vec<u8> = client_key
            .as_ref()
            .iter()
            .zip(signature.as_ref())
            .map(|(a, b)| a ^ b)
            .collect();
        let server_key = hmac::Key::new(mac, hmac::sign(&salted, b"Server Key").as_ref());
        self.step = Step::Verify {
            key: server_key,
            message,
        };
        Ok(format!("{without_proof},p={}", BASE64.encode(proof)).into_bytes())
    }
}

fn text(answer: &[u8]) -> Result<&str, Refused> {
    std::str::from_utf8(answer).map_err(|_| "the broker's answer is no text".into())
}

/// The value of `name=value`, in a list that is separated by commas.
fn field(text: &str, name: char) -> Option<&str> {
    text.split(',')
        .find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
}

fn decode(text: &str, name: char) -> Result<Vec<u8>, Refused> {
    let value = field(text, name).and_then(|value| BASE64.decode(value).ok());
    value.ok_or_else(|| format!("the broker's answer has no readable {name}="))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(mechanism: Mechanism, username: &str, nonce: &str) -> Exchange {
        let credentials = Credentials {
            mechanism,
            username: username.into(),
            password: "pencil".into(),
        };
        let mut exchange = Exchange::new(&credentials, [0; 24]);
        exchange.nonce = nonce.into();
        exchange
    }

    fn rfc_7677() -> Exchange {
        exchange(Mechanism::Scram256, "user", "rOprNGfwEbeRWgbNEkqO")
    }

    const CHALLENGE: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    #[test]
    fn sha_256_gives_the_example_of_rfc_7677() {
        let mut exchange = rfc_7677();
        assert_eq!(exchange.first(), b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let proof = exchange.next(CHALLENGE.as_bytes()).unwrap().unwrap();
        assert_eq!(
            String::from_utf8(proof).unwrap(),
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        let end = exchange.next(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        assert_eq!(end, Ok(None));
    }

    /// There is no RFC with an example: made with Python's hashlib and hmac.
    #[test]
    fn sha_512_gives_what_another_implementation_gives() {
        let mut exchange = exchange(Mechanism::Scram512, "user", "rOprNGfwEbeRWgbNEkqO");
        let proof = exchange.next(CHALLENGE.as_bytes()).unwrap().unwrap();
        let proof = String::from_utf8(proof).unwrap();
        assert_eq!(
            field(&proof, 'p'),
            Some("gMGXRcevScNtxZ6/8lQYpGtnsNAc3mGcmNomv+xnoOMw+3R2xNJdMNnzMlTN8PPC6wdp6dybEmDYXYTxwnYPJQ==")
        );
        assert_eq!(
            exchange
                .next(b"v=ZQnYEgWQMFmmsM8aQMF0nDDCy/AgCzkwk8CmMZYcMg0vSVlKDanekLtifDSeVGT4+5ZxXnJq199RVG2rR7N7Zw=="),
            Ok(None)
        );
    }

    #[test]
    fn a_broker_that_does_not_know_the_password_is_found_out() {
        let mut exchange = rfc_7677();
        exchange.next(CHALLENGE.as_bytes()).unwrap();
        let error = exchange
            .next(b"v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
            .unwrap_err();
        assert!(error.contains("not who it says"), "{error}");
        for nothing in [&b""[..], b"v=", b"v=???", b"\xff"] {
            assert!(exchange.next(nothing).is_err());
        }
    }

    #[test]
    fn a_challenge_that_is_none_is_refused() {
        let refused = |challenge: &str| rfc_7677().next(challenge.as_bytes()).unwrap_err();
        assert!(refused("r=rOprNGfwEbeRWgbNEkqO,s=AA==,i=4096").contains("nonce"));
        assert!(refused("r=other,s=AA==,i=4096").contains("nonce"));
        assert!(refused(&CHALLENGE.replace("i=4096", "i=1")).contains("rounds"));
        assert!(refused(&CHALLENGE.replace("i=4096", "i=2000000000")).contains("rounds"));
        assert!(refused(&CHALLENGE.replace("s=W", "t=W")).contains("s="));
        assert!(refused("e=unknown-user").contains("unknown-user"));
        assert!(refused("").contains("nonce"));
    }

    #[test]
    fn names_with_commas_do_not_break_the_list() {
        let exchange = exchange(Mechanism::Scram256, "a=b,c", "N");
        assert_eq!(exchange.first(), b"n,,n=a=3Db=2Cc,r=N");
    }

    #[test]
    fn plain_is_one_message() {
        let mut exchange = exchange(Mechanism::Plain, "user", "");
        assert_eq!(exchange.first(), b"\0user\0pencil");
        assert_eq!(exchange.next(b""), Ok(None));
    }
}
