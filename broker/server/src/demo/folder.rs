//! A folder that is gone when nobody holds it any more.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

use uuid::Uuid;

/// A folder of our own, for its owner only. Dropping it removes it with all it holds.
pub(crate) struct TemporaryFolder(PathBuf);

impl TemporaryFolder {
    /// Makes one whose name says what it is for.
    pub(crate) fn new(purpose: &str) -> io::Result<Self> {
        let path = env::temp_dir().join(format!("spanwire-{purpose}-{}", Uuid::new_v4().simple()));
        let mut builder = fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&path)?;
        Ok(Self(path))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        // A leftover in the temporary folder is the system's to clear.
        let _ = fs::remove_dir_all(&self.0);
    }
}
