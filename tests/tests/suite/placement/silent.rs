//! A server that starts and never answers. It takes two seconds to end, and nobody may start another one in that time: neither its own
//! node, which tries again, nor the node that has it next.

use super::*;

/// The command of the server: a line in the journal for each start, with the node's process, and `overlap` for one that is not alone.
fn silent(cluster: &Cluster, id: &str) -> Vec<String> {
    let (journal, lock) = (cluster.journal(id), cluster.folder.path().join(format!("{id}.lock")));
    let [journal, lock] = [&*journal, &*lock].map(quoted);
    // Its parent is the guard, whose parent is the node.
    let script = format!(
        "echo $(cut -d ' ' -f 4 /proc/$PPID/stat) >> {journal}; \
         flock -n -E 99 {lock} sh -c 'while :; do sleep 0.1; done'; test $? -eq 99 && echo overlap >> {journal}; exit 1"
    );
    ["sh", "-c", &script].map(str::to_owned).to_vec()
}

/// The nodes that have started the server, in the order of their attempts.
fn starters(cluster: &Cluster, id: &str) -> Vec<u32> {
    cluster.starts(id);
    let journal = fs::read_to_string(cluster.journal(id)).unwrap_or_default();
    journal.lines().filter_map(|line| line.parse().ok()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_never_answers_is_never_there_twice_over_all_attempts_of_two_nodes() {
    let cluster = Cluster::start_with(&["a", "b"], |_| "[limits]\nstart_timeout_ms = 300\n".to_owned()).await;
    add(cluster.node("a"), &["mute", "--placement", "any"], &silent(&cluster, "mute")).await;
    // One node tries a few times, and leaves it to the other one.
    let by = eventually("both have tried", async || {
        let by = starters(&cluster, "mute");
        by.iter().any(|node| *node != by[0]).then_some(by)
    })
    .await;
    assert!(by.len() > 2, "{by:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_leaves_in_the_middle_of_a_handshake_hands_over_when_the_server_is_gone() {
    let mut cluster = Cluster::start(&["a", "b"]).await;
    add(cluster.node("a"), &["mute", "--placement", "any"], &silent(&cluster, "mute")).await;
    let first = eventually("started", async || starters(&cluster, "mute").first().copied()).await;
    let node = cluster.nodes.iter_mut().find(|node| node.pid() == first).unwrap();
    node.terminate().await.unwrap();
    eventually("started on the other node", async || {
        starters(&cluster, "mute").iter().any(|node| *node != first).then_some(())
    })
    .await;
}
