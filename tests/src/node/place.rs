//! Where a process of a test runs, and through which other program it is started.

use std::{
    ffi::OsString,
    net::{IpAddr, Ipv4Addr},
    path::Path,
    process::Command,
};

/// Where a process runs. The default is this machine's loopback address, and no other program.
#[derive(Debug, Clone)]
pub struct Place {
    /// The address that it listens on.
    pub ip: IpAddr,
    /// What stands before the program on its command line. It ends by taking the program's name and arguments and putting the program in
    /// its own place, so that the process id is the program's.
    pub before: Vec<OsString>,
}

impl Default for Place {
    fn default() -> Self {
        Self { ip: Ipv4Addr::LOCALHOST.into(), before: Vec::new() }
    }
}

impl Place {
    /// A command that starts a program there.
    pub fn command(&self, program: &Path) -> Command {
        match self.before.split_first() {
            None => Command::new(program),
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(program);
                command
            }
        }
    }
}
