//! The end of the time that the server was given.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use crate::leash::left_ms;

/// How often the file is looked at, if the time is not up before.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// True when the time is up that the file gives; never without a file.
pub(super) fn is_over(file: Option<&Path>) -> bool {
    file.is_some_and(|file| left_ms(file) == 0)
}

/// Returns when the time is up that the file gives; never without a file.
pub(super) async fn over(file: Option<&Path>) {
    let Some(file) = file else { return std::future::pending().await };
    loop {
        match Duration::from_millis(left_ms(file)) {
            Duration::ZERO => return,
            left => tokio::time::sleep(left.min(LOOK_EVERY)).await,
        }
    }
}

/// The file, which goes with the guard.
pub(super) struct Removed(pub(super) Option<PathBuf>);

impl Drop for Removed {
    fn drop(&mut self) {
        if let Some(file) = &self.0 {
            let _ = std::fs::remove_file(file);
        }
    }
}
