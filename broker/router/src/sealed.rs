//! Calls that come back: retries with the input that a server asked for, and questions about tasks.
//!
//! On the node that executes, what a server gives out (`requestState`, a task's id) is sealed, and what comes back is opened and
//! compared with the call ([`crate::seal`]). Every other node reads the front of it only, and sends the call there.

use std::sync::Arc;

use futures::StreamExt;
use spanwire_catalog::{View, canonical};
use spanwire_mcp::{Era, Json, Method, Notification, Params, input, string_literal};
use spanwire_model::{Error, ErrorKind, Event, ListKind, NodeId, Object, Reply, Result, Route, ServerId, TraceContext};
use spanwire_policy::Permitted;

use crate::{
    Inner, execute,
    forward::{Back, Elsewhere},
    replica,
    seal::{Front, Kind, Payload, expires_in},
};

/// The text that a call brings back, if it does: the `requestState` of a retry, or the id of a task.
pub(crate) fn brought<'a>(method: &Method, params: &'a Params<'_>) -> Option<&'a str> {
    match method {
        Method::ToolsCall | Method::PromptsGet | Method::ResourcesRead => params.request_state.as_deref(),
        Method::TasksGet | Method::TasksUpdate | Method::TasksCancel => params.task_id.as_deref(),
        Method::Listen => params.notifications.as_ref()?.task_ids.first().map(String::as_str),
        _ => None,
    }
}

/// What a retry brings back, and where it must go with it.
pub(crate) fn back(inner: &Inner, text: &str, route: &Route) -> Result<Back> {
    let front = Front::of(text).map_err(|_| useless_state())?;
    if front.kind == Kind::Task || front.server != route.server {
        return Err(useless_state());
    }
    Ok(toward(inner, text, &front, route))
}

/// The route of a call about a task in this view: that of the tool that made the task.
pub(crate) fn task_route(inner: &Inner, view: &View, id: &str) -> Result<(Route, Back)> {
    let front = Front::of(id).ok().filter(|front| front.kind == Kind::Task);
    let front = front.ok_or_else(|| Inner::unknown("task", id, None))?;
    let server = view.route_to(&front.server).ok_or_else(|| unknown_task(inner, id))?;
    let route = Route { object: tool(&front.server, &front.tool), ..server };
    let back = toward(inner, id, &front, &route);
    Ok((route, back))
}

/// The tool that a task came from, as another node names it.
pub(crate) fn task_object(server: &ServerId, id: &str) -> Result<Object> {
    let front = Front::of(id).ok().filter(|front| front.kind == Kind::Task && front.server == *server);
    front.map(|front| tool(server, &front.tool)).ok_or_else(|| Inner::unknown("task", id, None))
}

fn tool(server: &ServerId, own_name: &str) -> Object {
    Object::Entry {
        kind: ListKind::Tools,
        own_name: own_name.into(),
        canonical: canonical(ListKind::Tools, server, own_name).into(),
    }
}

/// Where a call goes that brings a sealed text: to the node that sealed it, since of several replicas only that one's server may know
/// what it is about. When that node has the server no more, any other one may try that can open the text, unless it is about a task that
/// a replica beside it has: of that one a stranger's "unknown" would be a lie. A node that is not there any more is asked all the same when
/// nobody else can help: its silence is the answer.
fn toward(inner: &Inner, text: &str, front: &Front, route: &Route) -> Back {
    let back = |node: Option<NodeId>, is_bound| Back { text: text.into(), node, is_bound };
    let there = || Some(front.node.clone());
    if front.kind == Kind::Parked {
        return back(there(), true);
    }
    let is_here = front.node == inner.config.node;
    let inventory = inner.registry.inventory();
    let has_server = match is_here {
        true => inner.registry.attached(&route.server).is_some(),
        false => replica::callable(&inventory, &route.server).any(|node| *node == front.node),
    };
    let opens = || inner.seal.open(text).is_ok();
    if has_server {
        // What a task is, only its own server knows. A state is complete, for whoever can open it.
        return back(there(), front.kind == Kind::Task || is_here || !opens());
    }
    if front.kind == Kind::Task {
        // Whoever runs now what ran there says itself that the task is unknown.
        let moves = replica::is_one_that_moves(&inventory, &route.server);
        return if moves { back(None, false) } else { back(there(), true) };
    }
    let is_gone = || !inventory.nodes.iter().any(|node| node.id == front.node);
    if is_here || opens() || is_gone() { back(None, false) } else { back(there(), true) }
}

