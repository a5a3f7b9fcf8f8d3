//! A TCP proxy: what one process sees of another until somebody cuts the line, or lets it go silent.

use std::{net::SocketAddr, time::Duration};

use anyhow::Result;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    time::{Instant, sleep_until},
};
use tokio_util::task::TaskTracker;

/// Most that is taken from one side at once.
const CHUNK_BYTES: usize = 16 * 1024;

/// What a [`Proxy`] lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    /// Everything, at once.
    Open,
    /// Nothing: connections are closed, new ones at once.
    Cut,
    /// Connections stay and new ones are accepted, but what is sent in these directions does not arrive until the line is mended, as
    /// with packets that are dropped and sent again.
    Silent {
        /// From whoever connected to the target.
        to_target: bool,
        /// From the target to whoever connected.
        from_target: bool,
    },
    /// Everything, so much later.
    Late(Duration),
}

impl Passage {
    /// Silent in both directions.
    pub const SILENT: Self = Self::Silent { to_target: true, from_target: true };

    /// The same for who looks from the other end.
    #[must_use]
    pub fn reversed(self) -> Self {
        match self {
            Self::Silent { to_target, from_target } => Self::Silent { to_target: from_target, from_target: to_target },
            Self::Open | Self::Cut | Self::Late(_) => self,
        }
    }

    /// When what came at `now` may go on; `None` while the line is silent that way.
    fn due(self, way: Way, now: Instant) -> Option<Instant> {
        match self {
            Self::Open | Self::Cut => Some(now),
            Self::Late(delay) => Some(now + delay),
            Self::Silent { to_target, from_target } => {
                let silent = match way {
                    Way::ToTarget => to_target,
                    Way::FromTarget => from_target,
                };
                (!silent).then_some(now)
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Way {
    ToTarget,
    FromTarget,
}

/// A listener on loopback that passes connections on to one target.
pub struct Proxy {
    address: SocketAddr,
    passage: watch::Sender<Passage>,
    tasks: TaskTracker,
}

impl Proxy {
    /// Listens on a free port and passes everything on to the target.
    pub async fn start(target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (passage, state) = watch::channel(Passage::Open);
        let tasks = TaskTracker::new();
        tasks.spawn(accept(listener, target, state, tasks.clone()));
        Ok(Self { address, passage, tasks })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `nats://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// Changes what it lets through.
    pub fn set(&self, passage: Passage) {
        self.passage.send_replace(passage);
    }

    /// Ends every connection, and each new one, until it is [mended](Self::mend).
    pub fn cut(&self) {
        self.set(Passage::Cut);
    }

    /// Lets everything through again.
    pub fn mend(&self) {
        self.set(Passage::Open);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
        self.tasks.close();
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, state: watch::Receiver<Passage>, tasks: TaskTracker) {
    let mut ended = state.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = ended.wait_for(|_| false) => return, // only the end of the proxy resolves it
        };
        let Ok((client, _)) = accepted else { return };
        if *state.borrow() == Passage::Cut {
            continue;
        }
        tasks.spawn(join(client, target, state.clone()));
    }
}

/// Passes on in both directions until both have ended, one has failed, or the line is cut.
async fn join(client: TcpStream, target: SocketAddr, state: watch::Receiver<Passage>) {
    let Ok(server) = TcpStream::connect(target).await else { return };
    // Small messages wait for nothing: the proxy must not be what makes a cluster slow.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let mut cut = state.clone();
    let both = async {
        tokio::try_join!(
            pass(from_client, to_server, Way::ToTarget, state.clone()),
            pass(from_server, to_client, Way::FromTarget, state.clone())
        )
    };
    tokio::select! {
        _ = both => {}
        _ = cut.wait_for(|passage| *passage == Passage::Cut) => {}
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    way: Way,
    mut state: watch::Receiver<Passage>,
) -> std::io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let length = from.read(&mut chunk).await?;
        let came = Instant::now();
        let due = state.wait_for(|passage| passage.due(way, came).is_some()).await;
        // Without a proxy nothing is late or silent any more.
        let due = due.map(|passage| passage.due(way, came)).ok().flatten();
        if let Some(due) = due.filter(|due| *due > came) {
            sleep_until(due).await;
        }
        if length == 0 {
            return to.shutdown().await;
        }
        to.write_all(&chunk[..length]).await?;
    }
}

#[cfg(test)]
#[path = "proxy/tests.rs"]
mod tests;
