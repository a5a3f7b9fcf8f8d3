//! The one match on the method that decides what becomes of a call.

use std::sync::Arc;

use spanwire_catalog::{Snapshot, View, canonical, is_prefixed, split_resource, suggest};
use spanwire_mcp::{CompletionRef, Method, Params, tasks};
use spanwire_model::{Call, Error, ErrorKind, ListKind, Principal, Result, Route};
use spanwire_policy::Policy;

use crate::{
    Inner, Plan,
    forward::{Elsewhere, Forward},
    listen::{self, Listen},
    local, rewrite, sealed,
};

/// Decides. Synchronous, without a lock: everything is read from one snapshot.
pub(crate) fn plan(inner: &Arc<Inner>, call: Call) -> Plan {
    let (snapshot, policy) = (inner.catalog.load_full(), inner.policy.load_full());
    match decide(inner, &snapshot, &policy, call) {
        Ok(plan) => plan,
        Err(error) => Plan::Ready(Err(error)),
    }
}

fn decide(inner: &Arc<Inner>, snapshot: &Snapshot, policy: &Policy, call: Call) -> Result<Plan> {
    let view_name = call.view.clone();
    let allowed = policy.allows_view(&call.principal, view_name.as_deref());
    let view = snapshot.view(view_name.as_deref()).filter(|_| allowed);
    let view = view.ok_or_else(|| match &view_name {
        Some(name) if allowed => inner.not_found("view", name, None, true),
        _ => Inner::unknown("view", view_name.as_deref().unwrap_or("mcp"), None),
    })?;
    // Whatever an unknown method has in its params is its own.
    if matches!(call.method, Method::Other(_)) {
        return match view.sole_server() {
            Some(route) => permit(policy, view, call, route, None).map(Plan::forward),
            None => Err(method_not_found(&call.method)),
        };
    }
    // Shares the bytes: what is read borrows from the copy while the call moves on.
    let raw = call.params.clone();
    let params = Params::read(Some(&raw)).map_err(|text| Error::new(ErrorKind::InvalidParams, text))?;
    let list =
        |kind| Ok(Plan::Ready(local::list(inner, snapshot, view, policy, &call, kind, params.cursor.as_deref())));
    match &call.method {
        Method::Discover => Ok(Plan::Ready(Ok(local::discover(inner, view, policy, &call)))),
        Method::ToolsList => list(ListKind::Tools),
        Method::PromptsList => list(ListKind::Prompts),
        Method::ResourcesList => list(ListKind::Resources),
        Method::ResourceTemplatesList => list(ListKind::Templates),
        Method::ToolsCall => to_entry(inner, policy, view, call, &params, ListKind::Tools).map(Plan::forward),
        Method::PromptsGet => to_entry(inner, policy, view, call, &params, ListKind::Prompts).map(Plan::forward),
        Method::ResourcesRead => to_resource(inner, policy, view, call, &params).map(Plan::forward),
        Method::Complete => to_reference(inner, policy, view, call, &params).map(Plan::forward),
        Method::Listen => {
            let filter = params.notifications.clone().ok_or_else(|| missing("notifications"))?;
            Ok(Plan::Listen(Box::new(Listen { call, filter })))
        }
        Method::TasksGet | Method::TasksUpdate | Method::TasksCancel => {
            to_task(inner, policy, view, call, &params).map(Plan::forward)
        }
        // The rest belongs to legacy sessions, which live at the edges, or is a notification.
        Method::Other(_)
        | Method::Initialize
        | Method::Ping
        | Method::ResourcesSubscribe
        | Method::ResourcesUnsubscribe
        | Method::SetLevel
        | Method::SamplingCreateMessage
        | Method::ElicitationCreate
        | Method::RootsList
        | Method::Initialized
        | Method::Cancelled
        | Method::Progress
        | Method::LogMessage
        | Method::ToolsListChanged
        | Method::PromptsListChanged
        | Method::ResourcesListChanged
        | Method::ResourceUpdated
        | Method::SubscriptionAcknowledged
        | Method::TasksResult
        | Method::TasksList
        | Method::TaskStatus
        | Method::LegacyTaskStatus
        | Method::ElicitationComplete
        | Method::RootsListChanged => Err(method_not_found(&call.method)),
    }
}

