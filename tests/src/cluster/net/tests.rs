#![allow(clippy::unwrap_used)]

use std::{
    process::{Child, Stdio},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use super::*;
use crate::cluster::disk::python;

/// Long enough for what arrives to arrive.
const SOON: Duration = Duration::from_secs(20);
/// What does not arrive is waited for so long.
const A_WHILE: Duration = Duration::from_millis(700);

/// Gives back what it gets on port 7001. On port 7000, of whoever connects it takes an address and passes everything on there.
const PROGRAM: &str = "import socket, socketserver, sys, threading\n\
class Echo(socketserver.BaseRequestHandler):\n\
\x20   def handle(self):\n\
\x20       while data := self.request.recv(99): self.request.sendall(data)\n\
class Relay(socketserver.BaseRequestHandler):\n\
\x20   def handle(self):\n\
\x20       to = socket.create_connection((self.request.recv(99).decode(), 7001))\n\
\x20       self.request.sendall(b'!')\n\
\x20       while data := self.request.recv(99):\n\
\x20           to.sendall(data)\n\
\x20           self.request.sendall(to.recv(99))\n\
socketserver.ThreadingTCPServer.allow_reuse_address = True\n\
echo = socketserver.ThreadingTCPServer((sys.argv[1], 7001), Echo)\n\
threading.Thread(target=echo.serve_forever, daemon=True).start()\n\
socketserver.ThreadingTCPServer((sys.argv[1], 7000), Relay).serve_forever()\n";

struct Part {
    ip: IpAddr,
    process: Child,
}

impl Part {
    fn start(net: &Net) -> Self {
        let place = net.place().unwrap();
        let mut command = place.command(&python());
        command.args(["-c", PROGRAM]).arg(place.ip.to_string()).stdin(Stdio::null());
        Self { ip: place.ip, process: command.spawn().unwrap() }
    }

    async fn connect(&self) -> TcpStream {
        let deadline = Instant::now() + SOON;
        loop {
            match TcpStream::connect((self.ip, 7000)).await {
                Ok(stream) => return stream,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// A connection to this part, and by it to another.
    async fn connect_to(&self, other: &Self) -> TcpStream {
        let mut stream = self.connect().await;
        stream.write_all(other.ip.to_string().as_bytes()).await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'!');
        stream
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Sends a byte there and back again; how long it takes.
async fn ask(stream: &mut TcpStream) -> Duration {
    let begun = Instant::now();
    stream.write_u8(7).await.unwrap();
    timeout(SOON, stream.read_u8()).await.unwrap().unwrap();
    begun.elapsed()
}

#[tokio::test]
async fn packets_of_established_connections_are_dropped_and_come_again() {
    if !is_apart() {
        let test = "cluster::net::tests::packets_of_established_connections_are_dropped_and_come_again";
        // Where it is not allowed there is nothing to test, and the faults say that they use proxies.
        if let Some(ended) = run_apart(test).unwrap() {
            assert!(ended.success());
        }
        return;
    }
    let net = Net::new().unwrap();
    let (one, other) = (Part::start(&net), Part::start(&net));
    drop(other.connect().await);
    let mut stream = one.connect_to(&other).await;
    ask(&mut stream).await;
    let line = net.line(one.ip, (other.ip, 7001).into()).await.unwrap();
    for passage in [
        Passage::SILENT,
        Passage::Silent { to_target: true, from_target: false },
        Passage::Silent { to_target: false, from_target: true },
        Passage::Cut,
    ] {
        line.set(passage).unwrap();
        stream.write_u8(7).await.unwrap();
        timeout(A_WHILE, stream.read_u8()).await.unwrap_err();
        // This process reaches both all the time.
        other.connect().await;
        line.set(Passage::Open).unwrap();
        timeout(SOON, stream.read_u8()).await.unwrap().unwrap();
    }
    let delay = Duration::from_millis(150);
    line.set(Passage::Late(delay)).unwrap();
    assert!(ask(&mut stream).await >= 2 * delay);
    line.set(Passage::Open).unwrap();
    ask(&mut stream).await;
}
