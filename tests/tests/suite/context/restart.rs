//! A node that was killed has everything that was acknowledged.

use serde_json::json;

use super::{
    hand::{Hand, next, put, value},
    world::World,
};

pub(super) async fn check(world: &mut World) {
    let (mut a, _) = world.hands("kept").await;
    let mut last = 0;
    for n in 0..10 {
        last = a.put(&format!("k{n}"), &json!({ "n": n })).await;
    }
    for node in &mut world.nodes {
        node.kill().await.unwrap();
        node.restart().await.unwrap();
    }
    world.settle().await;
    let (mut a, mut b) = world.hands("kept").await;
    for n in 0..10 {
        let entry = b.get(&format!("k{n}"), last).await.unwrap();
        assert_eq!(value(&entry), json!({ "n": n }));
        assert_eq!(entry.author.unwrap().node, "a");
    }
    // The log goes on where it was.
    let mut events = b.watch("", last).await;
    assert_eq!(next(&mut events).await.sequence, last);
    let new = a.write(Vec::new(), vec![put("k0", &json!("new"))]).await.unwrap();
    assert!(new.sequence > last);
    assert_eq!(next(&mut events).await.sequence, new.sequence);
    let mut again = Hand::new(world.last(), "kept").await;
    assert_eq!(value(&again.get("k0", new.sequence).await.unwrap()), json!("new"));
}
