#![allow(clippy::unwrap_used)]
use std::sync::Mutex;

use spanwire_model::EdgeTransport;
use tokio_util::sync::CancellationToken;

use super::{
    super::{feed, replay::Bounds, session::Opened},
    *,
};

/// A broker that looks at the session while it is called.
#[derive(Default)]
struct Looks {
    at: Mutex<Option<Arc<Session>>>,
    found_free: Mutex<Vec<(Method, bool)>>,
}

impl Dispatch for Looks {
    fn dispatch(&self, call: Call) -> Reply {
        assert_eq!((call.client.transport, call.client.revision), (EdgeTransport::Http, Revision::V2025_11_25));
        let is_free = self.at.lock().unwrap().as_ref().unwrap().is_free();
        self.found_free.lock().unwrap().push((call.method, is_free));
        Reply::ready(Ok(Json::empty_object()))
    }

    fn has_view(&self, _: &Principal, _: &str) -> bool {
        true
    }
}

fn session() -> Arc<Session> {
    let params = r#"{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"c","version":"1"}}"#;
    Arc::new(Session::new(Opened {
        id: "session".into(),
        principal: Principal::new("ann"),
        view: None,
        state: era::Session::open(Some(&Json::from_trusted(params))).unwrap(),
        commands: feed::channel().0,
        closed: CancellationToken::new(),
        bounds: Bounds { max_waiting: 1, max_events: 1, max_bytes: 1, resume_timeout: Duration::ZERO },
    }))
}

#[test]
fn the_session_is_free_while_a_call_is_planned() {
    let (looks, session) = (Arc::new(Looks::default()), session());
    *looks.at.lock().unwrap() = Some(session.clone());
    let origin = Origin {
        dispatch: looks.clone(),
        principal: session.principal().clone(),
        view: None,
        address: None,
        parent: None,
        budget: Duration::from_secs(1),
    };
    let request = Request { id: RequestId::Number(1), method: Method::ToolsList, params: None };
    let (revision, method) = (session.revision(), request.method.clone());
    let calls = Calls { origin, session, revision, request, method, task: None };
    drop(calls.dispatch(Json::empty_object()));
    drop(calls.again(&Retry::default()));
    drop(calls.dispatcher()(Method::TasksGet, Json::empty_object()));
    let expected = [(Method::ToolsList, true), (Method::ToolsList, true), (Method::TasksGet, true)];
    assert_eq!(*looks.found_free.lock().unwrap(), expected);
}
