//! What a Docker engine is asked for, shown by one that only writes down what it hears: so it is known on machines without
//! an engine too.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

const ID: &str = "0123456789abcdef";

/// Method, path and body of each request.
type Request = (String, String, Value);

struct Engine {
    dir: TempDir,
    heard: Arc<Mutex<Vec<Request>>>,
}

impl Engine {
    /// Its containers run until they are removed, or end at once.
    fn new(running: bool) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let listener = UnixListener::bind(dir.path().join("docker.sock")).expect("bound");
        let heard = Arc::default();
        let engine = Self { dir, heard };
        let notes = engine.heard.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let notes = notes.clone();
                std::thread::spawn(move || serve(stream, &notes, running));
            }
        });
        engine
    }

    fn keeper(&self) -> Child {
        Command::new(env!("CARGO_BIN_EXE_kafka-container"))
            .args(["4.3.1", "19092", "KAFKA_NODE_ID=1", "KAFKA_LISTENERS=A://:1,B://:2"])
            .env(
                "DOCKER_HOST",
                format!("unix://{}/docker.sock", self.dir.path().display()),
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the keeper runs")
    }

    /// The body and the path of the first such request.
    fn asked(&self, method: &str, part: &str) -> Option<(String, Value)> {
        let heard = self.heard.lock().expect("not poisoned");
        let found = heard.iter().find(|(m, path, _)| m == method && path.contains(part));
        found.map(|(_, path, body)| (path.clone(), body.clone()))
    }
}

fn serve(stream: UnixStream, heard: &Mutex<Vec<Request>>, running: bool) {
    let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
    let mut writer = stream;
    while let Some((method, path, body)) = request(&mut reader) {
        let (status, answer) = answer(&method, &path, running);
        heard.lock().expect("not poisoned").push((method, path, body));
        let text = answer.map_or(String::new(), |answer| answer.to_string());
        let sent = write!(
            writer,
            "HTTP/1.1 {status} x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{text}",
            text.len()
        );
        if sent.is_err() {
            return;
        }
    }
}

fn request(reader: &mut impl BufRead) -> Option<Request> {
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let mut words = first.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim().to_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        assert_ne!(line, "transfer-encoding: chunked", "the client sends whole bodies");
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((method, path, serde_json::from_slice(&body).unwrap_or(Value::Null)))
}

fn answer(method: &str, path: &str, running: bool) -> (u16, Option<Value>) {
    let path = path.split('?').next().unwrap_or_default();
    match method {
        "GET" if path.ends_with("/_ping") => (200, Some(json!("OK"))),
        "POST" if path.ends_with("/containers/create") => (201, Some(json!({"Id": ID, "Warnings": []}))),
        "POST" if path.ends_with("/start") => (204, None),
        "GET" if path.ends_with("/json") => {
            let state = json!({"Running": running, "ExitCode": 1});
            (200, Some(json!({"Id": ID, "State": state})))
        }
        "DELETE" => (204, None),
        _ => (404, Some(json!({"message": "not here"}))),
    }
}

fn first_line(keeper: &mut Child) -> String {
    let mut line = String::new();
    let out = keeper.stdout.as_mut().expect("piped");
    BufReader::new(out).read_line(&mut line).expect("a line");
    line.trim().to_owned()
}

fn end(keeper: Child) -> (Output, String) {
    let output = keeper.wait_with_output().expect("the keeper ends");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, said)
}

#[test]
fn kafka_is_started_on_loopback_and_removed_when_nobody_listens_any_more() {
    let engine = Engine::new(true);
    let mut keeper = engine.keeper();
    assert_eq!(first_line(&mut keeper), ID);
    assert!(engine.asked("DELETE", ID).is_none());
    drop(keeper.stdin.take());
    let (output, said) = end(keeper);
    assert!(output.status.success(), "{said}");

    let (_, create) = engine.asked("POST", "/containers/create").expect("made");
    assert_eq!(create["Image"], "apache/kafka:4.3.1");
    let env = create["Env"].as_array().expect("a list");
    assert!(env.contains(&json!("KAFKA_NODE_ID=1")), "{env:?}");
    assert!(env.contains(&json!("KAFKA_LISTENERS=A://:1,B://:2")), "{env:?}");
    let bindings = &create["HostConfig"]["PortBindings"];
    assert_eq!(
        *bindings,
        json!({"19092/tcp": [{"HostIp": "127.0.0.1", "HostPort": "19092"}]})
    );
    engine
        .asked("POST", &format!("/containers/{ID}/start"))
        .expect("started");
    let (removal, _) = engine.asked("DELETE", &format!("/containers/{ID}")).expect("removed");
    assert!(
        removal.contains("force=true") && removal.contains("v=true"),
        "{removal}"
    );
}

#[test]
fn kafka_is_kept_when_that_is_wanted() {
    let engine = Engine::new(true);
    let mut keeper = engine.keeper();
    assert_eq!(first_line(&mut keeper), ID);
    keeper.stdin.take().expect("piped").write_all(b"keep\n").expect("told");
    let (output, said) = end(keeper);
    assert!(output.status.success(), "{said}");
    assert!(engine.asked("DELETE", "").is_none());
}

#[test]
fn a_container_that_ends_by_itself_is_told() {
    let engine = Engine::new(false);
    let mut keeper = engine.keeper();
    assert_eq!(first_line(&mut keeper), ID);
    let (output, said) = end_of_itself(keeper);
    assert!(!output.status.success() && said.contains("ended by itself"), "{said}");
    engine.asked("DELETE", ID).expect("removed");
}

/// `wait_with_output` would close the input first.
fn end_of_itself(mut keeper: Child) -> (Output, String) {
    let input = keeper.stdin.take();
    let ended = end(keeper);
    drop(input);
    ended
}

#[test]
fn an_engine_that_refuses_is_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let engine = Engine {
        dir,
        heard: Arc::default(),
    };
    let (output, said) = end(engine.keeper());
    assert!(
        !output.status.success() && said.contains("did not start Kafka"),
        "{said}"
    );
}
