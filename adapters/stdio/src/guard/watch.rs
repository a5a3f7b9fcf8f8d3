//! Waits for the server, the broker or a signal, and then ends everything that is left.

use std::{io, path::Path, pin::pin, time::Duration};

use rustix::process::{Signal, WaitOptions};
use tokio::{
    signal::unix::{self, SignalKind},
    time::{Instant, sleep_until, timeout},
};

use super::{descendants::signal_all, leash::over, parent::Parent};

/// How often SIGKILL is repeated: a process may have forked just before it was found.
const KILL_AGAIN_EVERY: Duration = Duration::from_millis(50);
/// When the guard gives up on processes that even SIGKILL does not end.
const GIVE_UP_AFTER: Duration = Duration::from_secs(2);

/// Everything that the guard waits for.
pub(super) struct Watch {
    parent: Parent,
    children: unix::Signal,
    terminate: unix::Signal,
    /// Signals of a terminal are for the broker, which then ends its servers in good order.
    _ignored: [unix::Signal; 3],
}

/// What is left of the server.
enum Left {
    /// Nothing: there is no descendant any more.
    Nothing,
    /// Some processes.
    Something,
}

impl Watch {
    /// Takes over signals and orphans. `parent` is the broker.
    pub(super) fn new(parent: i32) -> io::Result<Self> {
        let watch = Self {
            children: unix::signal(SignalKind::child())?,
            terminate: unix::signal(SignalKind::terminate())?,
            _ignored: [
                unix::signal(SignalKind::interrupt())?,
                unix::signal(SignalKind::hangup())?,
                unix::signal(SignalKind::quit())?,
            ],
            parent: Parent::watch(parent)?,
        };
        #[cfg(target_os = "linux")]
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        Ok(watch)
    }

    /// Returns the exit code once the server and everything it started is gone.
    pub(super) async fn until_the_end(&mut self, child: u32, grace: Duration, leash: Option<&Path>) -> i32 {
        let mut code = None;
        let over = over(leash);
        tokio::pin!(over);
        loop {
            if matches!(reap(child, &mut code), Left::Nothing) || code.is_some() {
                break;
            }
            tokio::select! {
                _ = self.children.recv() => {}
                _ = self.terminate.recv() => break,
                () = self.parent.gone() => break,
                () = &mut over => break,
            }
        }
        self.end_all(child, &mut code, grace, leash).await;
        code.unwrap_or(128 + Signal::KILL.as_raw())
    }

    /// No grace goes beyond the time that the server was given: somebody else may start it then.
    async fn end_all(&mut self, child: u32, code: &mut Option<i32>, grace: Duration, leash: Option<&Path>) {
        if matches!(reap(child, code), Left::Nothing) {
            return;
        }
        signal_all(Signal::TERM);
        let mut kill = pin!(timeout(grace, over(leash)));
        loop {
            tokio::select! {
                _ = &mut kill => break,
                _ = self.children.recv() => if matches!(reap(child, code), Left::Nothing) { return },
            }
        }
        let give_up_at = Instant::now() + GIVE_UP_AFTER;
        while Instant::now() < give_up_at {
            signal_all(Signal::KILL);
            let again_at = Instant::now() + KILL_AGAIN_EVERY;
            tokio::select! {
                _ = self.children.recv() => {}
                () = sleep_until(again_at) => {}
            }
            if matches!(reap(child, code), Left::Nothing) {
                return;
            }
        }
    }
}

/// Collects every process that has ended, the server and orphans alike, and notes the server's exit code.
fn reap(child: u32, code: &mut Option<i32>) -> Left {
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => {
                if u32::try_from(pid.as_raw_nonzero().get()) == Ok(child) {
                    *code = status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal));
                }
            }
            Ok(None) => return Left::Something,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return Left::Nothing,
        }
    }
}
