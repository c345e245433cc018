"""Container logs across hosts, side by side."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from gitops.channel import Channel
from gitops.channel.engine import MOST_FOLLOWED, Lines
from gitops.errors import GitopsError
from gitops.model.observed import Container
from gitops.terminal import printable

Line = tuple[str, str]
"""The replica, such as `web.1@h1`, and one line of its output."""

HELD_LINES = 1000  # read ahead of whoever prints, all containers together
END_S = 2.0  # for a reader to end; one that still waits for a host that hangs ends with the process
LOOK_S = 0.2  # how soon a reader that waits for the printer sees that nobody reads on


def container_logs(
    channels: Mapping[str, Channel], containers: Sequence[Container], *, follow: bool, tail: int
) -> Iterator[Line]:
    """The last lines of each container, and with `follow` every one that comes.

    The lines of one container stay in order. Without `follow` they come
    container by container; with it as they arrive, until every container has
    ended or the iterator is closed (Ctrl-C). A log that cannot be read says
    so in a line of its own, and the others go on.

    Args:
        channels: by host name.
        containers: whose logs.
        follow: whether to go on.
        tail: how many lines of each to begin with.
    """
    if follow:
        return _followed(channels, containers, tail)
    return _read(channels, containers, tail)


def label(container: Container) -> str:
    """The replica's name for people, `web.1@h1`."""
    return f"{container.service}.{container.slot}@{container.host}"


def _read(channels: Mapping[str, Channel], containers: Sequence[Container], tail: int) -> Iterator[Line]:
    def last_lines(container: Container) -> list[str]:
        try:
            return channels[container.host].engine().logs(container.id, tail=tail, most=MOST_FOLLOWED)
        except GitopsError as problem:
            return [_unreadable(problem)]

    with ThreadPoolExecutor(max_workers=max(1, len(containers))) as pool:
        for container, lines in zip(containers, pool.map(last_lines, containers), strict=True):
            for line in lines:
                yield label(container), printable(line)


def _followed(channels: Mapping[str, Channel], containers: Sequence[Container], tail: int) -> Iterator[Line]:
    tap = _Tap()
    threads = [
        threading.Thread(
            target=tap.follow, args=(channels[c.host], c, tail), name=f"log-{c.name}", daemon=True
        )
        for c in containers
    ]
    try:
        for thread in threads:
            thread.start()
        ended = 0
        while ended < len(threads):
            try:
                line = tap.lines.get(timeout=LOOK_S)  # a Ctrl-C that meets another thread is heard by and by
            except queue.Empty:
                continue
            if line is None:
                ended += 1
            else:
                yield line
    finally:
        tap.close()
        for thread in threads:
            if thread.ident is not None:  # Ctrl-C may come before the last one has started
                thread.join(END_S)


class _Tap:
    """The streams of several containers, poured into one queue; None there stands for the end of one."""

    def __init__(self) -> None:
        self.lines: queue.Queue[Line | None] = queue.Queue(HELD_LINES)
        self._closed = threading.Event()
        self._streams: list[Lines[str]] = []
        self._mutex = threading.Lock()

    def follow(self, channel: Channel, container: Container, tail: int) -> None:
        """Reads one container's stream to its end, or until the tap is closed."""
        replica = label(container)
        try:
            stream = channel.engine().follow_logs(container.id, tail=tail)
            with self._mutex:
                self._streams.append(stream)
                if self._closed.is_set():
                    stream.close()
            for line in stream:
                self._pour((replica, printable(line)))
        except GitopsError as problem:
            self._pour((replica, _unreadable(problem)))
        finally:
            self._pour(None)

    def _pour(self, line: Line | None) -> None:
        while not self._closed.is_set():
            with contextlib.suppress(queue.Full):
                self.lines.put(line, timeout=LOOK_S)
                return

    def close(self) -> None:
        """Ends every stream, and so every reader."""
        self._closed.set()
        with self._mutex:
            for stream in self._streams:
                stream.close()


def _unreadable(problem: GitopsError) -> str:
    return f"(this log cannot be read: {printable(str(problem))})"
