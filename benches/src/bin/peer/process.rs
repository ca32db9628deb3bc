//! The systems under test as processes: started on a core of their own, watched through `/proc`, always ended.

use crate::Result;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Where the system under test runs; the broker and this driver run on the other core (`scripts/bench-peer.sh` sees to it).
const CORE: &str = "0";
/// How long a system may take to end when asked to.
const END_LIMIT: Duration = Duration::from_secs(30);
/// `/proc` counts CPU time in hundredths of a second.
const TICKS: f64 = 100.0;

/// Which system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Millstream.
    Ours,
    /// Kafka Streams.
    Peer,
}

impl Side {
    /// As it is called in results.
    pub fn name(self) -> &'static str {
        match self {
            Side::Ours => "millstream",
            Side::Peer => "kafka-streams",
        }
    }

    /// As part of topic names and group names.
    pub fn short(self) -> &'static str {
        match self {
            Side::Ours => "ours",
            Side::Peer => "peer",
        }
    }
}

/// Where the two programs are.
pub struct Programs {
    /// `millstream-workloads`.
    pub ours: PathBuf,
    /// The peer's Maven `target` directory.
    pub peer: PathBuf,
}

/// What a system is to do: the common command line.
pub struct Job<'a> {
    /// Workload.
    pub workload: &'a str,
    /// Consumer group, prefix of internal topics.
    pub app: &'a str,
    /// Input topics, with a comma between them.
    pub input: &'a str,
    /// Output topic.
    pub output: &'a str,
    /// `expert` or `defaults`.
    pub mode: &'a str,
    /// Further settings.
    pub settings: Vec<String>,
    /// Where state, and the log, are kept.
    pub dir: &'a Path,
    /// The broker.
    pub bootstrap: &'a str,
}

/// A moment that a system told of.
#[derive(Debug, Clone)]
pub struct Mark {
    /// Which.
    pub name: String,
    /// When it was read.
    pub at: Instant,
    /// CPU time of the process then, seconds.
    pub cpu: f64,
}

/// A running system under test.
pub struct System {
    child: Child,
    /// Ends the system if this process goes without doing so.
    guard: Child,
    marks: Arc<Mutex<Vec<Mark>>>,
    log: PathBuf,
    /// When it was started.
    pub started: Instant,
}

impl System {
    /// Starts it.
    pub fn start(programs: &Programs, side: Side, job: &Job<'_>) -> Result<Self> {
        Self::spawn(command(programs, side, job), side.name(), job.dir)
    }

    /// Starts what the command says; `dir` is to hold the log.
    pub fn spawn(mut command: Command, name: &str, dir: &Path) -> Result<Self> {
        let log = dir.join("log");
        let out = File::create(&log)?;
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(out)
            .process_group(0);
        let started = Instant::now();
        let mut child = command.spawn().map_err(|e| format!("cannot start {name}: {e}"))?;
        let pid = child.id();
        let guard = Command::new("sh")
            .args(["-c", &format!("read -r _; kill -9 {pid}")])
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let marks = Arc::new(Mutex::new(Vec::new()));
        if let Some(stdout) = child.stdout.take() {
            let marks = marks.clone();
            thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(std::result::Result::ok) {
                    if let Some(name) = line.strip_prefix("MARK ").and_then(|rest| rest.split(' ').next()) {
                        let mark = Mark {
                            name: name.to_owned(),
                            at: Instant::now(),
                            cpu: cpu_seconds(pid),
                        };
                        marks.lock().unwrap_or_else(PoisonError::into_inner).push(mark);
                    }
                }
            });
        }
        Ok(Self {
            child,
            guard,
            marks,
            log,
            started,
        })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The marks so far whose name begins like this.
    pub fn marks(&self, prefix: &str) -> Vec<Mark> {
        let marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        marks
            .iter()
            .filter(|mark| mark.name.starts_with(prefix))
            .cloned()
            .collect()
    }

    /// An error if it ended by itself.
    pub fn alive(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(self.fault(&format!("ended by itself: {status}"))),
        }
    }

    /// An error with the end of its log.
    pub fn fault(&self, what: &str) -> Box<dyn std::error::Error + Send + Sync> {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(20)..).unwrap_or_default();
        format!("the system under test {what}; its log ends with:\n{}", tail.join("\n")).into()
    }

    /// Waits until this many marks begin like this.
    pub fn wait_for(&mut self, prefix: &str, count: usize, limit: Duration) -> Result<Vec<Mark>> {
        let start = Instant::now();
        loop {
            let marks = self.marks(prefix);
            if marks.len() >= count {
                return Ok(marks);
            }
            self.alive()?;
            if start.elapsed() > limit {
                return Err(self.fault(&format!("did not say {prefix} within {} s", limit.as_secs())));
            }
            nap(5);
        }
    }

    /// Asks it to end, and waits until it has.
    pub fn end(mut self) -> Result<()> {
        self.terminate()
    }

    fn terminate(&mut self) -> Result<()> {
        if self.child.try_wait()?.is_none() {
            let pid = self.child.id().to_string();
            Command::new("kill").args(["-TERM", &pid]).status()?;
            let start = Instant::now();
            while self.child.try_wait()?.is_none() {
                if start.elapsed() > END_LIMIT {
                    self.child.kill()?;
                    self.child.wait()?;
                    return Err(self.fault("did not end when asked to"));
                }
                nap(10);
            }
        }
        Ok(())
    }
}

