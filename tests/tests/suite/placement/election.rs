//! The leader of the leases dies, and for some seconds nobody can renew any: a server stays where it is when its lease allows for that.

use spanwire_tests::cluster::{
    bus::{Bus, StoreSync},
    ground::Ground,
};

use super::*;

/// Much longer than the longest election, on the busiest machine.
const PATIENT: &str = "[limits]\nlease_ttl_ms = 60000\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_placed_server_goes_on_while_a_leader_is_elected_if_its_lease_is_long_enough() {
    let mut bus = Bus::start(&Ground::plain(StoreSync::default())).await.unwrap();
    let urls: Vec<String> = bus.addresses().iter().map(|address| format!("nats://{address}")).collect();
    let mut nodes = Vec::new();
    for id in ["a", "b"] {
        let config = format!("[nats]\nurl = \"{}\"\n{PATIENT}", urls.join(","));
        nodes.push(Node::start_as(id, &config).await.unwrap());
    }
    let cluster = Cluster { nodes, folder: tempfile::tempdir().unwrap(), _nats: None };
    for node in &cluster.nodes {
        node.wait_nodes(&["a", "b"]).await.unwrap();
        node.wait_following().await.unwrap();
    }
    add(cluster.node("a"), &["fs", "--placement", "any"], &cluster.command("fs")).await;
    let first = runs(cluster.node("a"), "fs", 1, &BTreeSet::new()).await;
    bus.wait_whole().await.unwrap();
    for _ in 0..2 {
        let leader = eventually("a leader", async || bus.leader_of("_LEASES").await).await;
        bus.member(leader).kill();
        // Until another one leads, and the lease can be renewed again: which is when another one can be taken.
        eventually("another leader", async || bus.leader_of("_LEASES").await.filter(|next| *next != leader)).await;
        for node in &cluster.nodes {
            node.wait_following().await.unwrap();
            echoes(node, "fs").await;
        }
        bus.member(leader).restart().unwrap();
        bus.wait_whole().await.unwrap();
    }
    assert_eq!(runs(cluster.node("b"), "fs", 1, &BTreeSet::new()).await, first);
    assert_eq!(cluster.starts("fs"), 1, "it was stopped, though nobody could take it");
}
