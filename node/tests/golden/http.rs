//! One request over one connection, with the headers that were recorded and no others.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::compare::Answer;
use super::request::Request;

/// The longest wait for an answer: a long poll that nothing wakes takes half a minute.
const LIMIT: Duration = Duration::from_secs(40);

pub(crate) fn ask(address: &str, request: &Request, token: Option<&str>) -> Answer {
    let with = |text: &str| text.replace("<token>", token.unwrap_or("<token>"));
    let mut stream = TcpStream::connect(address).expect("the node accepts connections");
    stream.set_read_timeout(Some(LIMIT)).expect("the socket is open");
    let mut head = format!("{} {} HTTP/1.1\r\nhost: {address}\r\n", request.method, request.target);
    let body = with(&request.body);
    for (name, value) in &request.headers {
        head += &format!("{name}: {}\r\n", with(value));
    }
    if !matches!(request.method.as_str(), "GET" | "HEAD") || !body.is_empty() {
        head += &format!("content-length: {}\r\n", body.len());
    }
    head += "connection: close\r\n\r\n";
    stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).expect("the node reads");
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).expect("a line");
    let status = line.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    let mut headers = BTreeMap::new();
    loop {
        line.clear();
        stream.read_line(&mut line).expect("a line");
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    Answer { status, body: String::from_utf8_lossy(&body_of(stream, &headers)).into_owned() }
}

fn body_of(mut stream: impl BufRead, headers: &BTreeMap<String, String>) -> Vec<u8> {
    let mut body = Vec::new();
    if headers.get("transfer-encoding").is_some_and(|coding| coding == "chunked") {
        let mut line = String::new();
        loop {
            line.clear();
            stream.read_line(&mut line).expect("a line");
            let length = usize::from_str_radix(line.trim_end(), 16).expect("the size of a chunk");
            let start = body.len();
            body.resize(start + length, 0);
            stream.read_exact(&mut body[start..]).expect("a chunk");
            line.clear();
            stream.read_line(&mut line).expect("the end of a chunk");
            if length == 0 {
                return body;
            }
        }
    }
    // A server that closes says by this where the body ends.
    stream.read_to_end(&mut body).expect("a body");
    body
}
