//! One run of a feature in a cell: a client, a server's tape, a tag; and what either side must have seen.

use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use spanwire_mcp::meta;
use spanwire_tests::scripted::{Answer, Answers, Client, Noted, Tape, Way};
use tokio::sync::Mutex;

use super::{
    cell::Cell,
    compare::{is_traceparent, same},
    rig::{Rig, capabilities},
};

/// What stands for an id of the broker's own.
pub(super) const ID: &str = "<id>";

/// One run.
pub(super) struct World {
    pub(super) cell: Cell,
    pub(super) rig: Arc<Rig>,
    /// The principal.
    pub(super) who: &'static str,
    /// In everything that belongs to this run.
    pub(super) tag: String,
    pub(super) client: Arc<Client>,
    tape: Mutex<Tape>,
}

/// What an answer to each kind of question is.
pub(super) fn answer(tag: &str, method: &str, params: &Value) -> Value {
    match method {
        "elicitation/create" if params["mode"] == "url" => json!({ "action": "accept" }),
        "elicitation/create" => {
            json!({ "action": "accept", "content": { "name": format!("{tag} to {}", params["message"]), "sure": true } })
        }
        "sampling/createMessage" => json!({
            "role": "assistant",
            "content": { "type": "text", "text": format!("{tag} thinks") },
            "model": "scripted",
            "stopReason": "endTurn",
        }),
        "roots/list" => json!({ "roots": [{ "uri": format!("file:///{tag}"), "name": tag }] }),
        other => json!({ "unknown": other }),
    }
}

/// Answers every question.
pub(super) fn answers(tag: &str) -> Answers {
    let tag = tag.to_owned();
    Arc::new(move |method, params| Answer::Result(answer(&tag, method, params)))
}

impl World {
    pub(super) async fn begin(rig: &Arc<Rig>, cell: Cell, who: &'static str) -> Result<Self> {
        let tag = rig.tag();
        let client = rig.client(&cell, who, capabilities(cell.client.revision)).await?;
        client.begin_run(&tag, answers(&tag));
        let tape = Mutex::new(Tape::from_now(&rig.tape(cell.server)));
        Ok(Self { cell, rig: rig.clone(), who, tag, client, tape })
    }

    /// Ends a run that has gone well: the client may be used again.
    pub(super) fn finish(self) -> Result<()> {
        if let Some(stray) = self.client.stray() {
            bail!("cross-talk: {} heard {stray}", self.tag);
        }
        self.rig.give_back(&self.cell, self.who, self.client);
        Ok(())
    }

    /// Another client of this run, with capabilities of its own.
    pub(super) async fn another(&self, who: &'static str, capabilities: Value) -> Result<Arc<Client>> {
        let client = self.rig.open(&self.cell, who, capabilities).await?;
        client.begin_run(&self.tag, answers(&self.tag));
        Ok(client)
    }

    /// Another client of this run like the first.
    pub(super) async fn twin(&self) -> Result<Arc<Client>> {
        self.another(self.who, capabilities(self.cell.client.revision)).await
    }

    /// The params of a call of a tool, with the tag among the arguments.
    pub(super) fn params(&self, tool: &str, mut arguments: Value) -> Value {
        arguments["tag"] = self.tag.clone().into();
        json!({ "name": self.cell.exposed(tool), "arguments": arguments })
    }

    /// Calls a tool, answers what it asks; the last response.
    pub(super) async fn call(&self, tool: &str, arguments: Value) -> Result<Value> {
        self.client.call("tools/call", self.params(tool, arguments)).await
    }

    /// Fails unless the server answers.
    pub(super) async fn is_served(&self) -> Result<()> {
        let response = self.call("echo", json!({})).await?;
        ensure!(response["result"]["isError"] == false, "the server does not answer: {response}");
        Ok(())
    }

    /// Fails unless a response is this result, in the form of the client's revision.
    pub(super) fn must_be(&self, what: &str, response: &Value, result: Value) -> Result<()> {
        let result = self.result(result);
        same(what, &json!({ "jsonrpc": "2.0", "id": response["id"], "result": result }), response)
    }

    /// A result as the client must get it.
    pub(super) fn result(&self, mut result: Value) -> Value {
        if self.client.is_modern() {
            result["resultType"] = "complete".into();
        }
        result
    }

    /// A result with one text.
    pub(super) fn must_say(&self, what: &str, response: &Value, text: &str) -> Result<()> {
        self.must_be(what, response, json!({ "content": [{ "type": "text", "text": text }] }))
    }

