//! The end of the broker, also of one that was killed.

use std::{io, time::Duration};

use rustix::process::{Pid, getppid};

/// How often a system without pidfds is asked who the parent is.
const POLL_EVERY: Duration = Duration::from_millis(500);

/// The broker.
pub(super) struct Parent {
    pid: Pid,
    #[cfg(target_os = "linux")]
    fd: Option<tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>>,
}

impl Parent {
    /// Fails when the process is not our parent, or is no longer: it may have died before we could watch it.
    pub(super) fn watch(pid: i32) -> io::Result<Self> {
        let gone = || io::Error::new(io::ErrorKind::NotFound, format!("process {pid} is not the parent"));
        let pid = Pid::from_raw(pid).ok_or_else(gone)?;
        #[cfg(target_os = "linux")]
        let fd = match rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::NONBLOCK) {
            Ok(fd) => Some(tokio::io::unix::AsyncFd::with_interest(fd, tokio::io::Interest::READABLE)?),
            Err(_) => None,
        };
        let parent = Self {
            pid,
            #[cfg(target_os = "linux")]
            fd,
        };
        // Checked last: from here on the handle, or the poll, sees it die.
        if parent.is_alive() { Ok(parent) } else { Err(gone()) }
    }

    fn is_alive(&self) -> bool {
        getppid() == Some(self.pid)
    }

    /// Returns when the broker is gone.
    pub(super) async fn gone(&self) {
        #[cfg(target_os = "linux")]
        if let Some(fd) = &self.fd {
            if fd.readable().await.is_ok() {
                return;
            }
        }
        while self.is_alive() {
            tokio::time::sleep(POLL_EVERY).await;
        }
    }
}
