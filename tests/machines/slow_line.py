"""A slow line between two bridges: `python slow_line.py BRIDGE BRIDGE`, in their network namespace, until it is killed.

In place of tc-netem(8), for which not every kernel has the module.
"""

import fcntl
import os
import random
import select
import struct
import subprocess
import sys
import time
from collections import deque

DELAY_S = 0.025  # each way, so that an answer takes 50 ms
LOSS = 0.01
BITS_PER_S = 10_000_000
MAX_QUEUE_S = 0.2  # of packets that wait; what comes then is lost, as in a router
TUNSETIFF = 0x400454CA  # linux/if_tun.h
IFF_TAP_NO_PI = 0x1002
FRAME_BYTES = 2048


def end_at(bridge: str) -> int:
    """The line's end: what the bridge sends there can be read, what is written comes out of it."""
    name = f"{bridge}-end"
    end = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(end, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TAP_NO_PI))
    subprocess.run(["ip", "link", "set", name, "master", bridge, "up"], check=True)
    return end


def relay(ends: list[int]) -> None:
    """Carry frames both ways."""
    waiting: dict[int, deque[tuple[float, bytes]]] = {end: deque() for end in ends}  # by where they go
    sent_until = dict.fromkeys(ends, 0.0)
    while True:
        now = time.monotonic()
        due = min((queue[0][0] for queue in waiting.values() if queue), default=now + 1)
        readable, _, _ = select.select(ends, [], [], max(0.0, due - now))
        now = time.monotonic()
        for end in readable:
            frame = os.read(end, FRAME_BYTES)
            other = ends[1 - ends.index(end)]
            if random.random() < LOSS or sent_until[other] > now + MAX_QUEUE_S:
                continue
            sent_until[other] = max(now, sent_until[other]) + len(frame) * 8 / BITS_PER_S
            waiting[other].append((sent_until[other] + DELAY_S, frame))
        for end, queue in waiting.items():
            while queue and queue[0][0] <= now:
                os.write(end, queue.popleft()[1])


if __name__ == "__main__":
    relay([end_at(bridge) for bridge in sys.argv[1:]])
