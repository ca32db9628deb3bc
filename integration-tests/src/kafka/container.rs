//! Apache Kafka's own image, where a Docker engine answers. Driven by the `docker` command: what is needed is four
//! of its verbs, and a client library for it would add 200 packages to the lock file
//! (`docs/decisions/0002-real-kafka-in-tests.md`).

use super::reaper::Reaper;
use super::{START_LIMIT, VERSION, jars, metadata};
use std::process::{Command, Stdio};

/// A running container.
#[derive(Debug)]
pub(super) struct Container {
    id: String,
    port: u16,
    reaper: Reaper,
}

/// Is there more than the command?
pub(super) fn engine_answers() -> bool {
    let quiet = Command::new("docker")
        .args(["version", "--format", "{{.Server.Version}}"])
        .stderr(Stdio::null())
        .output();
    quiet.is_ok_and(|output| output.status.success())
}

impl Container {
    pub(super) fn start() -> Result<Self, String> {
        let (port, _) = jars::free_ports().map_err(|e| format!("no free port: {e}"))?;
        let mut run = Command::new("docker");
        run.args(["run", "--detach", "--publish", &format!("127.0.0.1:{port}:{port}")]);
        for setting in settings(port) {
            run.args(["--env", &setting]);
        }
        let output = run.arg(format!("apache/kafka:{VERSION}")).output();
        let output = output.map_err(|e| format!("cannot run docker: {e}"))?;
        if !output.status.success() {
            return Err(format!("docker run: {}", String::from_utf8_lossy(&output.stderr)));
        }
        let id = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let reaper = Reaper::new(format!("docker rm --force --volumes {id}"))?;
        let container = Self { id, port, reaper };
        metadata::wait(&container.bootstrap(), START_LIMIT, || container.alive())?;
        Ok(container)
    }

    fn alive(&self) -> Result<(), String> {
        let state = Command::new("docker")
            .args(["inspect", "--format", "{{.State.Running}}", &self.id])
            .output();
        match state {
            Ok(output) if output.stdout.starts_with(b"true") => Ok(()),
            _ => Err(format!("the container ended by itself; see: docker logs {}", self.id)),
        }
    }

    pub(super) fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn keep(self) -> String {
        self.reaper.dismiss()
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

#[cfg(test)]
mod tests {
    #[test]
    fn settings_take_the_form_that_the_image_reads() {
        let settings = super::settings(1234);
        assert!(settings.contains(&"KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS=0".to_owned()));
        assert!(settings.contains(&"KAFKA_ADVERTISED_LISTENERS=BROKER://127.0.0.1:1234".to_owned()));
    }
}
