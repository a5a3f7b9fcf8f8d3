//! A modern server: its own metadata goes out, everything else passes.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::StreamExt;
use spanwire_mcp::{Json, Method, Notification, SubscriptionFilter, meta};
use spanwire_model::{ErrorKind, Event, Reply, ServerFacts, Upstream, UpstreamCall};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    declared::Said,
    incoming::{progress, without_subscription_id},
    line::Line,
    notices::Board,
    outgoing::Outgoing,
    shared::{Shared, single_resource},
};

/// The first pause before the stream of list changes is opened again; it doubles each time.
const REOPEN_FIRST: Duration = Duration::from_secs(1);
/// The longest such pause.
const REOPEN_LONGEST: Duration = Duration::from_secs(60);

/// A modern server.
pub(super) struct Modern {
    pub line: Arc<Line>,
    pub shared: Arc<Shared>,
    pub _stop: DropGuard,
}

#[async_trait]
impl Upstream for Modern {
    fn call(&self, call: UpstreamCall) -> Reply {
        if call.method == Method::Listen
            && let Some(uri) = single_resource(&call.params)
        {
            return self.shared.listen(uri, call);
        }
        send(&self.line, call)
    }

    async fn close(&self) {
        self.line.wire.close().await;
    }
}

/// The caller's progress token, if it gave one.
pub(super) fn caller_token(params: &Json) -> Option<Json> {
    token_in(params.get("_meta").as_ref())
}

fn token_in(meta_in: Option<&Json>) -> Option<Json> {
    meta_in?.get(meta::PROGRESS_TOKEN).filter(|token| token.as_str() != "null")
}

/// Sends a call; what comes back is passed on.
pub(super) fn send(line: &Arc<Line>, call: UpstreamCall) -> Reply {
    let line = line.clone();
    Reply::new(async_stream::stream! {
        let said = Said::of(&call.params);
        if let Some(error) = said.error_answer() {
            yield Event::Done(Err(error));
            return;
        }
        let token = token_in(said.meta.as_ref());
        let id = line.next_id();
        let out = Outgoing {
            params: &call.params,
            progress_token: token.is_some().then_some(id),
            trace: call.trace.as_ref(),
        };
        let params = out.modern_over(said.meta.clone(), line.revision(), &line.client_info);
        let listen = call.method == Method::Listen;
        let (takes_input, is_task) = (call.method.takes_input(), call.method == Method::TasksGet);
        let mut events = line.send(id, call.method, params, call.trace);
        while let Some(event) = events.next().await {
            match event {
                Event::Progress(notification) => {
                    if let Some(event) = progress(notification, token.as_ref()) {
                        yield event;
                    }
                }
                Event::Notification(notification) if listen => {
                    let params = notification.params.map(without_subscription_id);
                    if let (Method::TaskStatus, Some(task)) = (&notification.method, &params)
                        && let Err(error) = said.declared_by_task(&line.server, task.clone())
                    {
                        tracing::warn!(server = %line.server, %error, "left out the state of a task");
                        continue;
                    }
                    yield Event::Notification(Notification { params, ..notification });
                }
                Event::Done(outcome) if listen => yield Event::Done(outcome.map(without_subscription_id)),
                Event::Done(Ok(task)) if is_task => yield Event::Done(said.declared_by_task(&line.server, task)),
                Event::Done(Ok(result)) if takes_input => yield Event::Done(said.declared(&line.server, result)),
                Event::Notification(_) | Event::Done(_) => yield event,
            }
        }
    })
}

/// Keeps one stream of list changes open, as long as the server offers any.
pub(super) async fn watch_lists(line: Arc<Line>, facts: ServerFacts, board: Arc<Board>, stop: CancellationToken) {
    let offers = |name: &str| {
        facts.capabilities.get(name).and_then(|one| one.get("listChanged")).is_some_and(|flag| flag.as_str() == "true")
    };
    let filter = SubscriptionFilter {
        tools_list_changed: offers("tools"),
        prompts_list_changed: offers("prompts"),
        resources_list_changed: offers("resources"),
        resource_subscriptions: Vec::new(),
        task_ids: Vec::new(),
    };
    if filter == SubscriptionFilter::default() {
        return;
    }
    let Ok(filter) = Json::from_serialize(&filter) else { return };
    let params = Json::empty_object().with(&[("notifications", filter.as_bytes())], &[]);
    let mut pause = REOPEN_FIRST;
    loop {
        let once = watch_once(&line, &params, &board, &mut pause);
        let outcome = tokio::select! {
            outcome = once => outcome,
            () = stop.cancelled() => return,
        };
        match outcome {
            Some(ErrorKind::Server | ErrorKind::MethodNotFound) => {
                tracing::warn!(server = %line.server, "the server declares list changes but refuses to send them");
                return;
            }
            reason => tracing::debug!(server = %line.server, ?reason, "the stream of list changes ended"),
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return,
        }
        pause = (pause * 2).min(REOPEN_LONGEST);
        // Whatever changed while no stream was open was not seen.
        board.all_changed();
    }
}

/// One stream of list changes, to its end; the kind of its error.
async fn watch_once(line: &Arc<Line>, params: &Json, board: &Board, pause: &mut Duration) -> Option<ErrorKind> {
    let out = Outgoing { params, progress_token: None, trace: None };
    let params = out.modern(line.revision(), &line.client_info);
    let mut events = line.send(line.next_id(), Method::Listen, params, None);
    while let Some(event) = events.next().await {
        match event {
            Event::Notification(notification) => {
                *pause = REOPEN_FIRST;
                board.changed(&notification.method);
            }
            Event::Progress(_) => {}
            Event::Done(outcome) => return outcome.err().map(|error| error.kind),
        }
    }
    None
}
