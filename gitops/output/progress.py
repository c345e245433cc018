"""Live progress of a rollout on standard error."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from gitops.output.console import Words, console
from gitops.output.text import seconds
from gitops.terminal import printable, short_digests

if TYPE_CHECKING:
    from gitops.execute.events import Event

REFRESHES = 4  # of the status line, a second
MARKS = {"changed": "+", "ok": "=", "failed": "x", "unreachable": "x"}  # of finished tasks, by kind
STYLES = {"changed": "", "ok": "gitops.quiet", "failed": "gitops.bad", "unreachable": "gitops.bad"}
FAILURES = frozenset({"failed", "unreachable"})
TIME_WIDTH = 8  # of what stands before every line


class Progress:
    """One line for every task that ends and every state; on a terminal a status line with the time below.

    Hosts of which the same is to be told share a line.

    Nothing of an event is read as markup, and control characters are escaped: text of users passes through.
    """

    def __init__(
        self, app: str, *, to: Console | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._app = app
        self._console = to or console(stderr=True)
        self._clock = clock
        self._began = clock()
        self._state = "planning"
        self._now = ""
        self._told: tuple[str, str] | None = None  # kind and text of what is told next
        self._hosts: list[str] = []  # of which that is told
        self._failed = False  # whether a task has failed, and told of it in full
        self._live: Live | None = None

    def __enter__(self) -> Self:
        """Begins; the status line only where somebody can see it move."""
        if self._console.is_terminal:
            self._live = Live(
                console=self._console,
                get_renderable=self._status,
                refresh_per_second=REFRESHES,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tell_hosts()
        if self._live is not None:
            self._live.stop()

    def show(self, event: Event) -> None:
        """Tells of one event."""
        if event.kind in MARKS:
            said = event.message.removeprefix(f"{event.host}: ")
            if (event.kind, said) != self._told:
                self._tell_hosts()
            self._told = (event.kind, said)
            self._hosts.append(event.host)
            self._failed = self._failed or event.kind in FAILURES
            return
        match event.kind:
            case "state":
                self._state, _, reason = event.message.partition(": ")
                self._now = ""
                # Once is enough: a task that failed has told of it, and the command's result tells it last.
                whole = self._state == "rolling-back" and not self._failed
                self.say(event.message if whole or not reason else event.message.partition("\n")[0])
            case "play":
                self._line(f"  {event.message}", "gitops.head")
            case "job":
                self._line(f"    {event.host}: {_indented(event.message, 4)}", "gitops.quiet")
            case "started":
                self._tell_hosts()
                self._now = event.task
            case _:
                self.say(event.message)

    def say(self, text: str) -> None:
        """Tells of something that is no event, such as waiting for another controller."""
        self._line(f"{self._app}: {_indented(text, 2)}")

    def _tell_hosts(self) -> None:
        """One line for all hosts of which the same is to be told: a fleet's lock is not a page of lines."""
        if self._told is None:
            return
        (kind, said), hosts = self._told, [host for host in self._hosts if host]
        self._told, self._hosts = None, []
        place = f"{', '.join(hosts)}: " if hosts else ""
        self._line(f"  {MARKS[kind]} {place}{_indented(said, 6)}", STYLES[kind])

    def _line(self, text: str, style: str = "") -> None:
        self._tell_hosts()
        took = seconds(self._clock() - self._began)
        line = Text(f"{took:>{TIME_WIDTH - 1}} ", style="gitops.quiet") + Words()(
            Text(short_digests(printable(text)), style=style)
        )
        self._console.print(line, soft_wrap=True)

    def _status(self) -> Text:
        parts = (self._app, self._state, seconds(self._clock() - self._began), self._now)
        line = Text("  ".join(printable(part) for part in parts if part), style="gitops.head")
        line.no_wrap, line.overflow = True, "ellipsis"
        return line


def _indented(text: str, width: int) -> str:
    return text.rstrip("\n").replace("\n", "\n" + " " * (TIME_WIDTH + width))