impl Drop for System {
    fn drop(&mut self) {
        if let Err(why) = self.terminate() {
            eprintln!("{why}");
        }
        // Killed while it still waits, the guard never comes to its own kill.
        let _ = self.guard.kill();
        let _ = self.guard.wait();
    }
}

/// Runs the program that is added to it where systems under test run.
pub fn on_their_core() -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", CORE]);
    command
}

/// A program of the JDK: that of `JAVA_HOME`, else of the path.
pub fn jdk(program: &str) -> PathBuf {
    std::env::var_os("JAVA_HOME").map_or(program.into(), |home| Path::new(&home).join("bin").join(program))
}

fn command(programs: &Programs, side: Side, job: &Job<'_>) -> Command {
    let mut command = on_their_core();
    match side {
        Side::Ours => {
            command.arg(&programs.ours).env("RUST_LOG", "warn");
        }
        Side::Peer => {
            command.arg(jdk("java"));
            if job.mode == "expert" {
                command.args(["-Xms2g", "-Xmx2g", "-XX:+UseG1GC"]);
            }
            let target = programs.peer.display();
            command.args([
                "-cp",
                &format!("{target}/classes:{target}/libs/*"),
                "millstream.peer.Main",
            ]);
        }
    }
    command.args([
        "--workload",
        job.workload,
        "--bootstrap",
        job.bootstrap,
        "--app-id",
        job.app,
    ]);
    command.args(["--in", job.input, "--out", job.output, "--mode", job.mode]);
    command.arg("--state-dir").arg(job.dir.join("state"));
    if !job.settings.is_empty() {
        command.arg("--").args(&job.settings);
    }
    command
}

/// CPU time of a process so far, all its threads, user and system, in seconds; 0 if it is gone.
pub fn cpu_seconds(pid: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Behind the name, which may hold anything: state is field 3, utime 14, stime 15.
    let rest = text.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let ticks = rest.split(' ').skip(11).take(2).filter_map(|n| n.parse::<f64>().ok());
    ticks.sum::<f64>() / TICKS
}

/// The most memory a process ever held, in MiB.
pub fn peak_rss_mib(pid: u32) -> f64 {
    number_after(&format!("/proc/{pid}/status"), "VmHWM:") / 1024.0
}

/// What a process had written to disk, in MiB.
pub fn written_mib(pid: u32) -> f64 {
    number_after(&format!("/proc/{pid}/io"), "write_bytes:") / f64::from(1 << 20)
}

fn number_after(path: &str, name: &str) -> f64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    let found = text.lines().find_map(|line| line.strip_prefix(name));
    found
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0.0)
}

/// A pause between two looks at something that is awaited.
pub fn nap(ms: u64) {
    thread::sleep(Duration::from_millis(ms));
}
