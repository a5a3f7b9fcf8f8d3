//! How an exchange is written on the bus.
//!
//! The request's params are `{"verb":…,"session":…,"view":…,"address":…,"headers":[[name,value],…],"body":…}`, with the body as the JSON
//! that it is; the head is `{"status":…,"headers":[…]}`; the end is a JSON-RPC response.

use bytes::Bytes;
use spanwire_mcp::{Json, Limits, Message, Method, ObjectWriter, Request, RequestId, string_literal};
use spanwire_model::{BusRequest, Error, ErrorKind, Exchange, ExchangePart, Principal, Result, TraceContext, Verb};

/// Levels of nesting around a body.
const AROUND: usize = 2;

/// The names of what can be asked.
const VERBS: [(Verb, &str); 4] =
    [(Verb::Post, "post"), (Verb::Message, "message"), (Verb::Get, "get"), (Verb::Delete, "delete")];

/// The payload of a request.
pub(super) fn write(exchange: &Exchange, method: &str) -> Bytes {
    let verb = VERBS.iter().find(|(verb, _)| *verb == exchange.verb).map_or("", |(_, name)| name);
    let mut params = ObjectWriter::with_capacity(exchange.body.len() + 512);
    params.member("verb", string_literal(verb).as_bytes());
    params.member("session", string_literal(&exchange.session).as_bytes());
    if let Some(view) = &exchange.view {
        params.member("view", string_literal(view).as_bytes());
    }
    if let Some(address) = exchange.address {
        params.member("address", string_literal(&address.to_string()).as_bytes());
    }
    params.member("headers", &pairs(&exchange.headers));
    if !exchange.body.is_empty() {
        params.member("body", &exchange.body);
    }
    let id = RequestId::String(exchange.id.to_string().into());
    Request { id, method: Method::from(method), params: Some(params.finish()) }.to_bytes()
}

/// Reads what [`write`] wrote.
pub(super) fn read(request: &BusRequest, hop: TraceContext) -> Result<Exchange> {
    let default = Limits::default();
    let limits = Limits { max_bytes: usize::MAX, max_depth: default.max_depth + AROUND, ..default };
    let Message::Request(message) = Message::parse_single(&request.payload, &limits)? else {
        return Err(Error::new(ErrorKind::InvalidRequest, "an exchange between nodes is a request"));
    };
    let params = message.params.unwrap_or_else(Json::empty_object);
    let text = |member: &str| params.get(member).and_then(|value| value.read::<String>().ok());
    let lacks = |member: &str| Error::new(ErrorKind::InvalidParams, format!("exchange lacks \"{member}\""));
    let verb = text("verb").and_then(|name| VERBS.iter().find(|(_, known)| *known == name));
    Ok(Exchange {
        id: request.call_id,
        principal: Principal::new(request.principal.clone()),
        view: text("view").map(Into::into),
        verb: verb.ok_or_else(|| lacks("verb"))?.0,
        session: text("session").ok_or_else(|| lacks("session"))?.into(),
        headers: params.get("headers").and_then(|pairs| pairs.read().ok()).ok_or_else(|| lacks("headers"))?,
        address: text("address").and_then(|address| address.parse().ok()),
        parent: Some(hop),
        body: params.get("body").map(|body| body.as_bytes().clone()).unwrap_or_default(),
    })
}

/// The first frame of a reply.
pub(super) fn write_head(status: u16, headers: &[(String, String)]) -> Bytes {
    let mut head = ObjectWriter::with_capacity(256);
    head.member("status", status.to_string().as_bytes());
    head.member("headers", &pairs(headers));
    head.finish().as_bytes().clone()
}

/// Reads what [`write_head`] wrote.
pub(super) fn read_head(payload: &Bytes) -> Result<ExchangePart> {
    let broken = || Error::new(ErrorKind::StreamLost, "another node began an answer with something else than a head");
    let head = Json::parse(payload.clone()).map_err(|_| broken())?;
    let status = head.get("status").and_then(|status| status.read().ok()).ok_or_else(broken)?;
    let headers = head.get("headers").and_then(|pairs| pairs.read().ok()).ok_or_else(broken)?;
    Ok(ExchangePart::Head { status, headers })
}

