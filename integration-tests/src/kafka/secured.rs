//! A broker from the jars that lets nobody in without TLS or a password, beside a plain listener for looking at it. It
//! can be stopped and started again.
//!
//! Certificates come from the JDK's `keytool`; a few lines of Java write them down as PEM, which `keytool` cannot do for
//! keys. There is one user, [`USER`], for every mechanism.

use super::jars::{self, CLUSTER_ID};
use super::reaper::Reaper;
use super::{NoBroker, START_LIMIT, metadata};
use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The user's name.
pub const USER: &str = "alice";
/// The password.
pub const PASSWORD: &str = "alice=secret";
/// How long a password is good for on [`Listener::Sasl`].
pub const SESSION_MS: u64 = 3000;

/// A door of the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// No security: `PLAINTEXT`.
    Plain,
    /// `SSL`, for clients with a certificate.
    Tls,
    /// `SASL_SSL` with PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512.
    SaslTls,
    /// `SASL_PLAINTEXT`, the same; a proof is good for [`SESSION_MS`].
    Sasl,
}

const LISTENERS: [(Listener, &str, &str); 4] = [
    (Listener::Plain, "BROKER", "PLAINTEXT"),
    (Listener::Tls, "TLS", "SSL"),
    (Listener::SaslTls, "SASLTLS", "SASL_SSL"),
    (Listener::Sasl, "SASL", "SASL_PLAINTEXT"),
];

/// The broker.
#[derive(Debug)]
pub struct Secured {
    java: PathBuf,
    libs: PathBuf,
    dir: PathBuf,
    ports: Vec<u16>,
    running: Option<(Child, Reaper)>,
    /// Last: it clears the directory.
    _cleaner: Reaper,
}

impl Secured {
    /// Starts it.
    ///
    /// # Errors
    /// [`NoBroker::Unavailable`] when no JDK or no jars can be had.
    pub fn start() -> Result<Self, NoBroker> {
        let java = jars::java().map_err(NoBroker::Unavailable)?;
        let libs = jars::libs().map_err(NoBroker::Unavailable)?;
        Self::start_with(java, libs).map_err(NoBroker::Broken)
    }

