//! `spanwire-bench-server`: the fast MCP server as a process. It writes its endpoint as the first line on stdout and stops
//! when stdin closes, so that it cannot outlive whoever started it.

use tokio::io::{AsyncReadExt, stdin};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}/mcp", listener.local_addr()?);
    tokio::select! {
        served = spanwire_tests::rust_server::serve(listener) => Ok(served?),
        _ = until_eof() => Ok(()),
    }
}

async fn until_eof() -> std::io::Result<()> {
    let mut input = stdin();
    let mut scrap = [0_u8; 64];
    while input.read(&mut scrap).await? > 0 {}
    Ok(())
}
