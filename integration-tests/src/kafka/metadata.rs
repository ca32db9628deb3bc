//! Is there a broker, and is it ready? Asked in Kafka's own protocol: a Metadata request, version 1, for no topics.
//! A broker that lists itself and names a controller takes requests; an open port alone does not say that.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Waits until the first server of `bootstrap` answers; gives up after `limit` or when `alive` fails.
pub(super) fn wait(bootstrap: &str, limit: Duration, alive: impl Fn() -> Result<(), String>) -> Result<(), String> {
    let server = bootstrap.split(',').next().unwrap_or_default().trim().to_owned();
    let what = format!("the Kafka broker at {server}");
    super::poll(limit, &what, alive, || ask(&server).map_err(|e| e.to_string()))
}

/// One question to one server.
fn ask(server: &str) -> io::Result<()> {
    let address = server
        .to_socket_addrs()?
        .next()
        .ok_or_else(|| io::Error::other("the name has no address"))?;
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_LIMIT)?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    stream.set_write_timeout(Some(ANSWER_LIMIT))?;
    stream.write_all(&request())?;

    let mut size = [0; 4];
    stream.read_exact(&mut size)?;
    let size = u32::from_be_bytes(size).min(1 << 20);
    let mut answer = vec![0; size as usize];
    stream.read_exact(&mut answer)?;
    // correlation id, then the array of brokers
    match answer
        .get(4..8)
        .map(|count| i32::from_be_bytes([count[0], count[1], count[2], count[3]]))
    {
        Some(brokers) if brokers > 0 => Ok(()),
        Some(_) => Err(io::Error::other("it lists no broker yet")),
        None => Err(io::Error::other("it does not speak Kafka's protocol")),
    }
}

/// Length, then header v1 (api key, version, correlation id, client id) and an empty list of topics.
fn request() -> Vec<u8> {
    const CLIENT: &[u8] = b"millstream-tests";
    let mut body = Vec::new();
    body.extend(3_i16.to_be_bytes());
    body.extend(1_i16.to_be_bytes());
    body.extend(1_i32.to_be_bytes());
    body.extend((CLIENT.len() as i16).to_be_bytes());
    body.extend(CLIENT);
    body.extend(0_i32.to_be_bytes());
    let mut frame = (body.len() as i32).to_be_bytes().to_vec();
    frame.extend(body);
    frame
}
