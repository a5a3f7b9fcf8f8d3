//! A test that runs again in namespaces of its own: network, mounts and processes.
//!
//! Nothing of the machine's own network is seen there or touched. Nothing is left behind either, however the test ends: with its first process
//! the kernel ends all others, and with the last one the namespaces are gone.

use std::{
    env,
    process::{Command, ExitStatus, Stdio},
};

use anyhow::{Context, Result};

use crate::cluster::disk::python;

/// Says to the test that it is the one that runs apart.
const MARK: &str = "SPANWIRE_FAULTS_APART";
/// As whoever this is; and as root of a user namespace, where this is not root.
const WAYS: [&[&str]; 2] = [&[], &["--user", "--map-root-user"]];
/// The first process of a namespace is the one that must collect what nobody else does: a shell can. It ends as the program does.
const FIRST: &str = "\"$@\"; exit $?";
/// What is needed: interfaces, rules that drop, rules that send elsewhere, a way into another namespace, a device whose packets a program
/// can read.
const CHECK: &str = "set -e; ip link set lo up; test -w /proc/sys/net/ipv4/ip_forward
    ip link add one type veth peer name other; nsenter --net=/proc/self/ns/net true
    ip rule add pref 1 from 198.18.0.1 to 198.18.0.2 blackhole; ip rule add pref 1 from 198.18.0.1 iif one lookup 77
    ip tuntap add dev late mode tun; \"$0\" -c 'import os; os.open(\"/dev/net/tun\", os.O_RDWR)'";

/// Whether this process runs apart.
pub fn is_apart() -> bool {
    env::var_os(MARK).is_some()
}

/// Runs one test of this test executable again, apart from the machine, and returns how it ended; `None` where that is not allowed.
///
/// # Errors
/// It is allowed and could not be done.
pub fn run_apart(test: &str) -> Result<Option<ExitStatus>> {
    let Some(way) = WAYS.into_iter().find(|way| is_allowed(way)) else { return Ok(None) };
    let mut command = apart(way);
    command.arg(env::current_exe()?).args(["--exact", "--nocapture", test]).env(MARK, "1");
    command.status().map(Some).context("cannot run the test apart")
}

fn is_allowed(way: &[&str]) -> bool {
    let mut check = apart(way);
    check.args(["sh", "-c", CHECK]).arg(python()).stdout(Stdio::null()).stderr(Stdio::null());
    check.status().is_ok_and(|status| status.success())
}

/// A command without its program. Whoever is killed takes what he started with him.
fn apart(way: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "unshare"]).args(way);
    command.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", FIRST, "sh"]);
    command.stdin(Stdio::null());
    command
}