fn to_entry(
    inner: &Inner,
    policy: &Policy,
    view: &View,
    call: Call,
    params: &Params<'_>,
    kind: ListKind,
) -> Result<Forward> {
    let name = params.name.as_deref().ok_or_else(|| missing("name"))?;
    let unknown = unknown_entry(inner, policy, view, &call, kind, name);
    let Some(route) = view.resolve(kind, name) else { return Err(unknown()) };
    let own = route.own_name().cloned().unwrap_or_else(|| name.into());
    let call = Call { params: rewrite::string_member(&call.params, "name", name, &own), ..call };
    // Permission first: what a retry brings must not tell a denied name from an unknown one.
    let forward = permit(policy, view, call, route, Some(name.into())).map_err(|_| unknown())?;
    back(inner, params, forward)
}

fn to_resource(inner: &Inner, policy: &Policy, view: &View, call: Call, params: &Params<'_>) -> Result<Forward> {
    let uri = params.uri.as_deref().ok_or_else(|| missing("uri"))?;
    let unknown = unknown_resource(inner, policy, view, &call, uri);
    let route = view.resolve_uri(uri).ok_or_else(&unknown)?;
    let own = route.own_name().cloned().unwrap_or_else(|| uri.into());
    let call = Call { params: rewrite::string_member(&call.params, "uri", uri, &own), ..call };
    let forward = permit(policy, view, call, route, Some(uri.into())).map_err(|_| unknown())?;
    back(inner, params, forward)
}

/// The id of a task says which server has it.
fn to_task(inner: &Inner, policy: &Policy, view: &View, call: Call, params: &Params<'_>) -> Result<Forward> {
    if !tasks::is_declared_by(&call.params) {
        return Err(listen::undeclared(call.method.as_str()));
    }
    let id = params.task_id.as_deref().ok_or_else(|| missing("taskId"))?;
    about_task(inner, policy, view, call, id)
}

/// The call that listens to one task, permitted. Its filter names the task as the client knows it.
pub(crate) fn resolve_task(inner: &Inner, call: Call, id: &str) -> Result<Forward> {
    let (snapshot, policy) = (inner.catalog.load(), inner.policy.load());
    let view = snapshot.view(call.view.as_deref()).ok_or_else(|| sealed::unknown_task(inner, id))?;
    about_task(inner, &policy, view, call, id)
}

fn about_task(inner: &Inner, policy: &Policy, view: &View, call: Call, id: &str) -> Result<Forward> {
    let (route, back) = sealed::task_route(inner, view, id)?;
    let forward = permit(policy, view, call, route, None).map_err(|_| sealed::unknown_task(inner, id))?;
    Ok(Forward { back: Some(back), ..forward })
}

/// A retry goes to where what it brings back is known.
fn back(inner: &Inner, params: &Params<'_>, forward: Forward) -> Result<Forward> {
    let Some(state) = params.request_state.as_deref() else { return Ok(forward) };
    let back = sealed::back(inner, state, forward.permitted.route())?;
    Ok(Forward { back: Some(back), ..forward })
}

