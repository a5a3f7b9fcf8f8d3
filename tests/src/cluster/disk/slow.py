"""Starts a program whose disk can be made slow: `slow.py FILE PROGRAM [ARGUMENT...]`; `slow.py --check` says whether it can be done here.

FILE holds a number of milliseconds. For so long waits each call by which the program, or what it starts, puts something on a disk; then
the kernel does it. Without a number nothing waits. The kernel asks about each of these calls (seccomp user notification, seccomp(2) and
seccomp_unotify(2)), and a process of its own answers, which ends with the last process that is asked about. The program itself takes the
place of this one: its process id and its streams are those that its starter knows.
"""

import ctypes
import errno
import fcntl
import heapq
import os
import platform
import select
import signal
import socket
import struct
import sys
import threading
import time

# Numbers of the calls, from the kernel's tables: the name of the architecture in audit(7), seccomp, and what goes to a disk. Plain
# `write` is not among them: it is for sockets as well, and here only the numbers of calls are looked at.
CALLS = {
    "x86_64": (0xC000003E, 317, {
        "pwrite64": 18, "msync": 26, "fsync": 74, "fdatasync": 75, "ftruncate": 77, "rename": 82, "renameat": 264,
        "sync_file_range": 277, "fallocate": 285, "pwritev": 296, "renameat2": 316, "pwritev2": 328}),
    "aarch64": (0xC00000B7, 277, {
        "renameat": 38, "ftruncate": 46, "fallocate": 47, "pwrite64": 68, "pwritev": 70, "fsync": 82, "fdatasync": 83,
        "sync_file_range": 84, "msync": 227, "renameat2": 276, "pwritev2": 287}),
}
SET_MODE_FILTER, GET_NOTIF_SIZES = 1, 3
NEW_LISTENER, WAIT_KILLABLE = 1 << 3, 1 << 5
ALLOW, USER_NOTIF = 0x7FFF0000, 0x7FC00000
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
OFFSET_OF_NUMBER, OFFSET_OF_ARCHITECTURE = 0, 4
PR_SET_NO_NEW_PRIVS = 38
# What this program knows of struct seccomp_notif and struct seccomp_notif_resp.
NOTIF_BYTES, RESPONSE = 80, struct.Struct("=QqiI")
RECEIVE, SEND = 0xC0502100, 0xC0182101
GO_ON = 1
# Processes that the program started may outlive it by so much; then nobody answers them any more.
ORPHAN_SECONDS = 15

libc = ctypes.CDLL(None, use_errno=True)


class Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


def instructions(architecture, numbers):
    """All calls are allowed, and those with one of these numbers are asked about."""
    count = len(numbers)
    yield LOAD, 0, 0, OFFSET_OF_ARCHITECTURE
    yield JUMP_IF_EQUAL, 0, count + 1, architecture
    yield LOAD, 0, 0, OFFSET_OF_NUMBER
    for index, number in enumerate(numbers):
        yield JUMP_IF_EQUAL, count - index, 0, number
    yield RETURN, 0, 0, ALLOW
    yield RETURN, 0, 0, USER_NOTIF


def listen():
    """From here on this process is asked about; returns where the questions come."""
    architecture, seccomp, calls = CALLS[platform.machine()]
    sizes = (ctypes.c_ushort * 3)()
    if libc.syscall(seccomp, GET_NOTIF_SIZES, 0, sizes) != 0 or tuple(sizes[:2]) != (NOTIF_BYTES, RESPONSE.size):
        raise OSError("the kernel asks in a way that is not known here")
    code = b"".join(struct.pack("=HBBI", *one) for one in instructions(architecture, list(calls.values())))
    buffer = ctypes.create_string_buffer(code)
    program = Program(len(code) // 8, ctypes.addressof(buffer))
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "no_new_privs")
    for flags in (NEW_LISTENER | WAIT_KILLABLE, NEW_LISTENER):
        listener = libc.syscall(seccomp, SET_MODE_FILTER, flags, ctypes.byref(program))
        if listener >= 0:
            return listener
    raise OSError(ctypes.get_errno(), "seccomp")


def answer(listener, delay_seconds):
    """Lets each call go on after its delay, until nobody is left to ask."""
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    waiting = []
    while True:
        timeout = max(0, waiting[0][0] - time.monotonic()) * 1000 if waiting else None
        for _, event in poll.poll(timeout):
            if event & select.POLLIN:
                question = bytearray(NOTIF_BYTES)
                try:
                    fcntl.ioctl(listener, RECEIVE, question, True)
                    delay = delay_seconds()
                    heapq.heappush(waiting, (time.monotonic() + delay, int.from_bytes(question[:8], sys.byteorder)))
                except OSError as error:
                    # Whoever asked is gone, or was interrupted and asks again.
                    if error.errno not in (errno.ENOENT, errno.EINTR):
                        raise
            elif event & (select.POLLHUP | select.POLLERR):
                return
        while waiting and waiting[0][0] <= time.monotonic():
            response = bytearray(RESPONSE.pack(heapq.heappop(waiting)[1], 0, 0, GO_ON))
            try:
                fcntl.ioctl(listener, SEND, response, True)
            except OSError as error:
                if error.errno != errno.ENOENT:
                    raise


def supervise(control, file, pid):
    """The process that answers: it holds nothing of the program's but the place where it is asked."""
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nothing, stream)
    program = os.pidfd_open(pid)
    delays = os.open(file, os.O_RDONLY)
    keep = {control.fileno(), program, delays}
    for number in os.listdir("/proc/self/fd"):
        if int(number) > 2 and int(number) not in keep:
            try:
                os.close(int(number))
            except OSError:
                pass  # the list itself
    _, listeners, _, _ = socket.recv_fds(control, 1, 1)
    control.close()

    def end_with_the_program():
        select.select([program], [], [])
        time.sleep(ORPHAN_SECONDS)
        os._exit(0)

    threading.Thread(target=end_with_the_program, daemon=True).start()

    def delay_seconds():
        text = os.pread(delays, 16, 0).strip()
        return int(text) / 1000 if text.isdigit() else 0

    answer(listeners[0], delay_seconds)


def start(file, command):
    """Becomes the program."""
    ours, theirs = socket.socketpair()
    pid = os.getpid()
    child = os.fork()
    if child == 0:
        # Not a child of the program's: it knows nothing of it.
        if os.fork() == 0:
            ours.close()
            try:
                supervise(theirs, file, pid)
            finally:
                os._exit(0)
        os._exit(0)
    os.waitpid(child, 0)
    theirs.close()
    socket.send_fds(ours, [b"."], [listen()])
    # Answered from here on. Python ignores these two, and what is ignored stays so in the program.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    os.execvp(command[0], command)


def main(arguments):
    if arguments == ["--check"]:
        listen()
    elif len(arguments) >= 2:
        start(arguments[0], arguments[1:])
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
