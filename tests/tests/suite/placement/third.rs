//! A server that two nodes have in their files, as a third node sees it: that one does not know whether it is wanted, and shows it all the
//! same while it goes from one of them to the other.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_two_files_stays_in_the_catalog_of_a_third_node_while_it_moves() {
    // Slow to start, so that there is a time when nobody knows what it lists.
    let script = format!("sleep 1; exec {}", quoted(Path::new(env!("CARGO_BIN_EXE_spanwire-fault-server"))));
    let theirs = |id: &str| match id {
        "c" => String::new(),
        _ => format!("[servers.fs]\ncommand = \"sh\"\nargs = [\"-c\", {script:?}]\nplacement = \"any\"\n"),
    };
    let mut cluster = Cluster::start_with(&["a", "b", "c"], theirs).await;
    let holders = runs(cluster.node("c"), "fs", 1, &BTreeSet::new()).await;
    echoes(cluster.node("c"), "fs").await;
    let at = cluster.nodes.iter().position(|node| holders.contains(node.id())).unwrap();
    let mut node = cluster.nodes.remove(at);
    let (third, url) = (cluster.node("c"), cluster.node("c").mcp_url(""));
    let leaving = tokio::spawn(async move {
        node.terminate().await.unwrap();
        node
    });
    // From the first word of it to the end of the other one's start.
    let moved = runs(third, "fs", 1, &holders);
    tokio::pin!(moved);
    let caller = Caller::new(url);
    let mut looks = 0;
    loop {
        tokio::select! {
            _ = &mut moved => break,
            tools = caller.tools() => {
                let tools = tools.unwrap();
                assert!(tools.iter().any(|tool| tool == "fs__echo"), "gone after {looks} looks: {tools:?}");
                looks += 1;
            }
        }
    }
    assert!(looks > 1);
    // Calls wait meanwhile, as they do where it is known to be wanted.
    echo(third, "fs").await.unwrap();
    drop(leaving.await.unwrap());
}
