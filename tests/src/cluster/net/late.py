"""Sends back what comes out of a TUN device, so much later: `late.py DEVICE MILLISECONDS`. It says `ready` once it does."""

import collections
import fcntl
import os
import select
import struct
import sys
import time

SET_INTERFACE, TUN, NO_PACKET_INFO = 0x400454CA, 0x0001, 0x1000
MAX_PACKET_BYTES = 65536


def main(device, milliseconds):
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, SET_INTERFACE, struct.pack("=16sH22x", device.encode(), TUN | NO_PACKET_INFO))
    print("ready", flush=True)
    delay = int(milliseconds) / 1000
    waiting = collections.deque()
    while True:
        timeout = max(0, waiting[0][0] - time.monotonic()) if waiting else None
        if select.select([tun], [], [], timeout)[0]:
            waiting.append((time.monotonic() + delay, os.read(tun, MAX_PACKET_BYTES)))
        while waiting and waiting[0][0] <= time.monotonic():
            try:
                os.write(tun, waiting.popleft()[1])
            except OSError:
                pass  # a packet that is lost


main(*sys.argv[1:])
