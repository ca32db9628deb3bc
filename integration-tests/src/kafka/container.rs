//! Apache Kafka's own image, where a Docker engine answers.
//!
//! A program of its own starts it by `testcontainers` and removes it when its input ends (`integration-tests/container/`,
//! which says why it is no part of this crate). It is built only where an engine answers within [`PING_LIMIT`].

use super::{START_LIMIT, VERSION, jars, metadata};
use std::env;
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

/// How long an engine may take to say that it is there.
const PING_LIMIT: Duration = Duration::from_secs(2);

/// A running container. Ends when this is dropped, and with this process however that ends: its keeper, the program that
/// started it, waits at a pipe whose other end only this process holds.
#[derive(Debug)]
pub(super) struct Container {
    keeper: Mutex<Child>,
    engine: Engine,
    id: String,
    port: u16,
}

impl Container {
    pub(super) fn start(engine: Engine) -> Result<Self, String> {
        let (port, _) = jars::free_ports().map_err(|e| format!("no free port: {e}"))?;
        let mut keeper = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        keeper
            .args(["run", "--quiet", "--manifest-path"])
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/container/Cargo.toml"))
            .args(["--", VERSION, &port.to_string()])
            .args(settings(port))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0); // Ctrl-C at the terminal must not end it before its work is done
        let mut keeper = keeper.spawn().map_err(|e| format!("cannot run cargo: {e}"))?;
        let mut id = String::new();
        if let Some(out) = keeper.stdout.take() {
            let read = BufReader::new(out).read_line(&mut id);
            read.map_err(|e| format!("cannot read what the container's keeper says: {e}"))?;
        }
        let container = Self {
            keeper: Mutex::new(keeper),
            engine,
            id: id.trim().to_owned(),
            port,
        };
        metadata::wait(&container.bootstrap(), START_LIMIT, || container.alive())?;
        Ok(container)
    }

    /// The keeper ends when the container does, and has told why by then.
    fn alive(&self) -> Result<(), String> {
        let mut keeper = self.keeper.lock().map_err(|e| e.to_string())?;
        match keeper.try_wait() {
            Ok(None) => Ok(()),
            _ => Err(format!(
                "Kafka's container at the Docker engine {} ended: see above",
                self.engine
            )),
        }
    }

    pub(super) fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Lets it outlive this process, and returns the shell command that ends it.
    pub(super) fn keep(self) -> String {
        if let Ok(mut keeper) = self.keeper.lock()
            && let Some(input) = &mut keeper.stdin
        {
            // A keeper that is gone has taken its container with it, which whoever asks for it next will see.
            let _ = input.write_all(b"keep\n");
        }
        self.engine.removal(&self.id)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if let Ok(keeper) = self.keeper.get_mut() {
            drop(keeper.stdin.take());
            let _ = keeper.wait();
        }
    }
}

/// The image turns `KAFKA_A_B` into the broker setting `a.b`; the rest is as for the jars, only that the listener
/// must be open to the engine's network.
fn settings(port: u16) -> Vec<String> {
    let mut settings: Vec<String> = jars::settings()
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| format!("KAFKA_{}={value}", key.to_uppercase().replace('.', "_")))
        .collect();
    settings.push("KAFKA_CONTROLLER_QUORUM_VOTERS=1@localhost:9093".to_owned());
    settings.push(format!("KAFKA_LISTENERS=BROKER://:{port},CONTROLLER://localhost:9093"));
    settings.push(format!("KAFKA_ADVERTISED_LISTENERS=BROKER://127.0.0.1:{port}"));
    settings
}

/// Where a Docker engine listens. Without TLS: an engine that asks for it counts as none.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Engine {
    Socket(PathBuf),
    Tcp(String),
}

impl std::fmt::Display for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

impl Engine {
    /// The engine that `testcontainers` will talk to, if it answers.
    pub(super) fn find() -> Option<Self> {
        let host = env::var("DOCKER_HOST").ok().filter(|host| !host.is_empty());
        let engine = match host {
            Some(host) => Self::named(&host)?,
            None => Self::Socket(sockets().into_iter().find(|path| path.exists())?),
        };
        engine.answers().then_some(engine)
    }

