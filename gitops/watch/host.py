"""Follows one host: its engine's events as they come, and a small question every now and then."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

from gitops.channel import Channel
from gitops.channel.engine import Json, Lines
from gitops.errors import GitopsError
from gitops.model.edge import CONFIG, PORTS_MAP, ROUTES_MAP
from gitops.observe import haproxy
from gitops.observe.files import FOLDER
from gitops.watch.checks import Checks
from gitops.watch.presence import Presence
from gitops.watch.signs import Files, Servers, Sign, of_event, of_files, of_servers, running_of

log = logging.getLogger(__name__)

ASK_S = 2.0  # for the answer to a question that costs a host next to nothing
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 3.0  # between two tries to reach a host, or its engine
EVENTS = {"type": ["container"], "label": ["gitops.app"]}

# One line a file: checksum, size, path.
SUMS = r'cd "$1" 2>/dev/null && shift && exec cksum */release.json */haproxy.cfg "$@"'


class HostWatch:
    """Threads that tell of what happens on a host. They reconnect for as long as it takes.

    One hangs on the engine's stream of events. Another asks for the files of this project and,
    where one of them is served, for what HAProxy runs: that is the sign of life, too. On Podman a
    third one runs the health checks that the engine does not run: see `gitops.watch.checks`.
    """

    def __init__(
        self,
        channel: Channel,
        *,
        engine: bool,
        pause_s: Callable[[], float],
        tell: Callable[[Sign], None],
    ) -> None:
        """Nothing is begun.

        Args:
            channel: the way to the host, shared with whoever acts there.
            engine: whether it runs containers.
            pause_s: seconds between two questions, asked anew each time.
            tell: told of every sign; must not block.
        """
        self.presence = Presence(time.monotonic())
        self._channel = channel
        self._pause_s = pause_s
        self._tell = tell
        self._stopping = threading.Event()
        self._hurry = threading.Event()  # something has happened: ask now
        self._stream: Lines[Json] | None = None
        checks = Checks(channel, ready=lambda: not self.presence.misses, tell=self._say)
        check_on = partial(checks.run_on, self._stopping)
        targets: list[Callable[[], None]] = [self._ask_on]
        targets += [self._follow_on, check_on] if engine else []
        self._threads = [
            threading.Thread(target=target, name=f"watch-{channel.name}", daemon=True) for target in targets
        ]

    def start(self) -> None:
        """Begins to follow."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Asks for the end; a question that is under way ends by its own time."""
        self._stopping.set()
        self._hurry.set()
        if self._stream is not None:
            self._stream.close()

    def join(self, within_s: float) -> None:
        """Waits for the end, but not for ever."""
        deadline = time.monotonic() + within_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    # --- the engine's events ---

    def _follow_on(self) -> None:
        pause, ended = FIRST_PAUSE_S, -1.0
        while not self._stopping.is_set():
            if self.presence.heard > ended and not self.presence.misses:
                # The other thread reconnects, if need be: one that waits for a dead host is enough.
                began = time.monotonic()
                self._follow()
                ended = time.monotonic()
                self._hurry.set()
                pause = FIRST_PAUSE_S if ended - began > LONGEST_PAUSE_S else min(2 * pause, LONGEST_PAUSE_S)
            self._stopping.wait(pause)

    def _follow(self) -> None:
        try:
            self._stream = self._channel.engine().events(EVENTS)
            if self._stopping.is_set():
                self._stream.close()
            self._say(Sign(self._channel.name, "its events are followed"))  # what was before is not known
            for event in self._stream:
                if sign := of_event(self._channel.name, event):
                    self._say(sign)
        except GitopsError as problem:
            log.debug("%s: its events end: %s", self._channel.name, problem)
        except Exception:  # a watch that ends would leave the host to the full passes
            log.exception("%s: internal error, please report it", self._channel.name)

    # --- the question ---

    def _ask_on(self) -> None:
        pause = FIRST_PAUSE_S
        seen: tuple[Files, Servers] | None = None
        while not self._stopping.is_set():
            if seen is not None and not self._channel.standing:
                self._missed("the connection ended", broken=True)
            try:
                now = self._ask()
            except GitopsError as problem:
                self._missed(problem.message, broken=not self._channel.standing)
                self._stopping.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)
                continue
            except Exception:  # as above
                log.exception("%s: internal error, please report it", self._channel.name)
                self._stopping.wait(LONGEST_PAUSE_S)
                continue
            self._answered()
            for sign in self._changes(seen, now) if seen else ():
                self._say(sign)
            seen, pause = now, FIRST_PAUSE_S
            self._hurry.wait(self._pause_s())
            self._hurry.clear()

    def _changes(self, before: tuple[Files, Servers], now: tuple[Files, Servers]) -> Iterator[Sign]:
        yield from of_files(self._channel.name, before[0], now[0])
        yield from of_servers(self._channel.name, before[1], now[1])

    def _ask(self) -> tuple[Files, Servers]:
        done = self._channel.ask(SUMS, args=(FOLDER, CONFIG, ROUTES_MAP, PORTS_MAP), timeout_s=ASK_S)
        files = {words[2]: f"{words[0]} {words[1]}" for words in _words(done.stdout)}
        if not any(path.endswith("/haproxy.cfg") for path in files if not path.startswith("/")):
            return files, {}  # its HAProxy, if it has one, serves nothing of ours
        try:
            return files, running_of(*haproxy.running(self._channel.proxy()))
        except GitopsError:  # HAProxy does not run: the host is there all the same
            return files, {}

    def _answered(self) -> None:
        was = self.presence
        self.presence = was.answered(time.monotonic())
        if was.silent:
            self._say(Sign(self._channel.name, "it answers again"))

    def _missed(self, error: str, *, broken: bool) -> None:
        was = self.presence
        self.presence = was.missed(error, broken=broken)
        if self.presence.silent and not was.silent:
            self._say(Sign(self._channel.name, f"it does not answer: {error}"))

    def _say(self, sign: Sign) -> None:
        if not self._stopping.is_set():
            self._tell(sign)


def _words(listed: bytes) -> list[list[str]]:
    """The lines of cksum that are whole, in three words each."""
    lines = (line.split(maxsplit=2) for line in listed.decode(errors="replace").splitlines())
    return [words for words in lines if len(words) == 3]  # noqa: PLR2004 - checksum, size, path
