//! Network namespaces, one for each part of a cluster, around the one of this process, which forwards between them.
//!
//! A part has one interface and one address. What goes from one part to another passes the rules of this namespace: one that drops, one that
//! says that there is no way, or one that sends it through a program that keeps it for a while. What goes between a part and this process
//! itself is not forwarded, so the rules never cut it.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Write},
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use crate::{cluster::disk::python, nats::Passage, node::Place};

/// The device whose packets are late, and the routing table that leads there.
const LATE_DEVICE: &str = "late";
const LATE_TABLE: u8 = 77;
/// Before the rules of the kernel's own that route.
const PREFERENCE: u8 = 100;

/// The namespaces, and what is done to packets between them.
pub struct Spaces {
    folder: tempfile::TempDir,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    names: Vec<PathBuf>,
    /// What is done to packets from one address to another, where it is not the usual.
    rules: BTreeMap<(IpAddr, IpAddr), String>,
    late: Option<(Duration, Child)>,
}

impl Spaces {
    /// Makes the namespace of this process one that forwards.
    pub(super) fn new() -> Result<Self> {
        fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("cannot forward packets")?;
        ip(
            None,
            &format!(
                "link set lo up\ntuntap add dev {LATE_DEVICE} mode tun\nlink set {LATE_DEVICE} up\n\
                 route add default dev {LATE_DEVICE} table {LATE_TABLE}\n"
            ),
        )?;
        Ok(Self { folder: tempfile::tempdir()?, state: Mutex::default() })
    }

    /// A new namespace.
    pub(super) fn add(&self) -> Result<Place> {
        let mut state = self.lock();
        let number = u8::try_from(state.names.len() + 1).context("too many namespaces")?;
        let name = self.folder.path().join(format!("space-{number}"));
        fs::write(&name, "")?;
        let made = Command::new("unshare").arg(net_of(&name)).arg("true").output()?;
        ensure!(made.status.success(), "no network namespace: {}", String::from_utf8_lossy(&made.stderr));
        state.names.push(name.clone());
        drop(state);
        let (device, here, there) = (device(number), hub_end(number), far_end(number));
        let path = name.display();
        ip(
            None,
            &format!(
                "link add {device} type veth peer name eth0 netns {path}\naddr add {here}/30 dev {device}\nlink set {device} up\n"
            ),
        )?;
        ip(
            Some(&name),
            &format!("link set lo up\naddr add {there}/30 dev eth0\nlink set eth0 up\nroute add default via {here}\n"),
        )?;
        Ok(Place { ip: there.into(), before: vec!["nsenter".into(), net_of(&name).into(), "--".into()] })
    }

    /// Changes what passes between two parts, in both directions as the passage says.
    pub(super) fn set(&self, from: IpAddr, to: IpAddr, passage: Passage) -> Result<()> {
        let (there, back) = match passage {
            Passage::Open => (None, None),
            Passage::Cut => (Some(Action::Refuse), Some(Action::Refuse)),
            Passage::Silent { to_target, from_target } => {
                (to_target.then_some(Action::Drop), from_target.then_some(Action::Drop))
            }
            Passage::Late(delay) => {
                self.delay_by(delay)?;
                (Some(Action::Delay), Some(Action::Delay))
            }
        };
        self.set_rule(from, to, there)?;
        self.set_rule(to, from, back)
    }

    fn set_rule(&self, from: IpAddr, to: IpAddr, action: Option<Action>) -> Result<()> {
        let mut state = self.lock();
        let rule = action.map(|action| action.rule(from, to)).transpose()?;
        if state.rules.get(&(from, to)) == rule.as_ref() {
            return Ok(());
        }
        if let Some(old) = state.rules.remove(&(from, to)) {
            ip(None, &format!("rule del {old}\n"))?;
        }
        if let Some(rule) = rule {
            ip(None, &format!("rule add {rule}\n"))?;
            state.rules.insert((from, to), rule);
        }
        Ok(())
    }

    /// Starts the program that keeps packets for a while.
    fn delay_by(&self, delay: Duration) -> Result<()> {
        let mut state = self.lock();
        if state.late.as_ref().is_some_and(|(running, _)| *running == delay) {
            return Ok(());
        }
        state.end_late();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cluster/net/late.py");
        let mut command = Command::new(python());
        command.arg(script).arg(LATE_DEVICE).arg(delay.as_millis().to_string());
        let mut program = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let mut said = String::new();
        if let Some(stdout) = program.stdout.take() {
            BufReader::new(stdout).read_line(&mut said)?;
        }
        state.late = Some((delay, program));
        ensure!(said == "ready\n", "the program that delays packets did not start");
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn end_late(&mut self) {
        if let Some((_, mut program)) = self.late.take() {
            let _ = program.kill();
            let _ = program.wait();
        }
    }
}

impl Drop for Spaces {
    /// What the end of this process does not do: names are mounts, without which their folder can be removed.
    fn drop(&mut self) {
        let mut state = self.lock();
        state.end_late();
        for name in &state.names {
            let _ = Command::new("umount").arg(name).status();
        }
    }
}

/// What is done to a packet instead of forwarding it.
#[derive(Clone, Copy)]
enum Action {
    /// Nobody hears of it.
    Drop,
    /// The sender is told that there is no way.
    Refuse,
    /// It goes on later.
    Delay,
}

impl Action {
    /// The rule, as `ip rule` takes it.
    fn rule(self, from: IpAddr, to: IpAddr) -> Result<String> {
        let pair = format!("pref {PREFERENCE} from {from} to {to}");
        Ok(match self {
            Self::Drop => format!("{pair} blackhole"),
            Self::Refuse => format!("{pair} unreachable"),
            // Only where it comes in first: it comes in again from the device.
            Self::Delay => format!("{pair} iif {} lookup {LATE_TABLE}", device(number_of(from)?)),
        })
    }
}

fn device(number: u8) -> String {
    format!("part{number}")
}

/// Addresses are of the block for tests of networks (RFC 2544).
fn hub_end(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 18, number, 1)
}

fn far_end(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 18, number, 2)
}

fn number_of(ip: IpAddr) -> Result<u8> {
    match ip {
        IpAddr::V4(ip) => Ok(ip.octets()[2]),
        IpAddr::V6(ip) => bail!("{ip} is in no namespace"),
    }
}

fn net_of(name: &Path) -> String {
    format!("--net={}", name.display())
}

/// Runs commands of `ip`, one a line, here or in another namespace.
fn ip(name: Option<&Path>, lines: &str) -> Result<()> {
    let mut command = match name {
        None => Command::new("ip"),
        Some(name) => {
            let mut command = Command::new("nsenter");
            command.arg(net_of(name)).arg("ip");
            command
        }
    };
    let mut program = command
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start ip")?;
    program.stdin.take().context("stdin is no pipe")?.write_all(lines.as_bytes())?;
    let output = program.wait_with_output()?;
    ensure!(output.status.success(), "ip refused one of {lines:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
