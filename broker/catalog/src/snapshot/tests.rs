#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;

use spanwire_mcp::Json;
use spanwire_model::{Health, ListKind, Listing, ListingEntry, Place, ServerEntry, ServerState};

use super::*;
use crate::{Prefix, Stale, ViewConfig};

fn server(id: &str, node: &str, state: ServerState, tools: &[&str]) -> Arc<ServerEntry> {
    let entry = |name: &&str| ListingEntry {
        name: (*name).into(),
        json: Json::from_trusted(format!(r#"{{"description":"d","name":"{name}", "inputSchema":{{}}}}"#)),
    };
    let resource = ListingEntry { name: "x:1".into(), json: Json::from_trusted(r#"{"uri":"x:1","name":"one"}"#) };
    let listing = Listing { tools: tools.iter().map(entry).collect(), resources: vec![resource], ..Listing::default() };
    Arc::new(ServerEntry {
        id: id.parse().unwrap(),
        node: node.parse().unwrap(),
        local: node == "here",
        transport: "stdio".into(),
        facts: None,
        listing: Arc::new(listing),
        health: Health { state, detail: None, restarts: 0 },
        call_timeout: None,
        source: spanwire_model::Source::Config,
        placed: None,
        load: 0,
    })
}

fn names(view: &View) -> Vec<String> {
    view.section(ListKind::Tools).entries().iter().map(|entry| entry.name.to_string()).collect()
}

fn inventory(servers: Vec<Arc<ServerEntry>>) -> Inventory {
    Inventory { version: 1, servers, nodes: Vec::new(), wanted: Vec::new() }
}

#[test]
fn names_are_a_function_of_configuration() {
    let alone = inventory(vec![server("a", "here", ServerState::Ready, &["echo", "add"])]);
    let joined = inventory(vec![
        server("a", "here", ServerState::Ready, &["echo", "add"]),
        server("b", "there", ServerState::Ready, &["echo"]),
    ]);
    let config = Config::default();
    assert_eq!(names(Snapshot::build(&alone, &config).view(None).unwrap()), ["a__echo", "a__add"]);
    let snapshot = Snapshot::build(&joined, &config);
    assert_eq!(names(snapshot.view(None).unwrap()), ["a__echo", "a__add", "b__echo"]);
    assert_eq!(names(snapshot.view(Some("b")).unwrap()), ["echo"]);
    assert!(snapshot.view(Some("nobody")).is_none());
}

#[test]
fn routes_lead_to_where_the_server_is() {
    let config = Config::default();
    let snapshot = Snapshot::build(
        &inventory(vec![
            server("a", "here", ServerState::Ready, &["t"]),
            server("a", "there", ServerState::Ready, &["t"]),
            server("b", "there", ServerState::Ready, &["t"]),
            server("c", "here", ServerState::Down, &["t"]),
        ]),
        &config,
    );
    let view = snapshot.view(None).unwrap();
    assert_eq!(view.resolve(ListKind::Tools, "a__t").unwrap().place, Place::Local);
    assert!(matches!(view.resolve(ListKind::Tools, "b__t").unwrap().place, Place::Remote(nodes) if nodes.len() == 1));
    assert_eq!(view.resolve(ListKind::Tools, "c__t").unwrap().place, Place::Nowhere);
    assert!(view.resolve(ListKind::Tools, "t").is_none());
    let route = view.resolve_uri("b+made:from/a/template").unwrap();
    assert_eq!(&**route.own_name().unwrap(), "made:from/a/template");
    assert!(view.resolve_uri("x:1").is_none());
    assert_eq!(&**snapshot.view(Some("b")).unwrap().resolve_uri("x:1").unwrap().own_name().unwrap(), "x:1");
    assert!(view.sole_server().is_none());
    assert!(snapshot.view(Some("b")).unwrap().sole_server().is_some());
}

#[test]
fn entries_keep_their_bytes_but_for_the_name() {
    let inventory = inventory(vec![server("a", "here", ServerState::Ready, &["t"])]);
    let snapshot = Snapshot::build(&inventory, &Config::default());
    let json = |view: Option<&str>| snapshot.view(view).unwrap().section(ListKind::Tools).entries()[0].json.clone();
    assert_eq!(json(None).as_str(), r#"{"description":"d","name":"a__t","inputSchema":{}}"#);
    assert_eq!(json(Some("a")).as_str(), r#"{"description":"d","name":"t", "inputSchema":{}}"#);
}

#[test]
fn tools_that_want_arguments_mirrored_are_known() {
    let with_schema = |schema: &str| {
        let mut entry = (*server("a", "here", ServerState::Ready, &["t", "u"])).clone();
        let mut listing = (*entry.listing).clone();
        listing.tools[0].json = Json::from_trusted(format!(r#"{{"name":"t","inputSchema":{schema}}}"#));
        entry.listing = Arc::new(listing);
        Snapshot::build(&inventory(vec![Arc::new(entry)]), &Config::default())
    };
    let snapshot = with_schema(r#"{"properties":{"x":{"type":"string","x-mcp-header":"X"}}}"#);
    let found = |view, name| snapshot.mirroring_tool(view, name).map(|tool| tool.canonical.to_string());
    assert_eq!(found(None, "a__t").as_deref(), Some("a__t"));
    assert_eq!(found(Some("a"), "t").as_deref(), Some("a__t"));
    assert_eq!(snapshot.mirroring_tool(None, "a__t").unwrap().mirrored.as_ref().unwrap()[0].header, "Mcp-Param-X");
    for (view, name) in [(None, "a__u"), (None, "t"), (Some("nobody"), "t")] {
        assert_eq!(found(view, name), None, "{view:?} {name}");
    }
    // An invalid one asks for nothing: no client sends it.
    let snapshot = with_schema(r#"{"properties":{"x":{"type":"number","x-mcp-header":"X"}}}"#);
    assert!(snapshot.mirroring_tool(None, "a__t").is_none());
}

#[test]
fn apps_survive_federation() {
    let mut entry = (*server("charts", "here", ServerState::Ready, &["t"])).clone();
    let mut listing = (*entry.listing).clone();
    let tool = r#"{"name":"t","inputSchema":{},"_meta":{"ui":{"resourceUri":"ui://bar/x","visibility":["app"]},"ui/resourceUri":"ui://bar/x","ui/other":"ui://bar/x"}}"#;
    listing.tools[0].json = Json::from_trusted(tool);
    let listed = |key: &str, uri: &str| ListingEntry {
        name: uri.into(),
        json: Json::from_trusted(format!(
            r#"{{"{key}":"{uri}","name":"n","mimeType":"text/html;profile=mcp-app","_meta":{{"ui":{{"csp":{{}}}}}}}}"#
        )),
    };
    listing.resources.push(listed("uri", "ui://bar/x"));
    listing.templates.push(listed("uriTemplate", "ui://bar/{id}"));
    entry.listing = Arc::new(listing);
    let named = ViewConfig {
        name: "dev".into(),
        servers: None,
        tools: None,
        rename: BTreeMap::from([("charts__t".to_owned(), "chart".to_owned())]),
        prefix: Prefix::Never,
    };
    let config = Config { views: vec![named], ..Config::default() };
    let snapshot = Snapshot::build(&inventory(vec![Arc::new(entry)]), &config);
    for (view, name) in [(None, "charts__t"), (Some("dev"), "chart")] {
        let view = snapshot.view(view).unwrap();
        let tool = &view.section(ListKind::Tools).entries()[0];
        let expected = r#"{"name":"NAME","inputSchema":{},"_meta":{"ui":{"resourceUri":"ui://charts+bar/x","visibility":["app"]},"ui/resourceUri":"ui://charts+bar/x","ui/other":"ui://bar/x"}}"#;
        assert_eq!(tool.json.as_str(), expected.replace("NAME", name));
        let resource = &view.section(ListKind::Resources).entries()[1];
        assert_eq!(
            resource.json.as_str(),
            r#"{"uri":"ui://charts+bar/x","name":"n","mimeType":"text/html;profile=mcp-app","_meta":{"ui":{"csp":{}}}}"#
        );
        // Policy knows one form for all resources.
        assert_eq!(&*resource.canonical, "charts+ui://bar/x");
        assert_eq!(&*view.section(ListKind::Templates).entries()[0].name, "ui://charts+bar/{id}");
        for uri in ["ui://charts+bar/x", "charts+ui://bar/x"] {
            let route = view.resolve_uri(uri).unwrap();
            assert_eq!(&**route.own_name().unwrap(), "ui://bar/x");
        }
        assert!(view.resolve_uri("ui://bar/x").is_none());
    }
    let own = snapshot.view(Some("charts")).unwrap();
    assert_eq!(own.section(ListKind::Tools).entries()[0].json.as_str(), tool);
    assert_eq!(&**own.resolve_uri("ui://bar/x").unwrap().own_name().unwrap(), "ui://bar/x");
}

#[test]
fn entries_of_a_dead_server_are_marked_or_dropped() {
    let inventory = inventory(vec![server("a", "here", ServerState::Down, &["t"])]);
    let kept = Snapshot::build(&inventory, &Config::default());
    let entry = &kept.view(None).unwrap().section(ListKind::Tools).entries()[0];
    assert_eq!(entry.json.to_value()["_meta"]["spanwire/stale"], true);
    let dropped = Snapshot::build(&inventory, &Config { stale: Stale::Drop, ..Config::default() });
    assert!(names(dropped.view(None).unwrap()).is_empty());
}

#[test]
fn named_views_choose_and_rename() {
    let servers = vec![
        server("a", "here", ServerState::Ready, &["echo", "add", "drop"]),
        server("b", "here", ServerState::Ready, &["echo"]),
        server("c", "here", ServerState::Ready, &["other"]),
    ];
    let view = ViewConfig {
        name: "dev".into(),
        servers: Some(vec!["a".parse().unwrap(), "b".parse().unwrap()]),
        tools: Some(vec!["a__echo".into(), "a__add".into(), "b__*".into()]),
        rename: BTreeMap::from([("a__add".to_owned(), "sum".to_owned())]),
        prefix: Prefix::Never,
    };
    let config = Config { views: vec![view], ..Config::default() };
    let snapshot = Snapshot::build(&inventory(servers), &config);
    let view = snapshot.view(Some("dev")).unwrap();
    assert_eq!(names(view), ["a__echo", "sum", "b__echo"]);
    assert_eq!(&**view.resolve(ListKind::Tools, "sum").unwrap().own_name().unwrap(), "add");
    assert!(view.resolve(ListKind::Tools, "a__drop").is_none());
}

#[test]
fn no_server_takes_the_name_of_another_ones_tool() {
    // `aa` comes first and lists what `b__echo` would be called, once `echo` is no longer unique.
    let servers = vec![
        server("aa", "here", ServerState::Ready, &["b__echo", "echo"]),
        server("b", "here", ServerState::Ready, &["echo"]),
    ];
    let view =
        ViewConfig { name: "v".into(), servers: None, tools: None, rename: BTreeMap::new(), prefix: Prefix::Never };
    let snapshot = Snapshot::build(&inventory(servers), &Config { views: vec![view], ..Config::default() });
    let view = snapshot.view(Some("v")).unwrap();
    assert_eq!(names(view), ["aa__b__echo", "aa__echo", "b__echo"]);
    assert_eq!(view.resolve(ListKind::Tools, "b__echo").unwrap().server.as_str(), "b");
}

#[test]
fn a_page_is_never_empty() {
    let inventory = inventory(vec![server("a", "here", ServerState::Ready, &["1", "2"])]);
    let snapshot = Snapshot::build(&inventory, &Config { page_size: 0, ..Config::default() });
    let section = snapshot.view(None).unwrap().section(ListKind::Tools);
    assert_eq!(section.page(None, snapshot.page_size, |_| true).unwrap().entries.len(), 1);
}

#[test]
fn pages_follow_our_own_cursors() {
    let inventory = inventory(vec![
        server("a", "here", ServerState::Ready, &["1", "2", "3"]),
        server("b", "here", ServerState::Ready, &["1", "2"]),
    ]);
    let snapshot = Snapshot::build(&inventory, &Config::default());
    let section = snapshot.view(None).unwrap().section(ListKind::Tools);
    let (mut cursor, mut seen) = (None, Vec::new());
    loop {
        let page = section.page(cursor.as_deref(), 2, |entry| &*entry.name != "a__2").unwrap();
        seen.extend(page.entries.iter().map(|entry| entry.name.to_string()));
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, ["a__1", "a__3", "b__1", "b__2"]);
    for bad in ["", "x", "MSBhIDEgMg", "%%"] {
        assert!(section.page(Some(bad), 2, |_| true).is_err(), "{bad}");
    }
    // A cursor of one list is none of another, nor of the same list in another view.
    let cursor = section.page(None, 2, |_| true).unwrap().next_cursor.unwrap();
    let takes =
        |view: Option<&str>, kind| snapshot.view(view).unwrap().section(kind).page(Some(&cursor), 2, |_| true).is_ok();
    assert!(takes(None, ListKind::Tools));
    assert!(!takes(None, ListKind::Resources) && !takes(None, ListKind::Prompts) && !takes(Some("a"), ListKind::Tools));
}

#[test]
fn whatever_an_entry_holds_survives() {
    let icons = r#""icons":[{"src":"data:image/png;base64,AA==","sizes":["48x48","any"],"theme":"dark","x":1}]"#;
    let rest = format!(
        r#""title":"T \u00e9 é","description":"d\n",{icons},"_meta":{{"com.example/a":{{"b":[1,  2]}},"progress":1e3}},"unknown":{{"deep":[{{"k":null}}]}}"#
    );
    let schema = r##"{"$schema":"https://json-schema.org/draft/2020-12/schema","$id":"urn:x","type":"object","$defs":{"user":{"$anchor":"u","type":"string"}},
        "properties":{"id":{"$ref":"#/$defs/user"},"by":{"$ref":"#u"},"far":{"$ref":"https://example.com/schema.json"}},
        "allOf":[{"if":{"required":["id"]},"then":{"not":{"required":["far"]}}}],"unevaluatedProperties":false,"required":["id"]}"##;
    let hints = r#""annotations":{"readOnlyHint":true,"destructiveHint":false,"idempotentHint":true,"openWorldHint":false,"title":"a","own":0.10}"#;
    let audience = r#""annotations":{"audience":["user"],"priority":0.90,"lastModified":"2025-01-12T15:00:58Z"}"#;
    let tool = format!(
        r#"{{{rest},"name":"NAME","inputSchema":{schema},"outputSchema":{schema},"execution":{{"taskSupport":"optional"}},{hints}}}"#
    );
    let prompt = format!(
        r#"{{"name":"NAME",{rest},"arguments":[{{"name":"a","title":"A","description":"","required":true,"x":[]}}]}}"#
    );
    let resource = format!(r#"{{"uri":"NAME","name":"n","mimeType":"a/b;c=d","size":12345678901,{audience},{rest}}}"#);
    let template = format!(r#"{{"uriTemplate":"NAME","name":"n","mimeType":"a/b",{audience},{rest}}}"#);
    let entry =
        |own: &str, text: &str| ListingEntry { name: own.into(), json: Json::from_trusted(text.replace("NAME", own)) };
    let listing = Listing {
        tools: vec![entry("t", &tool)],
        prompts: vec![entry("p", &prompt)],
        resources: vec![entry("x:1", &resource)],
        templates: vec![entry("x:{id}", &template)],
        ..Listing::default()
    };
    let server = ServerEntry { listing: Arc::new(listing), ..(*server("a", "here", ServerState::Ready, &[])).clone() };
    let snapshot = Snapshot::build(&inventory(vec![Arc::new(server)]), &Config::default());
    for (kind, text, own, exposed) in [
        (ListKind::Tools, &tool, "t", "a__t"),
        (ListKind::Prompts, &prompt, "p", "a__p"),
        (ListKind::Resources, &resource, "x:1", "a+x:1"),
        (ListKind::Templates, &template, "x:{id}", "a+x:{id}"),
    ] {
        let listed = |view| snapshot.view(view).unwrap().section(kind).entries()[0].json.as_str().to_owned();
        assert_eq!(listed(None), text.replace("NAME", exposed));
        assert_eq!(listed(Some("a")), text.replace("NAME", own));
    }
}

#[test]
fn fingerprints_change_with_what_is_listed() {
    let print = |tools: &[&str], state| {
        let snapshot = Snapshot::build(&inventory(vec![server("a", "here", state, tools)]), &Config::default());
        snapshot.view(None).unwrap().section(ListKind::Tools).fingerprint(|_| true)
    };
    assert_eq!(print(&["t"], ServerState::Ready), print(&["t"], ServerState::Degraded));
    assert_ne!(print(&["t"], ServerState::Ready), print(&["u"], ServerState::Ready));
    assert_ne!(print(&["t"], ServerState::Ready), print(&["t", "u"], ServerState::Ready));
}
