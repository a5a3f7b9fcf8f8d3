//! Notices to the owner of a connection: changes of one kind are merged, the end comes last.

use std::sync::{Arc, Mutex, PoisonError};

use spanwire_mcp::Method;
use spanwire_model::Notice;
use tokio::sync::{Notify, mpsc};

/// Notices that wait for the owner of the connection. Merging keeps what is behind it at one of each kind.
pub(super) const NOTICES: usize = 8;

/// What is still to be said.
#[derive(Debug, Default)]
pub(super) struct Board {
    state: Mutex<State>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct State {
    tools: bool,
    prompts: bool,
    resources: bool,
    closed: Option<Arc<str>>,
}

impl Board {
    /// Says that a list changed; `false` when the method is no such notification.
    pub(super) fn changed(&self, method: &Method) -> bool {
        self.update(|state| match method {
            Method::ToolsListChanged => set(&mut state.tools),
            Method::PromptsListChanged => set(&mut state.prompts),
            Method::ResourcesListChanged => set(&mut state.resources),
            _ => false,
        })
    }

    /// Says that every list may have changed.
    pub(super) fn all_changed(&self) {
        for method in [Method::ToolsListChanged, Method::PromptsListChanged, Method::ResourcesListChanged] {
            self.changed(&method);
        }
    }

    /// Says that the connection is gone; the first reason counts.
    pub(super) fn closed(&self, reason: Arc<str>) {
        self.update(|state| {
            state.closed.get_or_insert(reason);
            true
        });
    }

    fn update(&self, change: impl FnOnce(&mut State) -> bool) -> bool {
        let changed = change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.wake.notify_one();
        changed
    }

    fn take(&self) -> Option<Notice> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut state.tools) {
            return Some(Notice::ToolsChanged);
        }
        if std::mem::take(&mut state.prompts) {
            return Some(Notice::PromptsChanged);
        }
        if std::mem::take(&mut state.resources) {
            return Some(Notice::ResourcesChanged);
        }
        state.closed.clone().map(Notice::Closed)
    }

    /// Sends what is said here until the end was sent or nobody listens.
    pub(super) async fn run(&self, to: mpsc::Sender<Notice>) {
        loop {
            // Room first, so that what comes meanwhile is still merged.
            let Ok(permit) = to.reserve().await else { return };
            let notice = loop {
                match self.take() {
                    Some(notice) => break notice,
                    None => tokio::select! {
                        () = self.wake.notified() => {}
                        () = to.closed() => return,
                    },
                }
            };
            let last = matches!(notice, Notice::Closed(_));
            permit.send(notice);
            if last {
                return;
            }
        }
    }
}

fn set(flag: &mut bool) -> bool {
    *flag = true;
    true
}
