//! Apache Kafka from Maven Central, run by the local JDK: one process that is broker and controller, on loopback,
//! on free ports, with its data in a temporary directory.
//!
//! Its heap is 512 MiB, unless `KAFKA_HEAP_OPTS` says otherwise, as it does to Kafka's own scripts.
//!
//! The jars (54 MB) are fetched once, by Maven from `kafka/pom.xml`, and kept in
//! `~/.cache/millstream/kafka-<version>`.

use super::reaper::Reaper;
use super::{NoBroker, START_LIMIT, VERSION, classes, metadata};
use std::env;
use std::fs::{self, File};
use std::io;
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;

/// Kafka 4 brokers refuse to start on older ones.
const OLDEST_JAVA: u32 = 17;

/// A port may be taken between the moment we look for a free one and the moment the broker binds it.
const START_TRIES: u32 = 3;

/// A running broker process.
#[derive(Debug)]
pub(super) struct Server {
    port: u16,
    process: Mutex<Child>,
    reaper: Reaper,
}

impl Server {
    pub(super) fn start() -> Result<Self, NoBroker> {
        let java = java().map_err(NoBroker::Unavailable)?;
        let libs = libs().map_err(NoBroker::Unavailable)?;
        // Without it all is a little slower.
        if let Err(why) = classes::lay(&java, &libs) {
            eprintln!("{why}");
        }
        let mut failures = String::new();
        for _ in 0..START_TRIES {
            match Self::try_start(&java, &libs) {
                Ok(server) => return Ok(server),
                Err(why) => failures = format!("{failures}{why}\n"),
            }
        }
        Err(NoBroker::Broken(failures))
    }

    fn try_start(java: &Path, libs: &Path) -> Result<Self, String> {
        let dir = tempfile::Builder::new()
            .prefix("millstream-kafka-")
            .tempdir()
            .map_err(|e| format!("cannot make a directory for Kafka's data: {e}"))?
            .keep();
        let (port, properties) = format(java, libs, &dir)?;
        let log = dir.join("broker.log");
        let out = File::create(&log).and_then(|out| Ok((out.try_clone()?, out)));
        let (out, err) = out.map_err(|e| format!("cannot write {}: {e}", log.display()))?;
        let heap = env::var("KAFKA_HEAP_OPTS").unwrap_or_else(|_| "-Xmx512m".to_owned());
        let process = jvm(java, libs, &heap)
            .arg("kafka.Kafka")
            .arg(&properties)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .process_group(0)
            .spawn()
            .map_err(|e| format!("cannot start {}: {e}", java.display()))?;
        // A process id is used again after a while: only one whose command line names our directory is the broker.
        let (pid, path) = (process.id(), dir.display());
        let reaper = Reaper::new(format!(
            "grep -qaF '{path}' /proc/{pid}/cmdline && kill -9 {pid}; rm -rf '{path}'"
        ))?;

        let server = Self {
            port,
            process: Mutex::new(process),
            reaper,
        };
        metadata::wait(&server.bootstrap(), START_LIMIT, || server.alive())
            .map_err(|why| format!("{why}\nthe broker's log ends with:\n{}", tail(&log)))?;
        Ok(server)
    }

    fn alive(&self) -> Result<(), String> {
        let mut process = self.process.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        match process.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(format!("the broker ended by itself: {status}")),
            Err(e) => Err(format!("the broker's process cannot be looked at: {e}")),
        }
    }

    pub(super) fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(super) fn pid(&self) -> u32 {
        self.process
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .id()
    }

    pub(super) fn keep(self) -> String {
        self.reaper.dismiss()
    }
}

/// Any text of 16 bytes in base64 will do: the cluster lives as long as its directory.
pub(super) const CLUSTER_ID: &str = "bWlsbHN0cmVhbS10ZXN0cw";

/// One node, nothing replicated, nothing waited for; messages of up to 16 MiB, because one of our tests sends 10.
/// All else is Kafka's default, so that tests meet what users meet.
pub(super) fn settings() -> &'static str {
    "process.roles=broker,controller\n\
     node.id=1\n\
     listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
     inter.broker.listener.name=BROKER\n\
     controller.listener.names=CONTROLLER\n\
     auto.create.topics.enable=false\n\
     message.max.bytes=16777216\n\
     replica.fetch.max.bytes=16777216\n\
     group.initial.rebalance.delay.ms=0\n\
     offsets.topic.replication.factor=1\n\
     offsets.topic.num.partitions=1\n\
     transaction.state.log.replication.factor=1\n\
     transaction.state.log.min.isr=1\n\
     transaction.state.log.num.partitions=1\n"
}

fn server_properties(port: u16, controller_port: u16, dir: &Path) -> String {
    format!(
        "{}\
         controller.quorum.voters=1@127.0.0.1:{controller_port}\n\
         listeners=BROKER://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}\n\
         advertised.listeners=BROKER://127.0.0.1:{port}\n\
         log.dirs={}\n",
        settings(),
        dir.join("data").display()
    )
}

