//! The process between the broker and a server: it ends with either of them, and takes along whatever the server left.
//!
//! The broker runs its own executable as `guard --parent PID --grace-ms N [--leash FILE] -- CMD ARGS…` in a process group of its own.
//! The guard makes itself the reaper of all descendants, so that even a grandchild with a session of its own cannot
//! escape. It does not live longer than the broker: also when that is killed with SIGKILL.

mod descendants;
mod leash;
mod parent;
mod watch;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::{ExitCode, Stdio},
    time::Duration,
};

/// The exit code of a guard that could not run its command, as shells have it.
pub(crate) const CANNOT_RUN: i32 = 127;
/// The exit code of a guard whose server may not run, as if that had been killed at once.
const OUT_OF_TIME: i32 = 137;
/// The name of the subcommand.
pub const SUBCOMMAND: &str = "guard";
/// The exit code of a guard that was called in a wrong way.
const USAGE: u8 = 64;

/// What the guard is asked to do.
#[derive(Debug, PartialEq, Eq)]
struct Order {
    parent: i32,
    grace: Duration,
    /// The file that says until when the server may run.
    leash: Option<PathBuf>,
    program: OsString,
    args: Vec<OsString>,
}

/// The arguments before the command.
pub(crate) fn arguments(parent: u32, grace: Duration, leash: Option<&Path>) -> Vec<OsString> {
    let mut arguments = vec![
        SUBCOMMAND.into(),
        "--parent".into(),
        parent.to_string().into(),
        "--grace-ms".into(),
        grace.as_millis().to_string().into(),
    ];
    if let Some(leash) = leash {
        arguments.extend(["--leash".into(), leash.as_os_str().to_owned()]);
    }
    arguments.push("--".into());
    arguments
}

/// The whole life of a guard. `args` is what follows the word `guard` on the command line. Call it from `main` before
/// any runtime or thread is started; the exit code is the command's own, or 128 and the signal that ended it.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let order = match parse(args) {
        Ok(order) => order,
        Err(text) => {
            complain(&text);
            return ExitCode::from(USAGE);
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("no runtime: {error}"));
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(guard(order))
}

fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Order, String> {
    let mut args = args.into_iter();
    let (mut parent, mut grace_ms, mut leash) = (None, None, None);
    while let Some(arg) = args.next() {
        let mut number = |name: &str| {
            let value = args.next().and_then(|value| value.to_str()?.parse::<u32>().ok());
            value.ok_or_else(|| format!("{name} needs a number"))
        };
        match arg.to_str() {
            Some("--parent") => parent = Some(number("--parent")?),
            Some("--grace-ms") => grace_ms = Some(number("--grace-ms")?),
            Some("--leash") => leash = Some(PathBuf::from(args.next().ok_or("--leash needs a file")?)),
            Some("--") => break,
            _ => return Err(format!("unknown argument {arg:?}")),
        }
    }
    let parent = parent.and_then(|parent| i32::try_from(parent).ok()).ok_or("--parent is missing")?;
    let grace = Duration::from_millis(grace_ms.ok_or("--grace-ms is missing")?.into());
    let program = args.next().ok_or("the command is missing")?;
    Ok(Order { parent, grace, leash, program, args: args.collect() })
}

/// Goes to stderr, which the broker logs under the server's name.
fn complain(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "spanwire guard: {text}");
}

async fn guard(order: Order) -> ExitCode {
    let leash = leash::Removed(order.leash);
    let mut watch = match watch::Watch::new(order.parent) {
        Ok(watch) => watch,
        Err(error) => {
            complain(&format!("cannot watch: {error}"));
            return ExitCode::FAILURE;
        }
    };
    if leash::is_over(leash.0.as_deref()) {
        // The machine slept, or the broker was paused, since it looked at the lease.
        complain("nothing is started: the lease is over");
        return exit_code(OUT_OF_TIME);
    }
    let mut command = std::process::Command::new(&order.program);
    command.args(&order.args).stdin(Stdio::inherit()).stdout(Stdio::inherit()).stderr(Stdio::inherit());
    let child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            complain(&format!("cannot run {:?}: {error}", order.program));
            return exit_code(CANNOT_RUN);
        }
    };
    let_go_of_the_pipes();
    let code = watch.until_the_end(child.id(), order.grace, leash.0.as_deref()).await;
    exit_code(code)
}

fn exit_code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

/// Only the server holds the pipes from here on: so either side sees at once when the other one closes its end.
fn let_go_of_the_pipes() {
    if let Ok(null) = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdin(&null);
        let _ = rustix::stdio::dup2_stdout(&null);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic, reason = "tests")]

    use super::*;

    #[test]
    fn the_command_line_goes_in_and_out() {
        let check = |text: &str, expected: Result<(i32, u64, &str, usize), &str>| {
            let got = parse(text.split_whitespace().map(OsString::from));
            match (got, expected) {
                (Ok(order), Ok((parent, grace_ms, program, args))) => {
                    let seen = (order.parent, order.grace, order.program.to_str(), order.args.len());
                    assert_eq!(seen, (parent, Duration::from_millis(grace_ms), Some(program), args));
                }
                (Err(text), Err(part)) => assert!(text.contains(part), "{text}"),
                (got, _) => panic!("{text}: {got:?}"),
            }
        };
        check("--parent 7 --grace-ms 20 -- cmd -- a", Ok((7, 20, "cmd", 2)));
        check("--parent 7 --grace-ms 20 --", Err("the command is missing"));
        check("--parent x", Err("--parent needs a number"));
        check("--grace-ms 1 -- cmd", Err("--parent is missing"));
        check("cmd", Err("unknown argument"));
        check("--leash", Err("--leash needs a file"));
        for leash in [None, Some(Path::new("/tmp/x"))] {
            let ours = arguments(3, Duration::from_secs(2), leash).into_iter().skip(1).chain(["cmd".into()]);
            assert_eq!(parse(ours).map(|order| order.leash), Ok(leash.map(Path::to_owned)));
        }
    }
}
