//! Two tenants on one NATS, with the permissions of the decision page: everything of one's own works, nothing of the other's does.

use std::{fs, path::Path, sync::Arc};

use futures::{FutureExt, StreamExt, stream, stream::BoxStream};
use serde_json::{Value, json};
use spanwire_backbone::nats::Nats;
use spanwire_ledger::{JetStreamLeases, JetStreamLeasesConfig};
use spanwire_model::{
    Address, Backbone, Book, BusHandler, BusMessage, BusRequest, ErrorKind, Frame, Leases, ServeOn, ServerId, Shard,
    Topic,
};
use spanwire_nats::{Config, Connection, Credentials};
use spanwire_tests::{nats::NatsServer, node::Node};
use tokio::time::{Duration, timeout};
use uuid::Uuid;

use super::{connected, within};

const PAGE: &str = "../broker/decisions/0022-what-a-tenant-may-do-in-nats.md";
const TTL: Duration = Duration::from_secs(60);
/// How long something that must not come is waited for, after all that was sent before has come.
const NOTHING_FOR: Duration = Duration::from_millis(200);

/// A block of the page, for a tenant or a node.
fn block(kind: &str, tenant: &str, node: &str) -> String {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE)).unwrap();
    let (_, rest) = page.split_once(&format!("```{kind}\n")).expect(kind);
    let (block, _) = rest.split_once("```").expect(kind);
    let names = [("{prefix}", "sw.v1"), ("{tenant}", tenant), ("{node}", node), ("{password}", "secret")];
    names.iter().fold(block.trim().to_owned(), |block, (name, value)| block.replace(name, value))
}

/// Each of two tenants has an account.
async fn with_accounts(tenants: [&str; 2]) -> NatsServer {
    let [t, u] = tenants.map(|tenant| block("nats-account", tenant, ""));
    // The blocks of two tenants are one block `accounts` of the server.
    let inner = |block: &str| block.trim_start_matches("accounts {").trim_end_matches('}').to_owned();
    let text = format!("jetstream {{ store_dir: \"FOLDER/store\" }}\naccounts {{ {}\n{} }}\n", inner(&t), inner(&u));
    NatsServer::start_configured(&text).await.unwrap()
}

/// One account without JetStream.
async fn shared() -> NatsServer {
    let [t, u] = ["t", "u"].map(|tenant| block("nats-shared", tenant, ""));
    NatsServer::start_configured(&format!("authorization {{ users: [ {t}, {u} ] }}\n")).await.unwrap()
}

fn config(server: &NatsServer, user: &str, tenant: &str, node: &str) -> Config {
    let credentials = Credentials::Password { user: user.into(), password: "secret".into() };
    Config { credentials, ..Config::new([server.url()], tenant.parse().unwrap(), node.parse().unwrap()) }
}

struct Echo;

impl BusHandler for Echo {
    fn handle(&self, request: BusRequest) -> BoxStream<'static, Frame> {
        let end = Frame::End { payload: request.payload, elapsed: Duration::ZERO };
        stream::iter([end]).boxed()
    }
}

fn fs_server() -> ServerId {
    "fs".parse().unwrap()
}

fn request(payload: &str) -> BusRequest {
    BusRequest {
        call_id: Uuid::now_v7(),
        principal: "anna".into(),
        server: Some(fs_server()),
        method: "tools/call".into(),
        name: Some("read".into()),
        budget: Duration::from_secs(20),
        trace: None,
        payload: payload.to_owned().into(),
    }
}

async fn node(config: Config) -> Nats {
    within(Nats::connect(spanwire_backbone::nats::Config::over(config))).await.unwrap()
}

async fn leases(config: Config) -> JetStreamLeases {
    let connection = connected(&config).await;
    JetStreamLeases::start(connection, &JetStreamLeasesConfig { nats: config, replicas: None })
}

