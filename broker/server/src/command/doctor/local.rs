//! What can be seen on this machine: programs, folders, permissions.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use super::Finding;
use crate::config::{Config, ServerTable, TOKEN_FILE};

pub(super) fn check(config: &Config, findings: &mut Vec<Finding>) {
    check_token_file(config, findings);
    for (id, server) in config.servers.iter().filter(|(_, server)| server.enabled) {
        if let Some(command) = &server.command {
            findings.push(check_command(&format!("server {id}"), command, server));
        }
    }
}

fn check_command(check: &str, command: &str, server: &ServerTable) -> Finding {
    // A child gets the node's PATH unless the table sets another.
    let path =
        server.env.get("PATH").map(|path| path.expose().into()).or_else(|| env::var_os("PATH")).unwrap_or_default();
    let cwd = server.cwd.as_deref().map(Path::new);
    if let Some(cwd) = cwd.filter(|cwd| !cwd.is_dir()) {
        return Finding::fail(check, format!("cwd {} is no folder", cwd.display()), "make it, or correct \"cwd\"");
    }
    let candidates: Vec<PathBuf> = if command.contains(std::path::MAIN_SEPARATOR) {
        vec![cwd.unwrap_or(Path::new("")).join(command)]
    } else {
        env::split_paths(&path).map(|folder| folder.join(command)).collect()
    };
    match candidates.iter().find(|candidate| is_executable(candidate)) {
        Some(found) => Finding::ok(check, found.display().to_string()),
        None => Finding::fail(
            check,
            format!("{command} is not on PATH"),
            format!("install {command}, or write its full path as \"command\""),
        ),
    }
}

#[cfg(unix)]
fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_executable(path: &Path) -> bool {
    ["", "exe", "cmd", "bat"].iter().any(|extension| path.with_extension(extension).is_file()) || path.is_file()
}

fn check_token_file(config: &Config, findings: &mut Vec<Finding>) {
    let path = config.data_dir().join(TOKEN_FILE);
    let shown = path.display().to_string();
    match fs::metadata(&path) {
        Err(_) => {
            findings.push(Finding::ok("token file", format!("none at {shown}: a node makes one when it needs it")))
        }
        Ok(metadata) => findings.push(match readable_by_others(&metadata) {
            false => Finding::ok("token file", shown),
            true => {
                Finding::fail("token file", format!("{shown} is open to other users"), format!("chmod 600 {shown}"))
            }
        }),
    }
}

#[cfg(unix)]
fn readable_by_others(metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    metadata.permissions().mode() & 0o077 != 0
}

#[cfg(not(unix))]
fn readable_by_others(_metadata: &fs::Metadata) -> bool {
    false
}
