"""At most so many sessions at a time carry the API of one host's engine, over all processes that use it.

Where the user may not open the engine's socket each connection to it is a session of sshd, which
allows only so many of them. A session has one of a few files locked: a process that ends, however
it ends, gives its files back.
"""

from __future__ import annotations

import fcntl
import os
import time

from gitops.channel.failures import ChannelTimeoutError

SLOTS = 6
"""Sessions of one host that carry its engine or HAProxy at a time, beside the lock's and the shell's."""
WAIT_S = 60.0
POLL_S = 0.02


def take_slot(record: str, *, wait_s: float = WAIT_S) -> int:
    """Takes one; closing the descriptor that is returned gives it back.

    Args:
        record: names the connection: see `Transport.record`.
        wait_s: seconds to wait for one.

    Raises:
        ChannelTimeoutError: none is free in time.
    """
    deadline = time.monotonic() + wait_s
    while True:
        for number in range(SLOTS):
            descriptor = os.open(f"{record}.{number}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
            else:
                return descriptor
        if time.monotonic() > deadline:
            raise ChannelTimeoutError(
                f"all {SLOTS} sessions to the engine are in use",
                hint="let the user open the engine's socket: then it needs no sessions",
            )
        time.sleep(POLL_S)
