"""Reads several streams side by side, each up to a limit."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Sequence

from gitops.channel.failures import ChannelTimeoutError, HostSetupError

MOST = 64 << 20
"""Bytes that a host may answer to one question, on each stream."""


def read_until(
    streams: Sequence[int],
    done: Callable[[Sequence[bytearray]], bool],
    deadline: float,
    *,
    already: Sequence[bytearray] | None = None,
    most: int = MOST,
) -> tuple[list[bytearray], bool]:
    """Reads from every descriptor as bytes come, until `done` says so or all have ended.

    Args:
        streams: descriptors.
        done: given what has come of each stream, asked after each piece.
        deadline: by the monotonic clock.
        already: what has come of each before.
        most: bytes of each.

    Returns:
        What has come of each, and whether `done` has said so.

    Raises:
        ChannelTimeoutError: the deadline has passed.
        HostSetupError: one is longer than `most`.
        OSError: a stream broke.
    """
    texts = [bytearray(text) for text in already] if already else [bytearray() for _ in streams]
    places = {stream: number for number, stream in enumerate(streams)}
    poller = select.poll()  # not select.select: a controller of many hosts has descriptors above 1023
    for stream in streams:
        poller.register(stream, select.POLLIN)
    while places:
        left = deadline - time.monotonic()
        if left <= 0:
            raise ChannelTimeoutError("the host's shell does not answer in time")
        for stream, _ in poller.poll(max(1, int(left * 1000))):
            part = os.read(stream, 1 << 16)
            text = texts[places[stream]]
            text += part
            if len(text) > most:
                raise HostSetupError(f"the host answers more than {most >> 20} MiB to one question")
            if not part:
                poller.unregister(stream)
                del places[stream]
        if done(texts):
            return texts, True
    return texts, False