/// What the last frame of a whole answer has in it.
pub(super) fn whole() -> Json {
    Json::empty_object()
}

/// Reads the last frame: an error says that the body broke off, or that there was no answer.
pub(super) fn read_end(payload: &Bytes, begun: bool) -> Result<()> {
    match Message::parse_single(payload, &Limits::default())? {
        Message::Response(response) => {
            response.outcome.map_err(Error::from_bus_object)?;
            if begun { Ok(()) } else { Err(Error::new(ErrorKind::StreamLost, "another node answered without a head")) }
        }
        Message::Request(_) | Message::Notification(_) => {
            Err(Error::new(ErrorKind::StreamLost, "another node ended an answer with something else than a response"))
        }
    }
}

fn pairs(headers: &[(String, String)]) -> Vec<u8> {
    serde_json::to_vec(headers).unwrap_or_else(|_| b"[]".to_vec())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use super::*;

    fn hop() -> TraceContext {
        TraceContext::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", None).unwrap()
    }

    fn arrived(payload: Bytes) -> Result<Exchange> {
        let request = BusRequest {
            call_id: uuid::Uuid::from_u128(7),
            principal: "ann".into(),
            server: None,
            method: "x".into(),
            name: None,
            budget: Duration::ZERO,
            trace: None,
            payload,
        };
        read(&request, hop())
    }

    #[test]
    fn an_exchange_comes_back_as_it_was() {
        let deepest =
            format!("{}1{}", "[".repeat(Limits::default().max_depth), "]".repeat(Limits::default().max_depth));
        for (verb, view, body) in [
            (Verb::Post, Some("work"), "{\n \"jsonrpc\" : \"2.0\", \"x\": \"\u{fc}\\n\"}"),
            (Verb::Post, None, &*deepest),
            (Verb::Get, None, ""),
            (Verb::Delete, None, ""),
            (Verb::Message, None, "{}"),
        ] {
            let sent = Exchange {
                id: uuid::Uuid::from_u128(7),
                principal: Principal::new("ann"),
                view: view.map(Into::into),
                verb,
                session: "a.\"b\"".into(),
                headers: vec![("mcp-protocol-version".into(), "2025-06-18".into())],
                address: Some(([127, 0, 0, 1], 80).into()),
                parent: None,
                body: Bytes::copy_from_slice(body.as_bytes()),
            };
            let got = arrived(write(&sent, "x")).unwrap();
            assert_eq!(
                (got.id, &got.principal, &got.view, got.verb),
                (sent.id, &sent.principal, &sent.view, sent.verb)
            );
            assert_eq!((&got.session, &got.headers, got.address), (&sent.session, &sent.headers, sent.address));
            // A message on the bus is one line.
            assert_eq!((got.parent, got.body), (Some(hop()), Bytes::from(body.replace('\n', " "))));
        }
    }

    #[test]
    fn what_is_no_exchange() {
        for params in ["{}", r#"{"verb":"put","session":"a","headers":[]}"#, r#"{"verb":"get","headers":[]}"#] {
            let payload = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"x","params":{params}}}"#);
            assert_eq!(arrived(payload.into()).err().unwrap().kind, ErrorKind::InvalidParams, "{params}");
        }
        for head in ["", "7", r#"{"status":"x","headers":[]}"#, r#"{"status":200}"#] {
            assert_eq!(read_head(&Bytes::from(head)).unwrap_err().kind, ErrorKind::StreamLost, "{head}");
        }
        let end = Bytes::from_static(br#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
        assert!(read_end(&end, true).is_ok());
        assert_eq!(read_end(&end, false).unwrap_err().kind, ErrorKind::StreamLost);
    }
}
