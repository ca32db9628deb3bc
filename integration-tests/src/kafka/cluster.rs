//! A cluster of several brokers from the jars, for tests that kill and restart them: one controller, which stays, and
//! brokers with their data on two of them each. Loopback, free ports, directories that vanish.

use super::jars::{self, CLUSTER_ID};
use super::reaper::Reaper;
use super::{NoBroker, START_LIMIT, metadata};
use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Instant;

/// The controller's number; brokers are counted from 1.
const CONTROLLER: u32 = 100;

/// Brokers that can be ended and started again.
#[derive(Debug)]
pub struct Cluster {
    java: PathBuf,
    libs: PathBuf,
    dir: PathBuf,
    nodes: Vec<Node>,
    /// Behind the nodes: it clears the directory.
    _cleaner: Reaper,
    /// Last.
    _turn: Turn,
}

/// So many clusters at a time: more are a dozen virtual machines on a few cores.
pub const AT_ONCE: usize = 2;

/// The right to have one. Whoever has it may hand it to another thread.
#[derive(Debug)]
struct Turn(());

static TAKEN: Mutex<usize> = Mutex::new(0);
static GIVEN_BACK: Condvar = Condvar::new();

impl Turn {
    fn take() -> Self {
        let taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = GIVEN_BACK.wait_while(taken, |taken| *taken >= AT_ONCE);
        *waited.unwrap_or_else(PoisonError::into_inner) += 1;
        Self(())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *TAKEN.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        GIVEN_BACK.notify_one();
    }
}

#[derive(Debug)]
struct Node {
    id: u32,
    port: u16,
    running: Option<(Child, Reaper)>,
}

/// How a broker ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It hands its partitions over first.
    Orderly,
    /// `kill -9`.
    Killed,
}

impl Cluster {
    /// Starts brokers 1 to `brokers`. `advertised` may name the port under which clients are told to reach a broker, for
    /// a test that stands in between; the brokers themselves talk to each other directly.
    ///
    /// # Errors
    /// [`NoBroker::Unavailable`] when no JDK or no jars can be had.
    pub fn start(brokers: u32, advertised: impl Fn(u16) -> u16) -> Result<Self, NoBroker> {
        let turn = Turn::take();
        let java = jars::java().map_err(NoBroker::Unavailable)?;
        let libs = jars::libs().map_err(NoBroker::Unavailable)?;
        let dir = tempfile::Builder::new().prefix("millstream-kafka-").tempdir();
        let dir = dir.map_err(|e| NoBroker::Broken(e.to_string()))?.keep();
        let cleaner = Reaper::new(format!("rm -rf '{}'", dir.display())).map_err(NoBroker::Broken)?;
        let mut cluster = Self {
            java,
            libs,
            dir,
            nodes: Vec::new(),
            _cleaner: cleaner,
            _turn: turn,
        };
        cluster.build(brokers, advertised).map_err(NoBroker::Broken)?;
        Ok(cluster)
    }

    fn build(&mut self, brokers: u32, advertised: impl Fn(u16) -> u16) -> Result<(), String> {
        let ports = || jars::free_ports().map_err(|e| format!("no free port: {e}"));
        let (controller, _) = ports()?;
        self.add(CONTROLLER, controller, &controller_properties(controller))?;
        for id in 1..=brokers {
            let (port, internal) = ports()?;
            let properties = broker_properties(id, (port, advertised(port)), internal, controller);
            let copies = brokers.min(2);
            self.add(
                id,
                port,
                &format!("{properties}offsets.topic.replication.factor={copies}\n"),
            )?;
        }
        for id in 1..=brokers {
            self.wait(id)?;
        }
        Ok(())
    }

    fn add(&mut self, id: u32, port: u16, properties: &str) -> Result<(), String> {
        let home = self.dir.join(id.to_string());
        fs::create_dir(&home).map_err(|e| format!("cannot make {}: {e}", home.display()))?;
        let file = home.join("server.properties");
        let properties = format!("{properties}log.dirs={}\n", home.join("data").display());
        fs::write(&file, properties).map_err(|e| format!("cannot write {}: {e}", file.display()))?;
        let format = jars::short_lived(&self.java, &self.libs, "-Xmx128m")
            .args(["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"])
            .arg(&file)
            .output();
        jars::check("formatting Kafka's data directory", format)?;
        self.nodes.push(Node {
            id,
            port,
            running: None,
        });
        self.run(id)
    }

    fn run(&mut self, id: u32) -> Result<(), String> {
        let home = self.dir.join(id.to_string());
        let running = spawn(&mut jars::short_lived(&self.java, &self.libs, "-Xmx256m"), &home)?;
        self.node(id)?.running = Some(running);
        Ok(())
    }

    fn node(&mut self, id: u32) -> Result<&mut Node, String> {
        let node = self.nodes.iter_mut().find(|node| node.id == id);
        node.ok_or_else(|| format!("there is no broker {id}"))
    }

    fn wait(&mut self, id: u32) -> Result<(), String> {
        let log = self.dir.join(format!("{id}/broker.log"));
        let server = format!("127.0.0.1:{}", self.node(id)?.port);
        let waited = metadata::wait(&server, START_LIMIT, || Ok(()));
        waited.map_err(|why| format!("{why}\nthe log of broker {id} ends with:\n{}", jars::tail(&log)))
    }

