//! A child behind its guard: started, watched, and ended within a bounded time.

use std::{process::Stdio, sync::Arc, time::Duration};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use spanwire_model::{Error, ErrorKind, Fence, Result, ServerId, StdioTarget};
use tokio::{
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    sync::watch,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{connector::Config, environment, guard, leash::Leash};

/// What the guard may take beyond the grace that it gives.
const GUARD_MARGIN: Duration = Duration::from_secs(3);

/// A running child.
pub(crate) struct Running {
    pub stdin: ChildStdin,
    pub stdout: ChildStdout,
    pub stderr: ChildStderr,
    /// Set once the child and everything it started is gone: how it ended, as a phrase.
    pub exit: watch::Receiver<Option<Arc<str>>>,
    /// Ends the child: its stdin must be closed at the same time.
    pub stop: CancellationToken,
}

/// Starts a server behind a guard. With a fence the guard ends it when that is no longer valid, whatever becomes of this process.
pub(crate) fn start(
    config: &Config,
    server: &ServerId,
    target: &StdioTarget,
    fence: Option<&Fence>,
) -> Result<Running> {
    let failed = |error: &dyn std::fmt::Display| {
        let folder = target.cwd.as_deref().map(|cwd| format!(" in \"{cwd}\"")).unwrap_or_default();
        Error::new(ErrorKind::Unavailable, format!("server \"{server}\" could not be started{folder}: {error}"))
    };
    let leash = fence.map(Leash::tie).transpose().map_err(|error| failed(&error))?;
    let mut command = Command::new(&config.guard);
    command
        .args(guard::arguments(std::process::id(), config.grace, leash.as_ref().map(Leash::path)))
        .arg(&target.command)
        .args(&target.args)
        .env_clear()
        .envs(environment::of(target, std::env::vars_os()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    if let Some(cwd) = &target.cwd {
        command.current_dir(cwd);
    }
    let mut child = command.spawn().map_err(|error| failed(&error))?;
    let (Some(stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(failed(&"no pipes"));
    };
    let stop = CancellationToken::new();
    let (exit_tx, exit) = watch::channel(None);
    let watched = Watched { guard: guard_pid(&child), child, _leash: leash };
    tokio::spawn(watched.supervise(stop.clone(), config.grace, exit_tx));
    Ok(Running { stdin, stdout, stderr, exit, stop })
}

fn guard_pid(child: &Child) -> Option<Pid> {
    Pid::from_raw(i32::try_from(child.id()?).ok()?)
}

/// The guard as its parent sees it. If the runtime ends first, the drop asks the guard to clean up.
struct Watched {
    child: Child,
    guard: Option<Pid>,
    /// Held until the child is gone.
    _leash: Option<Leash>,
}

impl Watched {
    async fn supervise(mut self, stop: CancellationToken, grace: Duration, exit: watch::Sender<Option<Arc<str>>>) {
        let status = tokio::select! {
            status = self.child.wait() => status,
            () = stop.cancelled() => self.end(grace).await,
        };
        let killed = status.as_ref().is_ok_and(|status| status.code().is_none());
        if let Some(guard) = self.guard.take().filter(|_| killed) {
            // Somebody killed the guard, so nobody else cleans up its group.
            let _ = kill_process_group(guard, Signal::KILL);
        }
        let phrase = match status.map(|status| status.code()) {
            Ok(Some(code)) if code > 128 && code < 160 => format!("was killed by signal {}", code - 128),
            Ok(Some(guard::CANNOT_RUN)) => "could not be started: its command cannot be run".to_owned(),
            Ok(Some(code)) => format!("exited with status {code}"),
            Ok(None) => "lost its guard process".to_owned(),
            Err(_) => "is gone".to_owned(),
        };
        exit.send_replace(Some(phrase.into()));
    }

    /// Its stdin is closed by now. Waits, asks the guard, and at last kills.
    async fn end(&mut self, grace: Duration) -> std::io::Result<std::process::ExitStatus> {
        if let Ok(status) = timeout(grace, self.child.wait()).await {
            return status;
        }
        self.signal(Signal::TERM);
        if let Ok(status) = timeout(grace + GUARD_MARGIN, self.child.wait()).await {
            return status;
        }
        if let Some(guard) = self.guard {
            let _ = kill_process_group(guard, Signal::KILL);
        }
        self.child.wait().await
    }

    fn signal(&self, signal: Signal) {
        if let Some(guard) = self.guard {
            let _ = kill_process(guard, signal);
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.signal(Signal::TERM);
    }
}
