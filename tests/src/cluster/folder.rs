//! Copies of folders, to be put back later as if a disk had forgotten what came since.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};

/// Makes `to` a copy of `from`; what was in `to` is gone.
pub(super) fn replace(to: &Path, from: &Path) -> Result<()> {
    ensure!(from.is_dir(), "there is no folder {}", from.display());
    if to.exists() {
        fs::remove_dir_all(to).with_context(|| format!("cannot remove {}", to.display()))?;
    }
    copy(from, to)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    fs::set_permissions(to, fs::metadata(from)?.permissions())?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy(&source, &target)?;
        } else if kind.is_file() {
            fs::copy(&source, &target).with_context(|| format!("cannot copy {}", source.display()))?;
        }
        // Sockets and links are made anew by whoever needs them.
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_copy_takes_the_place_of_what_was_there() {
        let base = tempfile::tempdir().unwrap();
        let (old, new) = (base.path().join("old"), base.path().join("new"));
        fs::create_dir_all(old.join("deep")).unwrap();
        fs::write(old.join("deep/file"), "then").unwrap();
        replace(&new, &old).unwrap();
        fs::write(old.join("deep/file"), "now").unwrap();
        fs::write(old.join("later"), "").unwrap();
        replace(&old, &new).unwrap();
        assert_eq!(fs::read_to_string(old.join("deep/file")).unwrap(), "then");
        assert!(!old.join("later").exists());
    }
}
