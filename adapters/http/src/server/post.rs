//! POST: one message, or a batch of a 2025-03-26 session.

use std::sync::Arc;

use axum::{body::Body, response::Response};
use spanwire_mcp::{Limits, Message, Meta, Params, Parsed};
use spanwire_model::{EraChoice, TraceContext, Verb};

use super::{
    Caller, Edge, gate,
    legacy::{self, Found},
    modern,
    opening::{Opening, choose},
    refusal::Refusal,
};

pub(crate) async fn post(edge: Arc<Edge>, caller: Caller, body: Body) -> Result<Response, Refusal> {
    let body = gate::body(&edge.config, &caller.headers, body).await?;
    let session = match caller.era {
        EraChoice::Auto | EraChoice::Legacy => edge.sessions.find(&caller)?,
        // The header is ignored (2026-07-28, basic/transports/streamable-http, "Earlier Streamable HTTP Revisions").
        EraChoice::Modern => Found::Absent,
    };
    let batches = match &session {
        Found::Session(session) => session.revision().has_batches(),
        // Read, so that a client of 2025-03-26 learns that its session is gone and not that batches are.
        Found::Unknown | Found::Elsewhere(_) => true,
        Found::Absent => false,
    };
    let limits = Limits { max_bytes: edge.config.max_body_bytes, ..Limits::default() };
    let message = match Message::parse(&body, &limits, batches) {
        Ok(Parsed::Single(message)) => message,
        Ok(Parsed::Batch(messages)) => {
            return match session {
                Found::Elsewhere(session) => {
                    let parent = caller.parent(&Meta::default());
                    session.ask(&edge, &caller, Verb::Post, body, false, parent).await
                }
                session => legacy::batch(&edge, &caller, session, messages).await,
            };
        }
        Err(error) => {
            let id = error.id.clone();
            let refusal = Refusal::of(error.into());
            return Err(match id {
                Some(id) => refusal.with_id(id),
                None => refusal,
            });
        }
    };
    let id = match &message {
        Message::Request(request) => Some(request.id.clone()),
        Message::Notification(_) | Message::Response(_) => None,
    };
    let answered = match choose(caller.era, &caller.headers, &message, session) {
        Ok(Opening::Modern) => modern::post(&edge, caller, message).await,
        Ok(Opening::Initialize) => legacy::initialize(&edge, &caller, message).await,
        Ok(Opening::Elsewhere(session)) => {
            let parent = parent_of(&caller, &message);
            session.ask(&edge, &caller, Verb::Post, body, id.is_some(), parent).await
        }
        Ok(Opening::Session(session)) => legacy::post(&edge, &caller, session, message).await,
        Err(refusal) => Err(refusal),
    };
    answered.map_err(|refusal| match id {
        Some(id) => refusal.with_id(id),
        None => refusal,
    })
}

/// The client's position in its trace, for a message that is passed on.
pub(crate) fn parent_of(caller: &Caller, message: &Message) -> Option<TraceContext> {
    let params = match message {
        Message::Request(request) => request.params.as_ref(),
        Message::Notification(notification) => notification.params.as_ref(),
        Message::Response(_) => None,
    };
    caller.parent(&Params::read(params).unwrap_or_default().meta)
}
