#![allow(clippy::unwrap_used)]

use super::*;

#[test]
fn a_node_keeps_the_id_of_its_first_start() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    let first = node_id(&config, folder.path()).unwrap();
    assert_eq!(first, config.node_id().unwrap());
    // The host is called otherwise now.
    fs::write(folder.path().join(NODE_FILE), "as-it-was\n").unwrap();
    assert_eq!(node_id(&config, folder.path()).unwrap().as_str(), "as-it-was");
    config.node.id = Some("said".parse().unwrap());
    assert_eq!(node_id(&config, folder.path()).unwrap().as_str(), "said");
    config.node.id = None;
    fs::write(folder.path().join(NODE_FILE), "No Id").unwrap();
    assert!(node_id(&config, folder.path()).unwrap_err().to_string().contains("is not the id of a node"));
}
