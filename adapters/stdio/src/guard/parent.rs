//! The end of the broker, also of one that was killed.

use std::{io, thread, time::Duration};

use rustix::process::{Pid, getppid};
use tokio_util::sync::CancellationToken;

/// How often a system without pidfds is asked who the parent is.
const POLL_EVERY: Duration = Duration::from_millis(500);

/// The broker.
pub(super) struct Parent {
    gone: CancellationToken,
}

impl Parent {
    /// Fails when the process is not our parent, or is no longer: it may have died before we could watch it.
    pub(super) fn watch(pid: i32) -> io::Result<Self> {
        let gone = || io::Error::new(io::ErrorKind::NotFound, format!("process {pid} is not the parent"));
        let pid = Pid::from_raw(pid).ok_or_else(gone)?;
        let handle = Handle::open(pid);
        // Checked after that: from here on the handle, or the poll, sees it die.
        if !is_parent(pid) {
            return Err(gone());
        }
        let token = CancellationToken::new();
        let tell = token.clone();
        // A thread of its own: it ends with this process and needs no turn of the runtime.
        thread::Builder::new().name("parent".to_owned()).spawn(move || {
            handle.wait(pid);
            tell.cancel();
        })?;
        Ok(Self { gone: token })
    }

    /// Returns when the broker is gone.
    pub(super) async fn gone(&self) {
        self.gone.cancelled().await;
    }
}

fn is_parent(pid: Pid) -> bool {
    getppid() == Some(pid)
}

/// A process that can be waited for without being its parent.
struct Handle {
    #[cfg(target_os = "linux")]
    fd: Option<std::os::fd::OwnedFd>,
}

impl Handle {
    #[cfg(target_os = "linux")]
    fn open(pid: Pid) -> Self {
        Self { fd: rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok() }
    }

    #[cfg(not(target_os = "linux"))]
    fn open(_: Pid) -> Self {
        Self {}
    }

    /// Blocks until the process is no longer our parent.
    fn wait(&self, pid: Pid) {
        #[cfg(target_os = "linux")]
        if let Some(fd) = &self.fd {
            use rustix::event::{PollFd, PollFlags, poll};
            while is_parent(pid) {
                // Wakes up when the process ends; an interruption only leads to another look.
                let _ = poll(&mut [PollFd::new(fd, PollFlags::IN)], None);
            }
            return;
        }
        while is_parent(pid) {
            thread::sleep(POLL_EVERY);
        }
    }
}