/// Makes `dir` the home of a broker that is alone; returns its port and where its settings are.
pub(super) fn format(java: &Path, libs: &Path, dir: &Path) -> Result<(u16, PathBuf), String> {
    let (port, controller_port) = free_ports().map_err(|e| format!("no free port: {e}"))?;
    let properties = dir.join("server.properties");
    fs::write(&properties, server_properties(port, controller_port, dir))
        .map_err(|e| format!("cannot write {}: {e}", properties.display()))?;
    let format = short_lived(java, libs, "-Xmx128m")
        .args(["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"])
        .arg(&properties)
        .output();
    check("formatting Kafka's data directory", format)?;
    Ok((port, properties))
}

/// Two different free ports on loopback.
pub(super) fn free_ports() -> io::Result<(u16, u16)> {
    let (one, two) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
    Ok((one.local_addr()?.port(), two.local_addr()?.port()))
}

/// A command line tool of Kafka's, by its class: `org.apache.kafka.tools.consumer.ConsoleConsumer`.
/// `Err` says what is missing.
pub fn tool(class: &str) -> Result<Command, String> {
    let mut command = short_lived(&java()?, &libs()?, "-Xmx256m");
    command.arg(class);
    Ok(command)
}

/// Java for what lives for seconds: the second compiler would only cost.
pub(super) fn short_lived(java: &Path, libs: &Path, heap: &str) -> Command {
    let mut command = jvm(java, libs, heap);
    command.arg("-XX:TieredStopAtLevel=1");
    let archive = classes::archive(libs);
    if archive.exists() {
        command.arg(format!("-XX:SharedArchiveFile={}", archive.display()));
    }
    command
}

fn jvm(java: &Path, libs: &Path, heap: &str) -> Command {
    let mut command = Command::new(java);
    command.args(heap.split_whitespace());
    command.args([
        "-XX:+UseSerialGC",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        "-cp",
    ]);
    command.arg(format!("{}/*", libs.display()));
    command
}

/// `java` of `JAVA_HOME`, else of the path; new enough.
pub(super) fn java() -> Result<PathBuf, String> {
    let java = env::var_os("JAVA_HOME").map_or("java".into(), |home| PathBuf::from(home).join("bin/java"));
    let output = Command::new(&java)
        .arg("-version")
        .output()
        .map_err(|e| format!("no JDK: {} cannot be run: {e}", java.display()))?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    match java_major(&text) {
        Some(major) if major >= OLDEST_JAVA => Ok(java),
        _ => Err(format!(
            "Kafka {VERSION} needs Java {OLDEST_JAVA} or newer; {} says: {text}",
            java.display()
        )),
    }
}

/// The 17 of `openjdk version "17.0.15" 2025-04-15`.
fn java_major(version_text: &str) -> Option<u32> {
    let quoted = version_text.split('"').nth(1)?;
    quoted.split(['.', '-', '+']).next()?.parse().ok()
}

/// The directory of the jars, filled by Maven if this is the first time.
pub(super) fn libs() -> Result<PathBuf, String> {
    let home = env::var_os("HOME").ok_or("no HOME, so no place to keep Kafka's jars")?;
    let cache = PathBuf::from(home).join(".cache/millstream");
    let libs = cache.join(format!("kafka-{VERSION}"));
    if libs.is_dir() {
        return Ok(libs);
    }
    fs::create_dir_all(&cache).map_err(|e| format!("cannot make {}: {e}", cache.display()))?;
    // Into a directory of this process, then renamed: others see all jars or none.
    let partial = cache.join(format!("kafka-{VERSION}.{}", std::process::id()));
    fs::create_dir(&partial).map_err(|e| format!("cannot make {}: {e}", partial.display()))?;
    let pom = partial.join("pom.xml");
    fs::write(&pom, include_str!("../../kafka/pom.xml")).map_err(|e| format!("cannot write {}: {e}", pom.display()))?;
    let maven = Command::new("mvn")
        .args(["-q", "-B", "-f"])
        .arg(&pom)
        .arg("dependency:copy-dependencies")
        .arg(format!("-DoutputDirectory={}", partial.display()))
        .output();
    check("fetching Kafka's jars with Maven (mvn)", maven)?;
    match fs::rename(&partial, &libs) {
        Ok(()) => Ok(libs),
        Err(_) if libs.is_dir() => {
            let _ = fs::remove_dir_all(&partial);
            Ok(libs)
        }
        Err(e) => Err(format!("cannot rename {}: {e}", partial.display())),
    }
}

pub(super) fn check(what: &str, output: io::Result<Output>) -> Result<(), String> {
    let output = output.map_err(|e| format!("{what}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    Err(format!("{what}: {}\n{out}{err}", output.status))
}

/// The last lines of a log file.
pub(super) fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines
        .get(lines.len().saturating_sub(15)..)
        .unwrap_or_default()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::java_major;

    #[test]
    fn java_version_texts_are_understood() {
        assert_eq!(java_major("openjdk version \"17.0.15\" 2025-04-15"), Some(17));
        assert_eq!(java_major("openjdk version \"25\" 2025-09-16 LTS"), Some(25));
        assert_eq!(java_major("java version \"1.8.0_392\""), Some(1));
        assert_eq!(java_major("sh: java: not found"), None);
    }
}