/// Calls a server of this node; whatever is sealed is opened before and sealed after.
pub(crate) fn local(
    inner: &Arc<Inner>,
    permitted: &Permitted,
    brought: Option<&str>,
    parent: TraceContext,
    elsewhere: Elsewhere,
) -> Reply {
    let call = permitted.call();
    if let Some(error) = brought.and_then(|text| out_of_reach(inner, permitted, text)) {
        return Reply::ready(Err(error));
    }
    let opened = match brought.map(|text| open(inner, permitted, text)).transpose() {
        Ok(opened) => opened,
        Err(error) => return Reply::ready(Err(error)),
    };
    let own = opened.as_ref().map(|opened| opened.own.clone());
    let reply = execute::execute(inner, permitted, opened, parent.clone(), elsewhere);
    let gives_out = match &call.method {
        Method::ToolsCall
        | Method::PromptsGet
        | Method::ResourcesRead
        | Method::TasksGet
        | Method::TasksUpdate
        | Method::TasksCancel => true,
        Method::Listen => brought.is_some(),
        _ => false,
    };
    if !gives_out {
        return reply;
    }
    let sealer = Sealer {
        inner: inner.clone(),
        principal: call.principal.name.clone(),
        method: call.method.clone(),
        params: call.params.clone(),
        server: permitted.route().server.clone(),
        own_name: permitted.route().own_name().cloned(),
        brought: brought.map(Into::into),
        own,
        parent,
    };
    Reply::new(reply.map(move |event| match event {
        Event::Done(Ok(result)) => Event::Done(sealer.result(result)),
        Event::Notification(notification) => Event::Notification(sealer.notification(notification)),
        event => event,
    }))
}

/// The error for a call about a task of which the server of this node cannot know: another replica has it, or nothing is connected here.
fn out_of_reach(inner: &Inner, permitted: &Permitted, text: &str) -> Option<Error> {
    let server = &permitted.route().server;
    let front = Front::of(text).ok().filter(|front| front.kind == Kind::Task)?;
    let is_own = front.node == inner.config.node;
    let may_know = inner.registry.attached(server).is_some_and(|attached| is_own || attached.is_one_that_moves());
    (!may_know).then(|| not_there(server, &front.node))
}

/// What is said of a task when only a replica that cannot be asked knows of it.
pub(crate) fn not_there(server: &ServerId, node: &NodeId) -> Error {
    let text = format!("the replica of server \"{server}\" that has this task, on node \"{node}\", is not connected");
    Error::new(ErrorKind::Unavailable, text)
}

/// What a sealed text held.
pub(crate) struct Opened {
    /// The params with the server's own text in place of the sealed one.
    pub(crate) params: Json,
    /// The server's own text.
    own: String,
    /// Where the first call stood in its trace.
    pub(crate) link: Option<TraceContext>,
    /// The call is running already, and goes on.
    pub(crate) parked: bool,
}

fn open(inner: &Inner, permitted: &Permitted, text: &str) -> Result<Opened> {
    let (call, route) = (permitted.call(), permitted.route());
    let is_task = !call.method.takes_input();
    let opened = inner.seal.open(text).and_then(|(front, payload)| {
        payload.check(call)?;
        Ok((front, payload))
    });
    let useless = || if is_task { Inner::unknown("task", text, None) } else { useless_state() };
    let (front, payload) = opened.map_err(|reason| useless().with_private(reason))?;
    if front.server != route.server || (front.kind == Kind::Task) != is_task {
        return Err(useless().with_private("it belongs elsewhere"));
    }
    if front.kind == Kind::Parked && front.node != inner.config.node {
        return Err(useless().with_private("its call is parked on another node"));
    }
    let link = TraceContext::parse(&payload.traceparent, None).ok();
    let own = string_literal(&payload.value);
    let params = match &call.method {
        Method::Listen => {
            let filter = format!("{{\"taskIds\":[{own}]}}");
            call.params.with(&[("notifications", filter.as_bytes())], &[])
        }
        method if method.takes_input() => call.params.with(&[("requestState", own.as_bytes())], &[]),
        _ => call.params.with(&[("taskId", own.as_bytes())], &[]),
    };
    Ok(Opened { params, own: payload.value, link, parked: front.kind == Kind::Parked })
}