    fn named(host: &str) -> Option<Self> {
        let (scheme, place) = host.split_once("://")?;
        match scheme {
            "unix" => Some(Self::Socket(PathBuf::from(place))),
            "tcp" | "http" => Some(Self::Tcp(place.trim_end_matches('/').to_owned())),
            _ => None,
        }
    }

    fn answers(&self) -> bool {
        match self {
            Self::Socket(path) => ping_socket(path),
            Self::Tcp(address) => ping_tcp(address),
        }
        .unwrap_or(false)
    }

    /// A shell command that ends a container, by Docker's own command or, without it, by the engine's HTTP.
    fn removal(&self, id: &str) -> String {
        let (socket, url) = match self {
            Self::Socket(path) => (
                format!("--unix-socket '{}' ", path.display()),
                "http://docker".to_owned(),
            ),
            Self::Tcp(address) => (String::new(), format!("http://{address}")),
        };
        format!(
            "docker rm --force --volumes {id} 2>/dev/null || \
             curl --silent {socket}--request DELETE '{url}/containers/{id}?force=true&v=true'"
        )
    }
}

/// Where an engine listens when `DOCKER_HOST` does not say: the places that `testcontainers` knows, in its order.
fn sockets() -> Vec<PathBuf> {
    let under = |var: &str, path: &str| env::var_os(var).map(|dir| Path::new(&dir).join(path));
    let mut places = vec![PathBuf::from("/var/run/docker.sock")];
    places.extend(under("XDG_RUNTIME_DIR", ".docker/run/docker.sock"));
    places.extend(under("HOME", ".docker/run/docker.sock"));
    places.extend(under("HOME", ".docker/desktop/docker.sock"));
    places
}

fn ping_socket(path: &Path) -> io::Result<bool> {
    let stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(PING_LIMIT))?;
    stream.set_write_timeout(Some(PING_LIMIT))?;
    ping(stream)
}

fn ping_tcp(address: &str) -> io::Result<bool> {
    let address = address.to_socket_addrs()?.next().ok_or(io::ErrorKind::NotFound)?;
    let stream = TcpStream::connect_timeout(&address, PING_LIMIT)?;
    stream.set_read_timeout(Some(PING_LIMIT))?;
    stream.set_write_timeout(Some(PING_LIMIT))?;
    ping(stream)
}

/// Docker's own question whether it is well; a socket that is there says nothing.
fn ping(mut stream: impl Read + Write) -> io::Result<bool> {
    stream.write_all(b"GET /_ping HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n")?;
    let mut status = [0; 12];
    stream.read_exact(&mut status)?;
    Ok(&status == b"HTTP/1.1 200")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn settings_take_the_form_that_the_image_reads() {
        let settings = settings(1234);
        assert!(settings.contains(&"KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS=0".to_owned()));
        assert!(settings.contains(&"KAFKA_ADVERTISED_LISTENERS=BROKER://127.0.0.1:1234".to_owned()));
    }

    #[test]
    fn an_engine_that_does_not_answer_counts_as_none() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("docker.sock");
        let engine = Engine::Socket(path.clone());
        assert!(!engine.answers(), "no socket");
        let listener = UnixListener::bind(&path).expect("bound");
        assert!(!engine.answers(), "a socket that nobody serves");
        drop(listener);
        assert!(!engine.answers(), "a socket that is left over");
    }

    #[test]
    fn docker_host_is_understood() {
        let tcp = Some(Engine::Tcp("10.0.0.7:2375".to_owned()));
        assert_eq!(Engine::named("tcp://10.0.0.7:2375"), tcp);
        assert_eq!(
            Engine::named("unix:///run/podman.sock"),
            Some(Engine::Socket("/run/podman.sock".into()))
        );
        assert_eq!(Engine::named("ssh://somewhere"), None);
    }
}
