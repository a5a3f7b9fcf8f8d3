#![allow(clippy::unwrap_used)]

use std::time::Instant;

use super::*;
use crate::node::Place;

/// Writes ten times, and says its process id and which children it has.
const WRITER: &str = "import os, sys\n\
    file = os.open(sys.argv[1], os.O_CREAT | os.O_RDWR)\n\
    for _ in range(10): os.pwrite(file, b'x', 0)\n\
    children = open(f'/proc/self/task/{os.getpid()}/children').read()\n\
    print(os.getpid(), children)\n";

#[test]
fn a_program_waits_for_its_disk_and_knows_nothing_of_it() {
    // Where the kernel refuses there is nothing to test, and the faults say that they do without.
    if !Disk::is_possible() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::new(folder.path(), "writer").unwrap();
    let place = Place { before: disk.launcher().into(), ..Place::default() };
    let run = || {
        let begun = Instant::now();
        let mut command = place.command(&python());
        command.args(["-c", WRITER]).arg(folder.path().join("written")).stdout(Stdio::piped());
        let child = command.spawn().unwrap();
        let pid = child.id();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), pid.to_string());
        begun.elapsed()
    };
    run();
    disk.set(Duration::from_millis(50)).unwrap();
    assert!(run() >= Duration::from_millis(500));
}
