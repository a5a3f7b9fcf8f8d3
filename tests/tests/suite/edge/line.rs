//! A connection that can be cut.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinHandle},
};

/// Passes connections on to an address. Dropping it cuts them and takes no more.
pub(super) struct Line {
    address: SocketAddr,
    open: Arc<Mutex<Vec<AbortHandle>>>,
    accepts: JoinHandle<()>,
}

impl Line {
    pub(super) async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let open = Arc::new(Mutex::new(Vec::new()));
        let accepts = tokio::spawn({
            let open = open.clone();
            async move {
                while let Ok((mut near, _)) = listener.accept().await {
                    let passes = tokio::spawn(async move {
                        let mut far = TcpStream::connect(target).await.unwrap();
                        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                    });
                    open.lock().unwrap().push(passes.abort_handle());
                }
            }
        });
        Self { address, open, accepts }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// Cuts every connection that is open now.
    pub(super) fn cut(&self) {
        self.open.lock().unwrap().drain(..).for_each(|passes| passes.abort());
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.accepts.abort();
        self.cut();
    }
}
