//! Ends a child whose lease is over, also when this process is paused and cannot.
//!
//! A small file says until when the child may run: a moment of the system's clock since it was started, which all processes share, and
//! which goes on while the machine is suspended. This process sets it forward with each renewal; the guard looks at it and kills the
//! child when the moment has come, or the file is gone.

use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use rustix::time::{ClockId, clock_gettime};
use spanwire_model::Fence;
use tokio::{task::AbortHandle, time::Instant};

/// The lease may be another node's when the machine wakes.
#[cfg(target_os = "linux")]
const CLOCK: ClockId = ClockId::Boottime;
#[cfg(not(target_os = "linux"))]
const CLOCK: ClockId = ClockId::Monotonic;

/// Names that are tried for the file.
const ATTEMPTS: u32 = 16;

/// The side of the broker. Dropping it lets go of the file, which the guard removes.
#[derive(Debug)]
pub(crate) struct Leash {
    path: PathBuf,
    renewing: AbortHandle,
}

impl Leash {
    /// Makes the file, and keeps it as the fence says.
    pub(crate) fn tie(fence: &Fence) -> io::Result<Self> {
        let (path, file) = create()?;
        write(&file, fence)?;
        let mut fence = fence.clone();
        let renewing = tokio::spawn(async move {
            loop {
                fence.changed().await;
                if let Err(error) = write(&file, &fence) {
                    // The guard goes by what it read last: the child ends early rather than late.
                    tracing::warn!("cannot renew the time of a child: {error}");
                }
            }
        });
        Ok(Self { path, renewing: renewing.abort_handle() })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        self.renewing.abort();
        // The guard has removed it, unless it was killed itself.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn create() -> io::Result<(PathBuf, File)> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut last = io::Error::other("no name is free");
    for _ in 0..ATTEMPTS {
        let name = format!("spanwire-{}-{}.lease", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

/// Always as many bytes, in one write: a reader sees one moment or the other.
fn write(file: &File, fence: &Fence) -> io::Result<()> {
    // In this order: a pause between the two makes the moment earlier, never later.
    let now_ms = clock_ms();
    let left = fence.valid_until().saturating_duration_since(Instant::now());
    let until_ms = now_ms.saturating_add(u64::try_from(left.as_millis()).unwrap_or(u64::MAX));
    file.write_all_at(format!("{until_ms:020}\n").as_bytes(), 0)
}

/// How much time is left by the file, in milliseconds; nothing when it cannot be read.
pub(crate) fn left_ms(path: &Path) -> u64 {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let until_ms = text.trim().parse::<u64>().unwrap_or(0);
    until_ms.saturating_sub(clock_ms())
}

fn clock_ms() -> u64 {
    let now = clock_gettime(CLOCK);
    let ms = u64::try_from(now.tv_sec).unwrap_or(0).saturating_mul(1000);
    ms.saturating_add(u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::time::Duration;

    use spanwire_model::Lease;

    use super::*;

    #[tokio::test]
    async fn the_file_follows_the_lease() {
        let (lease, keeper) = Lease::new("place.fs.0", 1, Instant::now() + Duration::from_secs(3600));
        let leash = Leash::tie(&lease.fence()).unwrap();
        let left = left_ms(leash.path());
        assert!((3_000_000..=3_600_000).contains(&left), "{left}");
        let path = leash.path().to_owned();
        let until = async |wanted: &dyn Fn(u64) -> bool| {
            let deadline = Instant::now() + Duration::from_secs(20);
            while !wanted(left_ms(&path)) {
                assert!(Instant::now() < deadline, "{}", left_ms(&path));
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        keeper.valid_until.send_replace(Instant::now() + Duration::from_secs(7200));
        until(&|left| left > 3_600_000).await;
        keeper.lost.cancel();
        until(&|left| left == 0).await;
        drop(leash);
        assert!(!path.exists());
        assert_eq!(left_ms(&path), 0, "a file that is gone gives no time");
    }
}
