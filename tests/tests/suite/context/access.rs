//! What a principal may do in which space.

use serde_json::{Value, json};
use spanwire_tests::node::Caller;

use super::world::World;

const PRINCIPALS: &str = "
[[principals]]
name = \"writer\"
token = \"w\"

[[principals]]
name = \"reader\"
token = \"r\"
contexts = [\"public:read\", \"inbox/reader/*:append\"]

[[principals]]
name = \"keeper\"
token = \"k\"
contexts = [\"inbox:admin\"]
";

async fn call(caller: &Caller, tool: &str, arguments: Value) -> Value {
    let answer = caller.call(&format!("context__{tool}"), arguments).await.unwrap();
    assert!(answer.get("error").is_none(), "{answer}");
    answer["result"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_principal_does_what_its_list_says() {
    let world = World::alone(PRINCIPALS).await;
    let caller = |token: &str| Caller::new(world.first().mcp_url("")).with_token(token);
    let (writer, reader) = (caller("w"), caller("r"));
    for space in ["public", "private", "inbox"] {
        let put = json!({ "space": space, "key": "k", "value": space });
        assert_ne!(call(&writer, "put", put).await["isError"], true);
    }
    let found = async |space: &str| {
        let got = call(&reader, "get", json!({ "space": space, "key": "k" })).await;
        got["structuredContent"]["found"].clone()
    };
    assert_eq!(found("public").await, true);
    // What may not be read reads like what is not there.
    assert_eq!(found("private").await, false);
    assert_eq!(found("inbox").await, false);
    let spaces = call(&reader, "spaces", json!({})).await;
    let names: Vec<&Value> =
        spaces["structuredContent"]["spaces"].as_array().unwrap().iter().map(|space| &space["name"]).collect();
    assert!(names.contains(&&json!("public")) && !names.contains(&&json!("private")), "{spaces}");

    for (tool, arguments) in [
        ("put", json!({ "space": "public", "key": "k", "value": 1 })),
        ("put", json!({ "space": "inbox", "key": "reader/notes", "value": [] })),
        ("append", json!({ "space": "inbox", "key": "writer/notes", "values": [1] })),
        ("drop", json!({ "space": "public" })),
    ] {
        let refused = call(&reader, tool, arguments).await;
        assert_eq!((&refused["isError"], &refused["structuredContent"]["kind"]), (&json!(true), &json!("denied")));
    }
    let append = json!({ "space": "inbox", "key": "reader/notes", "values": ["hello"] });
    assert_ne!(call(&reader, "append", append).await["isError"], true);
    let got = call(&writer, "get", json!({ "space": "inbox", "key": "reader/notes" })).await;
    assert_eq!(got["structuredContent"]["item"]["writer"]["principal"], "reader", "{got}");
    // The operator may drop a space, and who was given the right; who may write may not.
    let refused = call(&writer, "drop", json!({ "space": "private" })).await;
    assert_eq!(refused["structuredContent"]["kind"], "denied", "{refused}");
    let dropped = call(&caller("k"), "drop", json!({ "space": "inbox" })).await;
    assert_eq!(dropped["structuredContent"], json!({ "dropped": true, "keys": 2 }));
    let mut contexts = world.first().contexts().await.unwrap();
    let drop = spanwire_rpc::v1::ContextDropSpaceRequest { space: "private".into(), ..Default::default() };
    assert!(contexts.drop_space(drop).await.unwrap().into_inner().dropped);
}