fn to_reference(inner: &Inner, policy: &Policy, view: &View, call: Call, params: &Params<'_>) -> Result<Forward> {
    let reference = params.reference.as_ref().ok_or_else(|| missing("ref"))?;
    match reference {
        CompletionRef { kind, name: Some(name), .. } if kind == "ref/prompt" => {
            let unknown = unknown_entry(inner, policy, view, &call, ListKind::Prompts, name);
            let Some(route) = view.resolve(ListKind::Prompts, name) else { return Err(unknown()) };
            let own = route.own_name().cloned().unwrap_or_else(|| (&**name).into());
            let call = Call { params: rewrite::reference(&call.params, "name", name, &own), ..call };
            permit(policy, view, call, route, None).map_err(|_| unknown())
        }
        CompletionRef { kind, uri: Some(uri), .. } if kind == "ref/resource" => {
            let unknown = unknown_resource(inner, policy, view, &call, uri);
            let route = view.resolve_uri(uri).ok_or_else(&unknown)?;
            let own = route.own_name().cloned().unwrap_or_else(|| (&**uri).into());
            let call = Call { params: rewrite::reference(&call.params, "uri", uri, &own), ..call };
            permit(policy, view, call, route, None).map_err(|_| unknown())
        }
        CompletionRef { kind, .. } => {
            let text =
                format!("\"ref\" of type \"{kind}\" is neither a ref/prompt with a name nor a ref/resource with a uri");
            Err(Error::new(ErrorKind::InvalidParams, text))
        }
    }
}

/// Asks policy, and gets the call ready to be forwarded.
fn permit(policy: &Policy, view: &View, call: Call, route: Route, exposed: Option<Arc<str>>) -> Result<Forward> {
    let method = call.method.clone();
    let permitted = policy.authorize(call, route).map_err(|_| method_not_found(&method))?;
    Ok(Forward { permitted, exposed, rewrite_uris: view.rewrites_uris(), back: None, elsewhere: Elsewhere::default() })
}

/// The error for an entry that does not exist or may not be used. What is near is sought only when it is needed, and only
/// among what the caller may see.
fn unknown_entry<'a>(
    inner: &'a Inner,
    policy: &'a Policy,
    view: &'a View,
    call: &Call,
    kind: ListKind,
    name: &'a str,
) -> impl Fn() -> Error + use<'a> {
    let (principal, is_federated) = (call.principal.clone(), call.view.is_none());
    move || {
        let may_be_elsewhere = (!is_federated || is_prefixed(name)) && may_use(policy, view, &principal, kind, name);
        let entries = view.section(kind).entries().iter();
        let visible = entries.filter(|entry| policy.allows(&principal, kind, &entry.canonical));
        let near = suggest(name, visible.map(|entry| &*entry.name));
        let what = if kind == ListKind::Tools { "tool" } else { "prompt" };
        inner.not_found(what, name, near, may_be_elsewhere)
    }
}

/// The same for a resource.
fn unknown_resource<'a>(
    inner: &'a Inner,
    policy: &'a Policy,
    view: &'a View,
    call: &Call,
    uri: &'a str,
) -> impl Fn() -> Error + use<'a> {
    let (principal, is_federated) = (call.principal.clone(), call.view.is_none());
    move || {
        let kind = ListKind::Resources;
        let may_be_elsewhere = match split_resource(uri).filter(|_| is_federated) {
            Some((server, own)) => policy.allows(&principal, kind, &canonical(kind, &server, &own)),
            None => !is_federated && may_use(policy, view, &principal, kind, uri),
        };
        inner.not_found("resource", uri, None, may_be_elsewhere)
    }
}

/// Whether the caller may use what has this name in the view, wherever it is, as far as the name tells. Nothing else is looked at: this must
/// not tell what is here.
fn may_use(policy: &Policy, view: &View, principal: &Principal, kind: ListKind, name: &str) -> bool {
    match view.sole_server() {
        Some(route) => policy.allows(principal, kind, &canonical(kind, &route.server, name)),
        // A view may call it whatever it likes: it is as in the federated one, or anything.
        None => !is_prefixed(name) || policy.allows(principal, kind, name),
    }
}

fn missing(member: &str) -> Error {
    Error::new(ErrorKind::InvalidParams, format!("params lack \"{member}\""))
}

pub(crate) fn method_not_found(method: &Method) -> Error {
    let shown: String = method.as_str().chars().take(200).collect();
    Error::new(ErrorKind::MethodNotFound, format!("unknown method \"{shown}\""))
}