    /// What the server has heard of this run until now.
    pub(super) async fn heard(&self) -> Result<Vec<Noted>> {
        let mut tape = self.tape.lock().await;
        Ok(self.own(tape.lines()?))
    }

    /// Waits until something can be found in what the server has heard of this run.
    pub(super) async fn server_sees<T>(&self, what: &str, find: impl Fn(&[Noted]) -> Option<T>) -> Result<T> {
        let mut tape = self.tape.lock().await;
        let found = tape.wait(what, |lines| find(&self.own(lines))).await;
        if found.is_err() {
            let lines = self.own(tape.lines()?);
            let lines: Vec<String> = lines.iter().map(|noted| format!("{:?} {}", noted.way, noted.message)).collect();
            return found.with_context(|| format!("it saw\n{}", lines.join("\n")));
        }
        found
    }

    /// The lines that carry the tag, or are about a request that does.
    fn own(&self, lines: &[Noted]) -> Vec<Noted> {
        let mut ids: Vec<(u64, Value)> = Vec::new();
        let mut own = Vec::new();
        for noted in lines {
            let message = &noted.message;
            let tagged = message.to_string().contains(&self.tag);
            if tagged && noted.way == Way::In && message.get("method").is_some() {
                ids.extend(message.get("id").map(|id| (noted.connection, id.clone())));
            }
            let about = [&message["id"], &message["params"]["requestId"], &message["dropped"], &message["cancelled"]];
            let about = about.into_iter().any(|id| ids.contains(&(noted.connection, id.clone())));
            if tagged || about {
                own.push(noted.clone());
            }
        }
        own
    }

    /// The messages that the server heard of this run, without what is random in them.
    pub(super) async fn heard_messages(&self) -> Result<Vec<Value>> {
        let heard = self.heard().await?;
        heard.into_iter().filter(|noted| noted.way == Way::In).map(|noted| self.plain(noted.message)).collect()
    }

    /// Fails unless the server has heard these messages and no others.
    pub(super) async fn server_heard(&self, expected: &[Value]) -> Result<()> {
        let heard = self.heard_messages().await?;
        same("the server heard", &Value::Array(expected.to_vec()), &Value::Array(heard))
    }

    /// A message with what is random in it replaced, once its form is right.
    fn plain(&self, mut message: Value) -> Result<Value> {
        if message.get("method").is_some() && message.get("id").is_some() {
            ensure!(message["id"].as_i64().is_some_and(|id| id > 0), "an id of the broker: {message}");
            let id = std::mem::replace(&mut message["id"], ID.into());
            if let Some(Value::Object(members)) = message.pointer_mut("/params/_meta") {
                if let Some(token) = members.get_mut("progressToken") {
                    ensure!(*token == id, "the progress token {token} is not the id {id}");
                    *token = ID.into();
                }
                if let Some(trace) = members.get_mut("traceparent") {
                    ensure!(is_traceparent(trace.as_str().unwrap_or_default()), "no traceparent: {trace}");
                    *trace = "<trace>".into();
                }
                if let Some(declared) = members.get_mut(meta::CLIENT_CAPABILITIES) {
                    ensure!(declared.is_object(), "no capabilities: {declared}");
                    *declared = "<capabilities>".into();
                }
            }
        }
        Ok(message)
    }

    /// A request as the server must hear it: with the metadata of its revision. `own` are members that the client gave.
    pub(super) fn request(&self, method: &str, mut params: Value, own: Value) -> Value {
        let mut members = json!({ "traceparent": "<trace>" });
        if self.cell.server.is_modern() {
            members[meta::PROTOCOL_VERSION] = "2026-07-28".into();
            members[meta::CLIENT_CAPABILITIES] = "<capabilities>".into();
            members[meta::CLIENT_INFO] = self.client.info();
            if !self.client.is_modern() {
                members[meta::LOG_LEVEL] = "info".into();
            }
        }
        for (key, value) in own.as_object().into_iter().flatten() {
            members[key] = value.clone();
        }
        params["_meta"] = members;
        json!({ "jsonrpc": "2.0", "id": ID, "method": method, "params": params })
    }

    /// The messages that the client got on the way to the response of a request, in order, without the response.
    pub(super) fn on_the_way(&self, id: &Value) -> Vec<Value> {
        let got = self.client.got();
        let own = got.iter().filter(|got| got.on == *id || got.on.is_null());
        own.filter(|got| got.message.get("method").is_some()).map(|got| got.message.clone()).collect()
    }
}