/// A call to the server and to the node, and an event, between two nodes.
async fn calls_and_events_pass(a: &Nats, b: &Nats) {
    let _server = b.serve(ServeOn::Server(fs_server()), Arc::new(Echo)).await.unwrap();
    let _node = b.serve(ServeOn::Node, Arc::new(Echo)).await.unwrap();
    for to in [Address::Server(fs_server()), Address::Node("b".parse().unwrap())] {
        let reply: Vec<_> = within(a.request(to, request("hello")).collect()).await;
        let Some(Ok(Frame::End { payload, .. })) = reply.last() else { panic!("{reply:?}") };
        assert_eq!(payload, "hello");
    }
    let mut events = b.subscribe("server").await.unwrap();
    a.publish(&Topic { kind: "server".into(), id: "fs".into(), what: "up".into() }, "x".into()).await.unwrap();
    loop {
        match within(events.next()).await.unwrap() {
            BusMessage::Publication(publication) => break assert_eq!(publication.payload, "x"),
            BusMessage::Gap => {}
        }
    }
}

/// Two nodes take leases and see them.
async fn leases_pass(a: &JetStreamLeases, b: &JetStreamLeases) {
    let duty = within(a.acquire("duty", TTL)).await.unwrap().unwrap();
    assert!(within(b.acquire("duty", TTL)).await.unwrap().is_none());
    let mut watch = b.watch();
    within(watch.wait_for(|holdings| holdings.contains_key("duty"))).await.unwrap();
    duty.release(TTL).await;
    within(watch.wait_for(|holdings| holdings.is_empty())).await.unwrap();
    let _kept = within(b.acquire("duty", TTL)).await.unwrap().unwrap();
    within(watch.wait_for(|holdings| holdings.contains_key("duty"))).await.unwrap();
}

/// The server says that the user may not.
async fn is_refused(server: &NatsServer, from: &Connection, publish: bool, subject: &str) {
    let violation = if publish {
        from.client.publish(subject.to_owned(), "forged".into()).await.unwrap();
        format!("user:t\" - Publish Violation - Subject \"{subject}\"")
    } else {
        let mut heard = from.client.subscribe(subject.to_owned()).await.unwrap();
        from.client.flush().await.unwrap();
        assert!(heard.next().now_or_never().flatten().is_none());
        format!("user:t\" - Subscription Violation - Subject \"{subject}\"")
    };
    within(server.logged(&violation)).await;
}

