use spanwire_model::{EraChoice, Placement, Target};
use spanwire_rpc::v1::{self, server_spec};
use tonic::Code;

use super::*;

fn spec(id: &str) -> v1::ServerSpec {
    let stdio = v1::StdioTarget { command: "serve".into(), args: vec!["-v".into()], ..Default::default() };
    let target = Some(server_spec::Target::Stdio(stdio));
    v1::ServerSpec { id: id.into(), target, era: v1::Era::Legacy.into(), max_in_flight: 3, ..Default::default() }
}

#[tokio::test]
async fn servers_come_and_go() {
    let node = Node::start(None).await;
    let mut client = node.client().await;
    let add = |spec: v1::ServerSpec, replace| v1::AddServerRequest { spec: Some(spec), replace, ..Default::default() };

    let added = client.add_server(add(spec("new"), false)).await.unwrap().into_inner().server.unwrap();
    assert_eq!((added.id.as_str(), added.state(), added.local), ("new", v1::ServerState::Starting, true));
    let taken = node.control.added.lock().unwrap()[0].clone();
    assert_eq!((taken.era, taken.max_in_flight, taken.call_timeout_ms), (EraChoice::Legacy, Some(3), None));
    assert!(matches!(taken.target, Target::Stdio(stdio) if stdio.args == ["-v"] && stdio.cwd.is_none()));

    let again = client.add_server(add(spec("new"), false)).await.unwrap_err();
    assert_eq!((again.code(), kind(&again)), (Code::FailedPrecondition, "conflict"));
    client.add_server(add(spec("new"), true)).await.unwrap();

    let http = |url: &str| Some(server_spec::Target::Http(v1::HttpTarget { url: url.into(), ..Default::default() }));
    for bad in [
        spec("Bad Name"),
        v1::ServerSpec { target: None, ..spec("x") },
        v1::ServerSpec { replicas: 2, ..spec("x") },
        v1::ServerSpec { replicas: 70_000, placement: v1::Placement::Any.into(), ..spec("x") },
        v1::ServerSpec { target: http(""), ..spec("x") },
        v1::ServerSpec { target: Some(server_spec::Target::Stdio(v1::StdioTarget::default())), ..spec("x") },
    ] {
        assert_eq!(client.add_server(add(bad, false)).await.unwrap_err().code(), Code::InvalidArgument);
    }
    let any = v1::ServerSpec { replicas: 3, placement: v1::Placement::Any.into(), ..spec("any") };
    client.add_server(add(any, false)).await.unwrap();
    let taken = node.control.added.lock().unwrap().last().unwrap().clone();
    assert_eq!((taken.placement, taken.replicas), (Placement::Any, 3));
    let there = v1::AddServerRequest { node: "there".into(), ..add(spec("elsewhere"), false) };
    client.add_server(there).await.unwrap();
    assert_eq!(node.control.home.lock().unwrap().as_ref().unwrap().as_str(), "there");
    let nowhere = v1::AddServerRequest { node: "No Where".into(), ..add(spec("nowhere"), false) };
    assert_eq!(client.add_server(nowhere).await.unwrap_err().code(), Code::InvalidArgument);
    let none = client.add_server(v1::AddServerRequest::default()).await.unwrap_err();
    assert_eq!(none.code(), Code::InvalidArgument);

    let remove = |id: &str| v1::RemoveServerRequest { id: id.into() };
    assert!(client.remove_server(remove("new")).await.unwrap().into_inner().removed);
    assert!(!client.remove_server(remove("new")).await.unwrap().into_inner().removed);
    assert_eq!(client.remove_server(remove("Bad Name")).await.unwrap_err().code(), Code::InvalidArgument);
    node.stop().await;
}