    /// Ends a broker.
    pub fn stop(&mut self, broker: u32, how: End) -> Result<(), String> {
        let Some((mut process, reaper)) = self.node(broker)?.running.take() else {
            return Ok(());
        };
        if how == End::Orderly {
            let asked = Command::new("kill").arg(process.id().to_string()).status();
            asked.map_err(|e| format!("cannot run kill: {e}"))?;
        } else {
            process
                .kill()
                .map_err(|e| format!("cannot kill broker {broker}: {e}"))?;
        }
        process
            .wait()
            .map_err(|e| format!("cannot wait for broker {broker}: {e}"))?;
        drop(reaper);
        Ok(())
    }

    /// Lets a broker stand still: its connections stay, but nothing is answered. [`Cluster::stop`] ends it as it is.
    pub fn freeze(&mut self, broker: u32) -> Result<(), String> {
        self.signal(broker, "-STOP")
    }

    /// Lets it go on.
    pub fn thaw(&mut self, broker: u32) -> Result<(), String> {
        self.signal(broker, "-CONT")
    }

    fn signal(&mut self, broker: u32, signal: &str) -> Result<(), String> {
        let Some((process, _)) = &self.node(broker)?.running else {
            return Err(format!("broker {broker} does not run"));
        };
        let asked = Command::new("kill").args([signal, &process.id().to_string()]).status();
        asked.map(drop).map_err(|e| format!("cannot run kill: {e}"))
    }

    /// Starts a broker again that was stopped, with the data it had; returns when it answers.
    pub fn restart(&mut self, broker: u32) -> Result<(), String> {
        self.run(broker)?;
        self.wait(broker)
    }

    /// Lets all brokers run, whatever was done to them.
    pub fn mend(&mut self) -> Result<(), String> {
        let ids: Vec<_> = self
            .nodes
            .iter()
            .map(|node| (node.id, node.running.is_some()))
            .collect();
        ids.into_iter().try_for_each(|(id, running)| match running {
            true => self.thaw(id),
            false => self.restart(id),
        })
    }

    /// Waits until every partition has all its replicas in step.
    pub fn wait_for_replicas(&self) -> Result<(), String> {
        let deadline = Instant::now() + START_LIMIT;
        let asked = ["--describe", "--under-replicated-partitions"];
        loop {
            let behind = self.tool("org.apache.kafka.tools.TopicCommand", &asked)?;
            if behind.trim().is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(format!("replicas do not catch up:\n{behind}"));
            }
        }
    }

    /// All brokers, as `bootstrap.servers` wants it.
    pub fn bootstrap(&self) -> String {
        let brokers = self.nodes.iter().filter(|node| node.id != CONTROLLER);
        let places: Vec<String> = brokers.map(|node| format!("127.0.0.1:{}", node.port)).collect();
        places.join(",")
    }

    /// Where a broker keeps its partitions.
    pub fn data(&self, broker: u32) -> PathBuf {
        self.dir.join(format!("{broker}/data"))
    }

    /// Runs one of Kafka's command line tools, given by its class, against the cluster; returns what it printed.
    pub fn tool(&self, class: &str, arguments: &[&str]) -> Result<String, String> {
        let mut command = jars::short_lived(&self.java, &self.libs, "-Xmx256m");
        command
            .arg(class)
            .args(["--bootstrap-server", &self.bootstrap()])
            .args(arguments);
        let output = command.output().map_err(|e| format!("cannot run {class}: {e}"))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        match output.status.success() {
            true => Ok(text),
            false => Err(format!(
                "{class}: {}\n{text}{}",
                output.status,
                String::from_utf8_lossy(&output.stderr)
            )),
        }
    }
}

fn spawn(command: &mut Command, home: &Path) -> Result<(Child, Reaper), String> {
    let log = home.join("broker.log");
    let out = File::options().create(true).append(true).open(&log);
    let out = out.and_then(|out| Ok((out.try_clone()?, out)));
    let (out, err) = out.map_err(|e| format!("cannot write {}: {e}", log.display()))?;
    let process = command
        .arg("kafka.Kafka")
        .arg(home.join("server.properties"))
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .process_group(0)
        .spawn()
        .map_err(|e| format!("cannot start a broker: {e}"))?;
    let (pid, path) = (process.id(), home.display());
    let reaper = Reaper::new(format!("grep -qaF '{path}' /proc/{pid}/cmdline && kill -9 {pid}"))?;
    Ok((process, reaper))
}

/// A dead broker is given up after two seconds instead of nine: that is time a test waits. It is the controller that counts.
fn common(controller: u16) -> String {
    let own = ["process.roles=", "node.id=", "listener.security.protocol.map="];
    let shared: Vec<&str> = jars::settings()
        .lines()
        .filter(|line| !own.iter().any(|own| line.starts_with(own)))
        .collect();
    format!(
        "{}\nlistener.security.protocol.map=CLIENTS:PLAINTEXT,BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
         controller.quorum.voters={CONTROLLER}@127.0.0.1:{controller}\nbroker.session.timeout.ms=2000\n",
        shared.join("\n")
    )
}

fn controller_properties(port: u16) -> String {
    format!(
        "{}process.roles=controller\nnode.id={CONTROLLER}\nlisteners=CONTROLLER://127.0.0.1:{port}\n",
        common(port)
    )
}

/// `clients`: where clients are listened to, and where they are told to go; `internal`: the same for other brokers.
fn broker_properties(id: u32, clients: (u16, u16), internal: u16, controller: u16) -> String {
    let (port, advertised) = clients;
    format!(
        "{}process.roles=broker\n\
         node.id={id}\n\
         listeners=CLIENTS://127.0.0.1:{port},BROKER://127.0.0.1:{internal}\n\
         advertised.listeners=CLIENTS://127.0.0.1:{advertised},BROKER://127.0.0.1:{internal}\n\
         broker.heartbeat.interval.ms=500\n",
        common(controller)
    )
}