    fn start_with(java: PathBuf, libs: PathBuf) -> Result<Self, String> {
        let dir = tempfile::Builder::new().prefix("millstream-kafka-").tempdir();
        let dir = dir.map_err(|e| format!("cannot make a directory: {e}"))?.keep();
        let cleaner = Reaper::new(format!("rm -rf '{}'", dir.display()))?;
        certificates(&java, &dir)?;
        let mut ports = Vec::new();
        while ports.len() < LISTENERS.len() + 1 {
            let (port, _) = jars::free_ports().map_err(|e| format!("no free port: {e}"))?;
            if !ports.contains(&port) {
                ports.push(port);
            }
        }
        let properties = dir.join("server.properties");
        write(&properties, &server_properties(&ports, &dir))?;
        let scram = |mechanism| format!("{mechanism}=[name={USER},password=\"{PASSWORD}\"]");
        let format = jars::short_lived(&java, &libs, "-Xmx128m")
            .args(["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID])
            .args(["--add-scram", &scram("SCRAM-SHA-256")])
            .args(["--add-scram", &scram("SCRAM-SHA-512")])
            .arg("-c")
            .arg(&properties)
            .output();
        jars::check("formatting Kafka's data directory", format)?;
        let mut broker = Self {
            java,
            libs,
            dir,
            ports,
            running: None,
            _cleaner: cleaner,
        };
        broker.restart()?;
        Ok(broker)
    }

    /// `host:port` of a listener.
    pub fn bootstrap(&self, listener: Listener) -> String {
        format!("127.0.0.1:{}", self.port(listener))
    }

    /// The port of a listener. The certificate is for 127.0.0.1 alone: by any other name, the broker is a stranger.
    pub fn port(&self, listener: Listener) -> u16 {
        let place = LISTENERS.iter().position(|(known, ..)| *known == listener);
        self.ports[place.expect("a listener")]
    }

    /// The certificate that is to be trusted.
    pub fn ca(&self) -> String {
        self.file("ca.pem")
    }

    /// A certificate that the broker trusts.
    pub fn client_certificate(&self) -> String {
        self.file("client.pem")
    }

    /// Its key.
    pub fn client_key(&self) -> String {
        self.file("client.key")
    }

    /// A certificate that has nothing to do with this broker.
    pub fn strange_ca(&self) -> String {
        self.file("stranger.pem")
    }

    fn file(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    /// Ends the broker as `kill -9` does.
    pub fn kill(&mut self) {
        if let Some((mut process, reaper)) = self.running.take() {
            process.kill().expect("a process of ours can be killed");
            process.wait().expect("and waited for");
            drop(reaper);
        }
    }

    /// Starts it with the data it has; returns when it answers.
    pub fn restart(&mut self) -> Result<(), String> {
        let log = self.dir.join("broker.log");
        let out = File::options().create(true).append(true).open(&log);
        let out = out.and_then(|out| Ok((out.try_clone()?, out)));
        let (out, err) = out.map_err(|e| format!("cannot write {}: {e}", log.display()))?;
        let process = jars::short_lived(&self.java, &self.libs, "-Xmx256m")
            .arg("kafka.Kafka")
            .arg(self.dir.join("server.properties"))
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .process_group(0)
            .spawn()
            .map_err(|e| format!("cannot start a broker: {e}"))?;
        let (pid, path) = (process.id(), self.dir.display());
        let reaper = Reaper::new(format!("grep -qaF '{path}' /proc/{pid}/cmdline && kill -9 {pid}"))?;
        self.running = Some((process, reaper));
        metadata::wait(&self.bootstrap(Listener::Plain), START_LIMIT, || Ok(()))
            .map_err(|why| format!("{why}\nthe broker's log ends with:\n{}", jars::tail(&log)))
    }
}

fn write(place: &Path, text: &str) -> Result<(), String> {
    fs::write(place, text).map_err(|e| format!("cannot write {}: {e}", place.display()))
}

fn server_properties(ports: &[u16], dir: &Path) -> String {
    let listeners = || {
        LISTENERS
            .iter()
            .zip(ports)
            .map(|((_, name, protocol), port)| (name, protocol, port))
    };
    let places: Vec<String> = listeners()
        .map(|(name, _, port)| format!("{name}://127.0.0.1:{port}"))
        .collect();
    let protocols: Vec<String> = listeners()
        .map(|(name, protocol, _)| format!("{name}:{protocol}"))
        .collect();
    let controller = ports[LISTENERS.len()];
    let ours = ["listener.security.protocol.map="];
    let common = jars::settings()
        .lines()
        .filter(|line| !ours.iter().any(|own| line.starts_with(own)));
    let mut text: String = common.map(|line| format!("{line}\n")).collect();
    text += &format!(
        "listener.security.protocol.map={},CONTROLLER:PLAINTEXT\n\
         controller.quorum.voters=1@127.0.0.1:{controller}\n\
         listeners={places},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners={places}\n\
         log.dirs={dir}/data\n\
         ssl.keystore.type=PEM\n\
         ssl.keystore.location={dir}/broker.pem\n\
         ssl.truststore.type=PEM\n\
         ssl.truststore.location={dir}/ca.pem\n\
         listener.name.tls.ssl.client.auth=required\n\
         listener.name.sasl.connections.max.reauth.ms={SESSION_MS}\n",
        protocols.join(","),
        places = places.join(","),
        dir = dir.display(),
    );
    let security = "org.apache.kafka.common.security";
    for listener in ["sasltls", "sasl"] {
        text += &format!(
            "listener.name.{listener}.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512\n\
             listener.name.{listener}.plain.sasl.jaas.config={security}.plain.PlainLoginModule required \
             user_{USER}=\"{PASSWORD}\";\n\
             listener.name.{listener}.scram-sha-256.sasl.jaas.config={security}.scram.ScramLoginModule required;\n\
             listener.name.{listener}.scram-sha-512.sasl.jaas.config={security}.scram.ScramLoginModule required;\n"
        );
    }
    text
}

/// A CA, a broker and a client that it vouches for, and a stranger, as PEM files in `dir`.
fn certificates(java: &Path, dir: &Path) -> Result<(), String> {
    let keytool = java.with_file_name("keytool");
    let make = |alias: &str, more: &[&str]| {
        let made = Command::new(&keytool)
            .current_dir(dir)
            .args(["-genkeypair", "-alias", alias, "-keyalg", "RSA", "-keysize", "2048"])
            .args(["-dname", &format!("CN={alias}"), "-validity", "3650"])
            .args(["-keystore", "keys.p12", "-storetype", "PKCS12", "-storepass", "secret"])
            .args(more)
            .output();
        jars::check("keytool", made)
    };
    let ca = ["-ext", "bc:c=ca:true", "-ext", "ku:c=keyCertSign"];
    make("ca", &ca)?;
    make("stranger", &ca)?;
    make("broker", &["-signer", "ca", "-ext", "san=ip:127.0.0.1"])?;
    make("client", &["-signer", "ca"])?;
    write(&dir.join("Pem.java"), include_str!("../../kafka/Pem.java"))?;
    let written = Command::new(java)
        .current_dir(dir)
        .args(["Pem.java", "keys.p12", "secret"])
        .output();
    jars::check("writing certificates as PEM", written)
}