#[tokio::test]
async fn servers_are_shown_as_they_are() {
    let node = Node::start(None).await;
    let listed = node.client().await.list_servers(v1::ListServersRequest {}).await.unwrap().into_inner();
    assert_eq!((listed.version, listed.servers.len()), (1, 3));
    let expected = v1::ServerInfo {
        id: "git".into(),
        node: "here".into(),
        local: true,
        transport: "stdio".into(),
        state: v1::ServerState::Ready.into(),
        detail: "as scripted".into(),
        restarts: 3,
        era: v1::Era::Legacy.into(),
        revision: "2025-11-25".into(),
        name: "Git Server".into(),
        version: "2.0".into(),
        tools: 7,
        source: v1::Source::Config.into(),
        placement: v1::Placement::Here.into(),
        ..Default::default()
    };
    assert_eq!(listed.servers[0], expected);
    let down = &listed.servers[2];
    assert_eq!((down.state(), down.era(), down.name.as_str()), (v1::ServerState::Down, v1::Era::Unspecified, ""));
    node.stop().await;
}

#[tokio::test]
async fn tools_are_read_page_by_page_and_chosen() {
    let node = Node::start(None).await;
    let mut client = node.client().await;
    let all = client.list_tools(v1::ListToolsRequest::default()).await.unwrap().into_inner();
    let names: Vec<_> = all.tools.iter().map(|tool| tool.name.as_str()).collect();
    assert_eq!(names, ["git__tool0", "git__tool1", "git__tool2", "git__tool4", "git__tool5", "git__tool6"]);
    assert_eq!((all.total, all.truncated), (6, false));
    let tool = &all.tools[1];
    assert_eq!((tool.server.as_str(), tool.nodes.join(",").as_str()), ("git", "here,there"));
    assert_eq!((tool.title.as_str(), tool.description.as_str()), ("T1", "Does Thing 1"));
    assert_eq!((&tool.input_schema_json[..], &tool.output_schema_json[..]), (&br#"{"type":"object"}"#[..], &b""[..]));
    assert_eq!(&tool.annotations_json[..], br#"{"title":"T1"}"#);

    let mut count = async |request: v1::ListToolsRequest| {
        let listed = client.list_tools(request).await.unwrap().into_inner();
        (listed.tools.len(), listed.total, listed.truncated)
    };
    let ask = v1::ListToolsRequest::default;
    assert_eq!(count(v1::ListToolsRequest { limit: 2, ..ask() }).await, (2, 6, true));
    assert_eq!(count(v1::ListToolsRequest { query: "thing TOOL4".into(), ..ask() }).await, (1, 1, false));
    assert_eq!(count(v1::ListToolsRequest { server: "old".into(), ..ask() }).await, (0, 0, false));
    let bare = v1::ListToolsRequest { without_schemas: true, view: "team".into(), ..ask() };
    let bare = client.list_tools(bare).await.unwrap().into_inner();
    assert!(bare.tools.iter().all(|tool| tool.input_schema_json.is_empty() && tool.server == "git"));
    let unknown = client.list_tools(v1::ListToolsRequest { view: "nosuch".into(), ..ask() }).await.unwrap_err();
    assert_eq!((unknown.code(), unknown.message()), (Code::InvalidArgument, "unknown view \"nosuch\""));

    let calls = node.control.dispatch.calls.lock().unwrap().clone();
    assert_eq!(calls.last().unwrap().view.as_deref(), Some("team"));
    assert!(calls.iter().all(|call| &*call.principal.name == "operator"));
    node.stop().await;
}

#[tokio::test]
async fn the_catalog_is_watched_until_the_shutdown() {
    let node = Node::start(None).await;
    let mut client = node.client().await;
    let mut changes = client.watch_catalog(v1::WatchCatalogRequest {}).await.unwrap().into_inner();
    let now = first(&mut changes).await;
    assert_eq!((now.version, now.servers.len(), now.tools), (1, 3, 7));
    assert_eq!(now.nodes, ["here", "there"]);
    node.control.change(|servers| servers.push(server("new", "here", ServerState::Ready, 5)));
    let then = first(&mut changes).await;
    assert_eq!((then.version, then.servers.len(), then.tools), (2, 4, 12));
    node.shutdown.cancel();
    let end = soon("the end of the watch", changes.next()).await.unwrap().unwrap_err();
    assert_eq!((end.code(), kind(&end)), (Code::Unavailable, "unavailable"));
    node.stop().await;
}