/// What a tenant would need in order to call, read or forge anything of the other one.
async fn nothing_of_the_other_tenant(server: &NatsServer, from: &Connection) {
    for subject in [
        "sw.v1.u.call.anna.fs.tools=2Fcall.read",
        "sw.v1.u.node.a.anna.fs.tools=2Fcall.read",
        "sw.v1.u.inbox.a.connection.key",
        "sw.v1.u.ctl.a.key",
        "sw.v1.u.evt.server.fs.up",
        "sw.v1.u.lease.duty",
        "sw.v1.u.log.registry.0",
        "$O.SW_u_SNAPSHOTS.M.x",
        "$SYS.REQ.SERVER.PING",
        "_INBOX.x",
    ] {
        is_refused(server, from, true, subject).await;
    }
    for subject in ["sw.v1.u.>", "sw.v1.u.inbox.>", "sw.v1.*.evt.>", "sw.>", "_INBOX.>", "$JS.>", "$SYS.>", ">"] {
        is_refused(server, from, false, subject).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_with_accounts_do_not_touch_each_other() {
    let server = with_accounts(["t", "u"]).await;
    for tenant in ["t", "u"] {
        let (a, b) = (config(&server, tenant, tenant, "a"), config(&server, tenant, tenant, "b"));
        leases_pass(&leases(a.clone()).await, &leases(b.clone()).await).await;
        calls_and_events_pass(&node(a).await, &node(b).await).await;
    }
    let t = connected(&config(&server, "t", "t", "a")).await;
    nothing_of_the_other_tenant(&server, &t).await;
    for subject in ["$JS.API.STREAM.DELETE.SW_t_LEASES", "$JS.API.STREAM.UPDATE.SW_t_LEASES", "$JS.API.STREAM.NAMES"] {
        is_refused(&server, &t, true, subject).await;
    }
    // JetStream is asked, and has nothing of the other tenant in this account.
    let u = config(&server, "u", "u", "a");
    let held = within(leases(u.clone()).await.acquire("place.fs.0", TTL)).await.unwrap().unwrap();
    let theirs = t.client.request("$JS.API.STREAM.INFO.SW_u_LEASES", "".into()).await.unwrap();
    let theirs: Value = serde_json::from_slice(&theirs.payload).unwrap();
    assert_eq!(theirs["error"]["err_code"], 10059, "{theirs}");
    // Nor does it act there for anybody.
    let u = connected(&u).await;
    let mut heard = u.client.subscribe("sw.v1.u.evt.>").await.unwrap();
    u.client.flush().await.unwrap();
    let_jetstream_answer_to(&t, "sw.v1.u.evt.server.fs.up").await;
    let_jetstream_answer_to(&t, "$JS.API.STREAM.DELETE.SW_u_LEASES").await;
    let mine = u.client.request("$JS.API.STREAM.INFO.SW_u_LEASES", "".into()).await.unwrap();
    let mine: Value = serde_json::from_slice(&mine.payload).unwrap();
    assert!(mine["state"]["messages"].as_u64().is_some_and(|count| count >= 1), "{mine}");
    assert!(timeout(NOTHING_FOR, heard.next()).await.is_err());
    assert!(held.is_valid());
}

/// Real nodes that write, take snapshots, compact the log and catch up from a snapshot ask for nothing that they may not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_permissions_are_all_that_nodes_need() {
    let server = with_accounts(["default", "u"]).await;
    let fragment = format!(
        "[nats]\nurl = \"{}\"\nuser = \"default\"\npassword = \"secret\"\n[ledger]\nsnapshot_every = 20\nkeep_entries = 1\n",
        server.url()
    );
    let a = Node::start_as("a", &fragment).await.unwrap();
    let put = async |key: &str| a.command_json(&["ctx", "put", "tenants", key, "1", "--json"]).await;
    // The first write may have to wait for the streams to be made.
    within(async { while put("first").await.is_err() {} }).await;
    let probe = connected(&config(&server, "default", "default", "probe")).await;
    let facts = async |stream: &str| {
        let answer = probe.client.request(format!("$JS.API.STREAM.INFO.{stream}"), "".into()).await.unwrap();
        serde_json::from_slice::<Value>(&answer.payload).unwrap()["state"].clone()
    };
    // One of the shards of the context gets all that is in one space.
    let compacted = async || {
        let mut first = 0;
        for shard in Shard::all().filter(|shard| shard.book == Book::Context) {
            let state = facts(&format!("SW_default_CONTEXT_{}", shard.number)).await;
            first = first.max(state["first_seq"].as_u64().unwrap_or_default());
        }
        first > 1
    };
    let mut last = Value::Null;
    timeout(4 * TTL, async {
        while !compacted().await {
            last = put("more").await.unwrap();
        }
    })
    .await
    .expect("the log is not compacted");
    assert!(facts("OBJ_SW_default_SNAPSHOTS").await["messages"].as_u64().is_some_and(|count| count > 0));
    let b = Node::start_as("b", &fragment).await.unwrap();
    let sequence = last["sequence"].to_string();
    within(async {
        while b.command_json(&["ctx", "get", "tenants", "more", "--at-least", &sequence, "--json"]).await.is_err() {}
    })
    .await;
    assert!(!server.log().contains("Violation"), "{}", server.log());
}

/// Puts an empty message into a stream of the tenant `t`, and has JetStream send it to a subject.
async fn let_jetstream_answer_to(t: &Connection, subject: &str) {
    let stream = json!({"name": "SW_t_DEPUTY", "subjects": ["sw.v1.t.deputy.>"], "allow_direct": true, "storage": "file",
        "retention": "limits", "num_replicas": 1, "max_consumers": -1, "max_msgs": -1, "max_bytes": -1, "max_age": 0, "discard": "old"});
    // The same again is no error.
    let made = t.client.request("$JS.API.STREAM.CREATE.SW_t_DEPUTY", stream.to_string().into()).await.unwrap();
    let made: Value = serde_json::from_slice(&made.payload).unwrap();
    assert!(made["error"].is_null(), "{made}");
    t.client.request("sw.v1.t.deputy.x", "".into()).await.unwrap();
    let ask = json!({"last_by_subj": "sw.v1.t.deputy.x"}).to_string();
    // First to us, so that we know that it answers; then to the subject; then to us again, after which the other one was sent.
    let get = "$JS.API.DIRECT.GET.SW_t_DEPUTY";
    let answer = t.client.request(get, ask.clone().into()).await.unwrap();
    assert!(answer.status.is_none(), "{answer:?}");
    t.client.publish_with_reply(get, subject.to_owned(), ask.clone().into()).await.unwrap();
    t.client.request(get, ask.into()).await.unwrap();
}

/// The reason for accounts: with permissions alone JetStream is everybody's deputy. When this fails, look at the decision page.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_one_account_jetstream_does_what_the_asking_tenant_may_not() {
    let user = |tenant: &str| {
        let account = block("nats-account", tenant, "");
        let (_, users) = account.split_once("users: [").unwrap();
        users.rsplit_once(']').unwrap().0.to_owned()
    };
    let (t, u) = (user("t"), user("u"));
    let text = format!("jetstream {{ store_dir: \"FOLDER/store\" }}\nauthorization {{ users: [ {t}, {u} ] }}\n");
    let server = NatsServer::start_configured(&text).await.unwrap();
    let u = config(&server, "u", "u", "a");
    let _held = within(leases(u.clone()).await.acquire("duty", TTL)).await.unwrap().unwrap();
    let t = connected(&config(&server, "t", "t", "a")).await;
    is_refused(&server, &t, true, "$JS.API.STREAM.DELETE.SW_u_LEASES").await;
    let_jetstream_answer_to(&t, "$JS.API.STREAM.DELETE.SW_u_LEASES").await;
    let u = connected(&u).await;
    within(async {
        loop {
            let theirs = u.client.request("$JS.API.STREAM.INFO.SW_u_LEASES", "".into()).await.unwrap();
            let theirs: Value = serde_json::from_slice(&theirs.payload).unwrap();
            if theirs["error"]["err_code"] == 10059 {
                break;
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_jetstream_tenants_may_share_an_account() {
    let server = shared().await;
    for tenant in ["t", "u"] {
        let (a, b) = (config(&server, tenant, tenant, "a"), config(&server, tenant, tenant, "b"));
        calls_and_events_pass(&node(a).await, &node(b).await).await;
    }
    let t = connected(&config(&server, "t", "t", "a")).await;
    nothing_of_the_other_tenant(&server, &t).await;
    // A node of the wrong tenant, with these credentials, reaches nobody and hears nothing.
    let u = node(config(&server, "u", "u", "b")).await;
    let _server = u.serve(ServeOn::Server(fs_server()), Arc::new(Echo)).await.unwrap();
    let mut wrong = config(&server, "t", "u", "a");
    wrong.connect_timeout = Duration::from_secs(2);
    let error = within(Nats::connect(spanwire_backbone::nats::Config::over(wrong))).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_a_user_of_its_own_does_not_read_the_replies_of_another() {
    let [a, b] = ["a", "b"].map(|node| block("nats-node", "t", node));
    let text = format!(
        "jetstream {{ store_dir: \"FOLDER/store\" }}\naccounts {{ t {{ jetstream: enabled, users: [ {a}, {b} ] }} }}\n"
    );
    let server = NatsServer::start_configured(&text).await.unwrap();
    let (a, b) = (config(&server, "a", "t", "a"), config(&server, "b", "t", "b"));
    leases_pass(&leases(a.clone()).await, &leases(b.clone()).await).await;
    calls_and_events_pass(&node(a.clone()).await, &node(b).await).await;
    // What `spanwire doctor` asks for is what the page permits.
    let mut probe = within(spanwire_nats::probe(&a)).await.unwrap();
    let streams = within(spanwire_ledger::survey(&probe.connection, &a)).await.unwrap();
    let leases = streams.iter().find(|stream| stream.name == "SW_t_LEASES").unwrap();
    assert!(leases.kept.is_some_and(|kept| kept.replicas == 1 && kept.writable), "{streams:?}");
    assert_eq!(within(probe.denied()).await, Vec::<String>::new());
    let mistaken = Config { node: "b".parse().unwrap(), ..a.clone() };
    let denied = within(within(spanwire_nats::probe(&mistaken)).await.unwrap().denied()).await;
    assert!(denied.contains(&"subscribe to sw.v1.t.node.b.>".to_owned()), "{denied:?}");
    let a = connected(&a).await;
    for subject in ["sw.v1.t.inbox.b.>", "sw.v1.t.inbox.>", "sw.v1.t.js.b.>", "sw.v1.t.node.b.>", "sw.v1.t.ctl.b.*"] {
        let _heard = a.client.subscribe(subject).await.unwrap();
        within(server.logged(&format!("user:a\" - Subscription Violation - Subject \"{subject}\""))).await;
    }
}
