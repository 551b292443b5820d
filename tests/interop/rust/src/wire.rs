//! The server as another program sees it, and a view on what the client sends.

use std::env;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The `host:port` of every server, with commas between, from the first argument.
pub fn server() -> String {
    let base = std::env::args().nth(1).unwrap_or_else(|| "http://127.0.0.1:8848".into());
    base.replace("http://", "").trim_end_matches('/').into()
}

/// Connects to the first server that is there.
async fn connect() -> std::io::Result<TcpStream> {
    let addresses: Vec<SocketAddr> =
        server().split(',').filter_map(|address| address.parse().ok()).collect();
    TcpStream::connect(addresses.as_slice()).await
}

/// Name and password of the user, where the server asks for one.
pub fn user() -> Option<(String, String)> {
    Some((env::var("NACOS_USERNAME").ok()?, env::var("NACOS_PASSWORD").ok()?))
}

/// The answer to a GET, without any client library.
pub async fn get(target: &str) -> String {
    let Some((name, password)) = user() else { return exchange("GET", target, "").await };
    let login = format!("/nacos/v1/auth/users/login?username={name}&password={password}");
    let answer = exchange("POST", &login, "").await;
    let token = answer.split("\"accessToken\":\"").nth(1).and_then(|rest| rest.split('"').next());
    exchange("GET", target, &format!("accessToken: {}\r\n", token.unwrap_or_default())).await
}

async fn exchange(method: &str, target: &str, headers: &str) -> String {
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n{headers}\
         Connection: close\r\n\r\n"
    );
    let exchange = async {
        let mut stream = connect().await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        std::io::Result::Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    // While a server restarts there is nothing to read; who looks again will see it.
    exchange.await.unwrap_or_default()
}

/// Ports of the instances of a service, sorted, as any caller would list them.
pub async fn ports(group: &str, service: &str) -> Vec<u32> {
    let target = format!("/nacos/v1/ns/instance/list?serviceName={service}&groupName={group}");
    let answer = get(&target).await;
    let numbers = answer.split("\"port\":").skip(1);
    let mut ports: Vec<u32> = numbers
        .filter_map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok())
        .collect();
    ports.sort_unstable();
    ports
}

/// Stands between the client and the server and counts long polls: a client that spins looks fine
/// from its listeners.
pub struct Counter {
    /// Where the client is to connect to.
    pub address: SocketAddr,
    polls: Arc<AtomicUsize>,
}

impl Counter {
    /// Starts to listen.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let polls = Arc::new(AtomicUsize::new(0));
        let seen = polls.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, seen.clone()));
            }
        });
        Self { address, polls }
    }

    /// How many long polls the client has begun.
    pub fn polls(&self) -> usize {
        self.polls.load(Ordering::Relaxed)
    }
}

async fn pass(mut client: TcpStream, polls: Arc<AtomicUsize>) {
    let Ok(mut server) = connect().await else { return };
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let up = async {
        let mut part = vec![0; 65536];
        while let Ok(count) = from_client.read(&mut part).await {
            if count == 0 || to_server.write_all(&part[..count]).await.is_err() {
                break;
            }
            // A request line is never split: the client writes each head at once.
            let begun =
                part[..count].windows(33).filter(|w| w == b"POST /nacos/v1/cs/configs/listene");
            polls.fetch_add(begun.count(), Ordering::Relaxed);
        }
    };
    tokio::select! {
        () = up => {}
        _ = tokio::io::copy(&mut from_server, &mut to_client) => {}
    }
}