/// Seals what the outcome of one call gives out. It holds no more of the call than it may need: every call makes one.
struct Sealer {
    inner: Arc<Inner>,
    principal: Arc<str>,
    method: Method,
    params: Json,
    server: ServerId,
    /// The server's own name of what was called.
    own_name: Option<Arc<str>>,
    /// The sealed text that the call brought.
    brought: Option<Arc<str>>,
    /// The server's own text in it.
    own: Option<String>,
    parent: TraceContext,
}

impl Sealer {
    fn result(&self, result: Json) -> Result<Json> {
        if !self.method.takes_input() {
            return Ok(self.same_task(result));
        }
        if input::has_result_type(&result, input::INPUT_REQUIRED) {
            return self.state(result);
        }
        if self.method == Method::ToolsCall && input::has_result_type(&result, input::TASK) {
            return self.task(result);
        }
        Ok(result)
    }

    /// A result that asks for input: its state, sealed. Without one the retry is a call like the first.
    fn state(&self, result: Json) -> Result<Json> {
        if result.get("requestState").is_none() {
            return Ok(result);
        }
        let era = self.inner.registry.attached(&self.server).map(|attached| attached.facts.era());
        let kind = if era == Some(Era::Modern) { Kind::State } else { Kind::Parked };
        let expires_s = expires_in(self.inner.config.input_timeout);
        let digest = crate::seal::digest_of(&self.method, &self.params);
        self.with_sealed(result, "requestState", self.front(kind, String::new()), expires_s, digest)
    }

    /// A result that is a task: its id, sealed. From here on the client knows the task by this id.
    fn task(&self, result: Json) -> Result<Json> {
        let tool = self.own_name.as_deref().unwrap_or_default().to_owned();
        self.with_sealed(result, "taskId", self.front(Kind::Task, tool), 0, String::new())
    }

    fn front(&self, kind: Kind, tool: String) -> Front {
        Front { kind, node: self.inner.config.node.clone(), server: self.server.clone(), tool }
    }

    /// The result with the text of a member sealed.
    fn with_sealed(&self, result: Json, member: &str, front: Front, expires_s: u64, digest: String) -> Result<Json> {
        let own = result.get(member).unwrap_or_default().read().map_err(|_| {
            let text = format!("server \"{}\" answered {} with a {member} that is no text", self.server, self.method);
            Error::new(ErrorKind::BadServer, text)
        })?;
        let payload = Payload {
            principal: self.principal.to_string(),
            expires_s,
            digest,
            traceparent: self.parent.traceparent(),
            value: own,
        };
        let sealed = self.inner.seal.seal(&front, &payload);
        let unsealed = || Error::new(ErrorKind::Internal, "what the server gave out could not be sealed");
        let sealed = sealed.ok_or_else(unsealed)?;
        Ok(result.with(&[(member, string_literal(&sealed).as_bytes())], &[]))
    }

    /// An object about the task that the call named: the id by which the caller knows it.
    fn same_task(&self, object: Json) -> Json {
        let id = object.get("taskId").and_then(|id| id.read::<String>().ok());
        match &self.brought {
            Some(sealed) if id.is_some() && id == self.own => {
                object.with(&[("taskId", string_literal(sealed).as_bytes())], &[])
            }
            // Of another task: whoever listens leaves it aside.
            Some(_) | None => object,
        }
    }

    fn notification(&self, notification: Notification) -> Notification {
        match (&notification.method, &self.brought) {
            (Method::TaskStatus, Some(_)) if self.method == Method::Listen => {
                let params = notification.params.map(|params| self.same_task(params));
                Notification { params, ..notification }
            }
            (Method::SubscriptionAcknowledged, Some(sealed)) => {
                let filter = format!("{{\"taskIds\":[{}]}}", string_literal(sealed));
                let params = notification.params.map(|params| match params.get("notifications") {
                    Some(honoured) if honoured.get("taskIds").is_some() => {
                        params.with(&[("notifications", filter.as_bytes())], &[])
                    }
                    _ => params,
                });
                Notification { params, ..notification }
            }
            _ => notification,
        }
    }
}

/// The one text for a state that cannot be used: whether it is forged, expired, used or another's is nobody's business.
fn useless_state() -> Error {
    let text = "requestState cannot be used: it is expired, was used before, or does not belong to this request; \
                send the request again without it";
    Error::new(ErrorKind::InvalidParams, text)
}

/// The error for a task of a server that is not there, or that the caller may not use.
pub(crate) fn unknown_task(inner: &Inner, id: &str) -> Error {
    inner.not_found("task", id, None, true)
}
