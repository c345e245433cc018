"""From a command to the service that works on the same configuration: a Unix socket.

A command that finds a service lets it do the work: over connections that stand, and
without waiting for its locks. One line of JSON asks; lines of JSON tell each event
of the deployment, then the result, or why there is none.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from gitops.errors import GitopsError, PermanentError
from gitops.execute.events import Event
from gitops.places import service_socket

log = logging.getLogger(__name__)

CONNECT_S = 2.0
_LONGEST = 65_536  # bytes of a question

View = dict[str, Any]
Show = Callable[[Event], None]


@dataclass(frozen=True)
class Asked:
    """What a command wants of the service.

    Attributes:
        app: the application.
        revision: commit, branch or tag to deploy; empty for the newest.
        confirm: whether a person has agreed to removing most of the application.
        trigger: manual, or drain where hosts have left or come back: then the good commit stays.
    """

    app: str
    revision: str = ""
    confirm: bool = False
    trigger: Literal["manual", "drain"] = "manual"


def ask(config: Path, asked: Asked, listen: Callable[[], Show]) -> View | None:
    """Lets the service of a configuration file deploy.

    Args:
        config: the file.
        asked: what to do.
        listen: called when the service has been asked, which need not wait for it; what it returns
            is told of each event.

    Returns:
        The result's view, or None where no service listens.

    Raises:
        PermanentError: the service's own refusal.
    """
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(CONNECT_S)
        try:
            link.connect(str(service_socket(config)))
        except OSError:
            return None
        link.settimeout(None)  # a deployment has a time limit of its own
        link.sendall(json.dumps(asdict(asked)).encode() + b"\n")
        show = listen()
        for line in link.makefile("rb"):
            told = json.loads(line)
            if "event" in told:
                show(Event(**told["event"]))
            elif "result" in told:
                return dict(told["result"])
            else:
                raise PermanentError(told["error"], hint=told["hint"])
    raise PermanentError("the service ended before it was done", hint=f"gitops history {asked.app}")


@contextmanager
def only_service(config: Path) -> Iterator[None]:
    """Sees to it that one service follows a configuration file, until the block ends.

    Raises:
        PermanentError: another one does, with its process; nothing of it is touched.
    """
    place = service_socket(config).with_suffix(".pid")
    with place.open("a+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise PermanentError(
                f"a service follows {config} already: process {file.read().strip() or 'unknown'}",
                hint="it reloads the file by itself; to replace it, stop that process first",
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


class Door:
    """Where a service hears commands, until the block ends.

    Args:
        config: its configuration file.
        answer: does what is asked, telling of events as they come; called from threads.
    """

    def __init__(self, config: Path, answer: Callable[[Asked, Show], View]) -> None:
        self._place = service_socket(config)
        self._answer = answer
        self._listener = socket.socket(socket.AF_UNIX)
        self._thread = threading.Thread(target=self._listen, name="control", daemon=True)

    def __enter__(self) -> Self:
        """Begins to listen; what a service that died has left there is replaced."""
        self._place.unlink(missing_ok=True)
        self._listener.bind(str(self._place))
        self._listener.listen()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes whoever accepts
        self._listener.close()
        self._place.unlink(missing_ok=True)

    def _listen(self) -> None:
        while True:
            try:
                link, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(link,), name="command", daemon=True).start()

    def _serve(self, link: socket.socket) -> None:
        with link, suppress(OSError):  # whoever asked may be gone: the work goes on without
            line = link.makefile("rb").readline(_LONGEST)
            try:
                asked = Asked(**json.loads(line))
                _tell(link, {"result": self._answer(asked, lambda event: _event(link, event))})
            except GitopsError as problem:
                _tell(link, {"error": _placed(problem), "hint": problem.hint})
            except (ValueError, TypeError):
                _tell(link, {"error": "the service does not understand this command", "hint": "restart it"})


def _placed(problem: GitopsError) -> str:
    place = f"{problem.where}: " if problem.where and str(problem.where) else ""
    return f"{place}{problem.message}"


def _event(link: socket.socket, event: Event) -> None:
    with suppress(OSError):
        _tell(link, {"event": asdict(event)})


def _tell(link: socket.socket, what: Mapping[str, Any]) -> None:
    link.sendall(json.dumps(what).encode() + b"\n")
