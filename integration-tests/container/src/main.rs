//! Apache Kafka's own image in a container, for as long as somebody listens.
//!
//! `kafka-container TAG PORT [NAME=VALUE ...]` starts `apache/kafka:TAG` with these variables, its port PORT published as
//! the same port of 127.0.0.1. It writes the container's id on a line, and then waits:
//!
//! - when its input ends, it removes the container: so the container ends with the process that holds the other end of the
//!   pipe, however that process ends;
//! - when its input says `keep`, it leaves the container running and ends;
//! - when the container ends by itself, it says what the container wrote last, and fails.

use std::io::{self, BufRead as _};
use std::process::ExitCode;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;
use testcontainers::core::IntoContainerPort as _;
use testcontainers::runners::SyncRunner as _;
use testcontainers::{Container, ContainerRequest, GenericImage, ImageExt as _};

const USAGE: &str = "usage: kafka-container TAG PORT [NAME=VALUE ...]";
/// Between two looks at the container.
const GLANCE: Duration = Duration::from_millis(500);
/// Of what a container that failed wrote: enough for the reason, which comes last.
const LAST_WORDS: usize = 5;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> Result<(), String> {
    let container = request(args)?
        .start()
        .map_err(|e| format!("the Docker engine did not start Kafka: {e}"))?;
    println!("{}", container.id());
    let said = input();
    loop {
        match said.recv_timeout(GLANCE) {
            Ok(line) if line == "keep" => {
                std::mem::forget(container);
                return Ok(());
            }
            Ok(line) => return Err(format!("'{line}' is not understood; end the input, or say keep")),
            // The library removes it when it is dropped.
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Err(RecvTimeoutError::Timeout) => alive(&container)?,
        }
    }
}

fn request(args: &[String]) -> Result<ContainerRequest<GenericImage>, String> {
    let [tag, port, variables @ ..] = args else {
        return Err(USAGE.to_owned());
    };
    let port: u16 = port.parse().map_err(|e| format!("the port {port}: {e}; {USAGE}"))?;
    let mut request = GenericImage::new("apache/kafka", tag)
        .with_mapped_port(port, port.tcp())
        // Nobody else's: the library would publish it on every interface.
        .with_host_config_modifier(|host| {
            let bindings = host.port_bindings.iter_mut().flat_map(|bindings| bindings.values_mut());
            for binding in bindings.flatten().flatten() {
                binding.host_ip = Some("127.0.0.1".to_owned());
            }
        });
    for variable in variables {
        let (name, value) = variable
            .split_once('=')
            .ok_or_else(|| format!("{variable} is no NAME=VALUE; {USAGE}"))?;
        request = request.with_env_var(name, value);
    }
    Ok(request)
}

/// The lines of the input; closed at its end.
fn input() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

fn alive(container: &Container<GenericImage>) -> Result<(), String> {
    match container.is_running() {
        Ok(true) => Ok(()),
        Ok(false) => Err(format!("the container ended by itself: {}", last_words(container))),
        Err(error) => Err(format!("the Docker engine does not answer any more: {error}")),
    }
}

fn last_words(container: &Container<GenericImage>) -> String {
    let out = container.stdout_to_vec().unwrap_or_default();
    let text = String::from_utf8_lossy(&out);
    let lines: Vec<&str> = text.lines().collect();
    let last = lines.len().saturating_sub(LAST_WORDS);
    lines.get(last..).unwrap_or_default().join(" | ")
}
