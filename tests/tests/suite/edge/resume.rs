//! Streams of legacy sessions whose connection breaks.

use super::{
    double::notification,
    legacy::{Old, request},
    *,
};

const RESUMABLE: [&str; 3] = ["2025-11-25", "2025-06-18", "2025-03-26"];

fn paced(id: i64) -> Value {
    request(id, "tools/call", json!({"name": "paced", "_meta": {"progressToken": id}}))
}

impl Node {
    /// Lets the paced calls go on; 0 ends them.
    pub(super) fn pace(&self, steps: &[u32]) {
        for step in steps {
            self.double.paces.send(*step).unwrap();
        }
    }

    /// Waits until so many paced calls run.
    pub(super) async fn paced(&self, count: usize) {
        soon(async {
            while self.double.paces.receiver_count() < count {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

impl Old<'_> {
    /// Comes back to where it stopped.
    fn after(&self, id: &str) -> reqwest::RequestBuilder {
        self.get().header("last-event-id", id)
    }
}

async fn progress(events: &mut Events) -> Value {
    events.message().await.unwrap()["params"]["progress"].clone()
}

/// Begins a paced call, reads its first progress, and loses the connection: the id of the last event.
async fn broken(node: &Node, old: &Old<'_>, id: i64) -> String {
    let (running, request) = (node.double.paces.receiver_count(), old.post(&paced(id)));
    let (mut events, ()) = tokio::join!(Events::open(request), async {
        node.paced(running + 1).await;
        node.pace(&[1]);
    });
    assert_eq!(progress(&mut events).await, 1);
    events.last_id.clone().unwrap()
}

#[tokio::test]
async fn a_broken_stream_is_read_on_where_it_stopped() {
    let node = node().await;
    for revision in RESUMABLE {
        let old = Old::open(&node, revision).await;
        let id = broken(&node, &old, 5).await;
        // One event while nobody reads, and two afterwards.
        node.pace(&[2]);
        let mut events = Events::open(old.after(&id)).await;
        assert_eq!(progress(&mut events).await, 2, "{revision}");
        node.pace(&[3, 0]);
        assert_eq!(progress(&mut events).await, 3);
        let last = events.message().await.unwrap();
        assert_eq!((&last["id"], last.get("error")), (&json!(5), None));
        assert_eq!(events.message().await, None);
        // The end may get lost as well; then it is there once more, and nothing else is.
        let mut again = Events::open(old.after(&id)).await;
        assert_eq!((progress(&mut again).await, progress(&mut again).await), (json!(2), json!(3)));
        assert_eq!(again.message().await.unwrap(), last);
        assert_eq!(again.message().await, None);
        assert_eq!(node.double.dropped().await, "paced");
        old.delete().await;
        assert_eq!(node.double.dropped().await, "listen");
    }
}

#[tokio::test]
async fn ids_are_in_the_bytes_and_2025_11_25_begins_with_one() {
    let node = node().await;
    for (revision, first) in
        [("2025-11-25", Some("id: 1-0\nretry: 1000\ndata: ")), ("2025-06-18", None), ("2025-03-26", None)]
    {
        let old = Old::open(&node, revision).await;
        let call = request(1, "tools/call", json!({"name": "progress", "_meta": {"progressToken": 1}}));
        let mut events = Events::open(old.post(&call)).await;
        if let Some(first) = first {
            assert_eq!(events.block().await.unwrap(), first);
        }
        let message = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":"#;
        for n in [1, 2] {
            let block = events.block().await.unwrap();
            let params: Value = json!({"progressToken": 1, "progress": n});
            let (head, data) = block.split_once("\ndata: ").unwrap();
            assert_eq!(head, format!("id: 1-{n}\nevent: message"), "{revision}");
            assert_eq!(data, format!("{message}{params}}}"));
        }
        assert!(
            events.block().await.unwrap().starts_with("id: 1-3\nevent: message\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,")
        );
        assert_eq!(events.block().await, None);
        old.delete().await;
    }
}

#[tokio::test]
async fn a_silent_call_soon_has_an_id_to_come_back_with() {
    let node = node_with(|config, _| config.stream_after = Duration::from_millis(20)).await;
    let old = Old::open(&node, "2025-11-25").await;
    let mut events = Events::open(old.post(&paced(1))).await;
    assert_eq!(events.block().await.unwrap(), "id: 1-0\nretry: 1000\ndata: ");
    drop(events);
    let mut events = Events::open(old.after("1-0")).await;
    node.pace(&[7, 0]);
    assert_eq!(progress(&mut events).await, 7);
    assert_eq!(events.message().await.unwrap()["id"], 1);
}

#[tokio::test]
async fn nobody_comes_back() {
    let node = node_with(|config, _| config.resume_timeout = Duration::from_millis(50)).await;
    let old = Old::open(&node, "2025-11-25").await;
    let id = broken(&node, &old, 5).await;
    assert_eq!(node.double.dropped().await, "paced");
    // What was cancelled is gone.
    let (status, body) = soon(async {
        loop {
            let (status, body) = ask(old.after(&id)).await;
            if status == 400 {
                return (status, body);
            }
        }
    })
    .await;
    assert_eq!((status, &body["error"]["code"]), (400, &json!(-32600)));
    assert!(body["error"]["message"].as_str().unwrap().contains(&id), "{body}");
    assert_eq!(ask(old.post(&request(5, "ping", json!({})))).await.0, 200, "the id is free");
}

#[tokio::test]
async fn a_broken_stream_can_be_cancelled() {
    let node = node().await;
    let old = Old::open(&node, "2025-06-18").await;
    let id = broken(&node, &old, 5).await;
    assert_eq!(old.cancel(5).await, 202);
    assert_eq!(node.double.dropped().await, "paced");
    let mut events = Events::open(old.after(&id)).await;
    assert_eq!(events.message().await, None, "a cancelled request has no response");
    // And the end of the session ends them as well.
    broken(&node, &old, 6).await;
    old.delete().await;
    assert_eq!(node.double.dropped().await, "paced");
}

#[tokio::test]
async fn who_knows_no_id_cancels_by_going_away() {
    let node = node_with(|config, _| config.keep_alive = Duration::from_millis(20)).await;
    for revision in ["2025-06-18", "2024-11-05"] {
        let old = Old::open(&node, revision).await;
        let mut events = Events::open(old.post(&paced(1))).await;
        assert_eq!(events.block().await.unwrap(), ":");
        drop(events);
        assert_eq!(node.double.dropped().await, "paced", "{revision}");
        old.delete().await;
        assert_eq!(node.double.dropped().await, "listen");
    }
}

#[tokio::test]
async fn the_transport_of_2024_has_no_ids() {
    let node = node().await;
    let old = Old::open(&node, "2024-11-05").await;
    let call = request(1, "tools/call", json!({"name": "stuck", "_meta": {"progressToken": 1}}));
    let mut events = Events::open(old.post(&call)).await;
    assert!(events.block().await.unwrap().starts_with("event: message\ndata: "));
    drop(events);
    assert_eq!(node.double.dropped().await, "stuck");
    let mut own = Events::open(old.get()).await;
    node.double.changes.send(notification("notifications/tools/list_changed", json!({}))).unwrap();
    assert!(own.block().await.unwrap().starts_with("event: message\ndata: "));
}

#[tokio::test]
async fn each_stream_gives_its_own_events_only() {
    let node = node().await;
    let old = Old::open(&node, "2025-11-25").await;
    let mut own = Events::open(old.get()).await;
    let change = |n: u32| notification("notifications/tools/list_changed", json!({"_meta": {"n": n}}));
    node.double.changes.send(change(1)).unwrap();
    assert_eq!(own.message().await.unwrap()["params"]["_meta"]["n"], 1);
    let own_id = own.last_id.clone().unwrap();
    assert_eq!(own_id, "0-1");
    let (first, second) = (broken(&node, &old, 11).await, broken(&node, &old, 12).await);
    drop(own);
    node.double.changes.send(change(2)).unwrap();
    node.pace(&[3, 0]);
    let mut own = Events::open(old.after(&own_id)).await;
    assert_eq!(own.message().await.unwrap()["params"]["_meta"]["n"], 2);
    // The first call saw the pace of the second one, too.
    let mut events = Events::open(old.after(&first)).await;
    assert_eq!((progress(&mut events).await, progress(&mut events).await), (json!(1), json!(3)));
    assert_eq!(events.message().await.unwrap()["id"], 11);
    let mut events = Events::open(old.after(&second)).await;
    assert_eq!(progress(&mut events).await, 3);
    assert_eq!(events.message().await.unwrap()["id"], 12);
    // Nothing but its own came on the session's stream.
    node.double.changes.send(change(3)).unwrap();
    assert_eq!(own.message().await.unwrap()["params"]["_meta"]["n"], 3);
    assert_eq!(own.last_id.as_deref(), Some("0-3"));
}

#[tokio::test]
async fn ids_of_no_stream_are_refused() {
    let node = node().await;
    let old = Old::open(&node, "2025-11-25").await;
    for id in ["7-1", "rubbish", "1-1-1", ""] {
        let (status, body) = ask(old.after(id)).await;
        assert_eq!((status, &body["error"]["code"]), (400, &json!(-32600)), "{id}");
    }
}

#[tokio::test]
async fn a_question_outlives_the_connection() {
    let node = node().await;
    let old = Old::open_with(&node, "2025-11-25", json!({"roots": {}})).await;
    let rounds = json!([{"a": {"method": "roots/list"}}, {"b": {"method": "roots/list"}}]);
    let call = request(1, "tools/call", json!({"name": "asks", "arguments": {"rounds": rounds}}));
    let mut events = Events::open(old.post(&call)).await;
    let asked = events.message().await.unwrap();
    let id = events.last_id.clone().unwrap();
    drop(events);
    old.answer(&asked["id"], json!({"roots": []})).await;
    let mut events = Events::open(old.after(&id)).await;
    let asked = events.message().await.unwrap();
    assert_eq!(asked["method"], "roots/list");
    old.answer(&asked["id"], json!({"roots": []})).await;
    assert_eq!(
        events.message().await.unwrap()["result"]["structuredContent"]["inputResponses"]["b"],
        json!({"roots": []})
    );
}

#[tokio::test]
async fn a_second_reader_takes_the_stream_over() {
    let node = node().await;
    let old = Old::open(&node, "2025-11-25").await;
    let (mut first, ()) = tokio::join!(Events::open(old.post(&paced(1))), async {
        node.paced(1).await;
        node.pace(&[1]);
    });
    assert_eq!(progress(&mut first).await, 1);
    let mut second = Events::open(old.after("1-0")).await;
    assert_eq!(first.message().await, None);
    assert_eq!(progress(&mut second).await, 1);
    node.pace(&[0]);
    assert_eq!(second.message().await.unwrap()["id"], 1);
}

#[tokio::test]
async fn what_is_kept_is_bounded_and_the_response_is_not_lost() {
    let node = node_with(|config, _| config.max_replay_events = 4).await;
    let old = Old::open(&node, "2025-06-18").await;
    let (mut events, ()) = tokio::join!(Events::open(old.post(&paced(1))), async {
        node.paced(1).await;
        node.pace(&[1]);
    });
    node.pace(&(2..200).collect::<Vec<u32>>());
    for n in 1..150 {
        assert_eq!(progress(&mut events).await, n);
    }
    drop(events);
    node.pace(&[0]);
    // Far behind: what is gone is told in a comment, and the rest is whole.
    let mut events = Events::open(old.after("1-1")).await;
    let gap = events.block().await.unwrap();
    assert!(gap.starts_with(": ") && gap.ends_with("events are no longer kept"), "{gap}");
    let mut last = 0;
    let response = loop {
        let message = events.message().await.unwrap();
        match message["params"]["progress"].as_u64() {
            Some(n) => {
                assert!(last == 0 || n == last + 1, "{n} after {last}");
                last = n;
            }
            None => break message,
        }
    };
    assert_eq!((last, &response["id"]), (199, &json!(1)));
}
