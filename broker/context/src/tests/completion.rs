//! What a host offers while somebody fills in the template of a resource.

use std::sync::Arc;

use serde_json::{Value, json};
use spanwire_mcp::Method;
use spanwire_model::ErrorKind;

use super::{
    options, put,
    server::Client,
    service::{ann, contexts_with},
    space,
};
use crate::{AllowList, Config, Rule, Transaction, Verb};

const KEY: &str = "ctx://{space}/{+key}";

fn wanted(template: &str, name: &str, typed: &str, space: Option<&str>) -> Value {
    let mut params = json!({
        "ref": { "type": "ref/resource", "uri": template },
        "argument": { "name": name, "value": typed },
    });
    if let Some(space) = space {
        params["context"] = json!({ "arguments": { "space": space } });
    }
    params
}

#[tokio::test]
async fn spaces_and_keys_are_completed() {
    let rule = |principal: &str, space: &str, key: &str| Rule {
        principal: principal.into(),
        space: space.into(),
        key: key.into(),
        verbs: Verb::ALL.to_vec(),
    };
    let access = Arc::new(AllowList::new(vec![rule("ann", "*", "*"), rule("bob", "plan", "open/*")]));
    let (contexts, _, _) = contexts_with(|config| Config { access, ..config });
    let client = Client::of(&contexts);
    for number in 0..101 {
        let operation = put(&format!("open/{number:03}"), "1");
        ann(&contexts).write(&space("plan"), Transaction::one(operation), options()).await.unwrap();
    }
    for (name, key) in [("plan", "shut ä%"), ("play", "k"), ("other", "k")] {
        ann(&contexts).write(&space(name), Transaction::one(put(key, "1")), options()).await.unwrap();
    }
    let completed = async |principal: &str, params: Value| {
        let result = client.ask(principal, Method::Complete, &params).outcome().await.unwrap().to_value();
        assert_eq!(result["resultType"], "complete");
        let completion = &result["completion"];
        let values: Vec<String> = serde_json::from_value(completion["values"].clone()).unwrap();
        (values, completion["hasMore"].as_bool().unwrap())
    };
    for template in [KEY, "ctx://{space}"] {
        assert_eq!(completed("ann", wanted(template, "space", "pla", None)).await.0, ["plan", "play"]);
        assert_eq!(completed("bob", wanted(template, "space", "", None)).await, (vec!["plan".to_owned()], false));
    }
    assert_eq!(completed("ann", wanted(KEY, "key", "shut", Some("plan"))).await.0, ["shut ä%"]);
    // What names a key, not another one: the template leaves escapes as they are.
    for key in ["100%25", "100%"] {
        ann(&contexts).write(&space("play"), Transaction::one(put(key, "1")), options()).await.unwrap();
    }
    assert_eq!(completed("ann", wanted(KEY, "key", "100", Some("play"))).await.0, ["100%", "100%2525"]);
    assert_eq!(completed("ann", wanted(KEY, "key", "100%2525", Some("play"))).await.0, ["100%2525"]);
    assert_eq!(completed("ann", wanted(KEY, "key", "%FF", Some("play"))).await.0, Vec::<String>::new());
    // At most 100, and whether there are more.
    let (keys, more) = completed("ann", wanted(KEY, "key", "open/", Some("plan"))).await;
    assert_eq!((keys.len(), keys[0].as_str(), keys[99].as_str(), more), (100, "open/000", "open/099", true));
    let (keys, more) = completed("ann", wanted(KEY, "key", "open/0", Some("plan"))).await;
    assert_eq!((keys.len(), more), (100, false));
    // What may not be read is not offered.
    for params in [
        wanted(KEY, "key", "shut", Some("plan")),
        wanted(KEY, "key", "", Some("other")),
        wanted(KEY, "key", "", Some("no space")),
        wanted(KEY, "key", "", None),
        wanted(KEY, "space", "o", None),
    ] {
        assert_eq!(completed("bob", params).await, (Vec::new(), false));
    }
    for params in [
        wanted("ctx://{space}", "key", "", Some("plan")),
        wanted("ctx://{other}", "space", "", None),
        wanted(KEY, "kee", "", None),
        json!({ "ref": { "type": "ref/resource", "uri": KEY } }),
        json!({ "ref": { "type": "ref/prompt", "name": "x" }, "argument": { "name": "space", "value": "" } }),
    ] {
        let error = client.ask("ann", Method::Complete, &params).outcome().await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidParams, "{params}");
    }
}
