//! A server answers with an error of its own: it is passed on as it is, from wherever it comes.

use serde_json::json;

use super::{
    rig::{Reach, Rig},
    server::{Kind, Server},
};

/// Codes of JSON-RPC and of MCP, and those that the broker itself uses: none of them is the broker's when a server sends it.
const CODES: [i64; 13] =
    [-32700, -32600, -32601, -32602, -32603, -32020, -32022, -32001, 40100, 40300, 42900, 50300, 50410];

async fn passes(kind: Kind, reach: Reach) {
    let server = Server::new("refuses", kind).await;
    let rig = Rig::start(reach, "", &[(&server, "")]).await;
    for code in CODES {
        let answer = rig.client.call("refuses__fail", json!({ "code": code })).await;
        let error = json!({ "code": code, "message": "as you like" });
        // Where a code has a status of its own, it has it here too (2026-07-28, streamable-http).
        let status = match code {
            -32601 => 404,
            -32020 | -32022 => 400,
            _ => 200,
        };
        assert_eq!((answer.status, &answer.body["error"]), (status, &error), "{kind:?} {reach:?}");
    }
    rig.falls_silent().await;
}

#[tokio::test]
async fn an_error_of_the_server_is_passed_on() {
    passes(Kind::StdioModern, Reach::Here).await;
    passes(Kind::HttpLegacy, Reach::Here).await;
}

#[tokio::test]
async fn an_error_of_the_server_is_passed_on_between_nodes() {
    passes(Kind::StdioModern, Reach::Across).await;
}
