"""The shells of a controller's hosts, for the playbooks that it runs.

sshd allows a connection only so many sessions. So a playbook opens none of its own: it puts its
questions to the controller, over a Unix socket in the controller's folder, and the controller puts
them to the one shell that it has on the host.
"""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gitops.channel import failures
from gitops.channel.failures import HostSetupError, UnreachableError
from gitops.channel.reader import TURN_S, Question
from gitops.channel.transport import Completed, unix_connect
from gitops.errors import GitopsError

NAME = "relay.q"  # with a suffix: those without are control sockets
MARGIN_S = 5.0
BACKLOG = 128

Answer = Callable[[Question, int], Completed]
"""Puts a question to a host, over the connection that is carried by that process."""

_ERRORS: dict[str, type[GitopsError]] = {
    kind.__name__: kind
    for kind in (
        failures.ChannelTimeoutError,
        failures.HostSetupError,
        failures.LockLostError,
        failures.LoginShellError,
        failures.SessionLimitError,
        failures.UnreachableError,
    )
}


class Relay:
    """Answers the questions of other processes of this controller."""

    def __init__(self, folder: Path) -> None:
        """Nothing listens before the first `serve`."""
        self._path = folder / NAME
        self._answers: dict[str, Answer] = {}
        self._listener: socket.socket | None = None
        self._mutex = threading.Lock()

    def serve(self, record: str, answer: Answer) -> str:
        """Answers questions to one more host; returns where they are put.

        Args:
            record: names the host's connection: see `Transport.record`.
            answer: puts a question to it.
        """
        with self._mutex:
            self._answers[record] = answer
            if self._listener is None:
                self._path.unlink(missing_ok=True)
                self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                self._listener.bind(str(self._path))
                self._listener.listen(BACKLOG)
                threading.Thread(
                    target=self._listen, args=(self._listener,), name="relay", daemon=True
                ).start()
        return str(self._path)

    def close(self) -> None:
        """Answers nothing more."""
        with self._mutex:
            if self._listener is not None:
                with contextlib.suppress(OSError):
                    self._listener.shutdown(socket.SHUT_RDWR)  # ends the thread that accepts
                self._listener.close()
                self._listener = None
            self._answers.clear()

    def _listen(self, listener: socket.socket) -> None:
        while True:
            try:
                asking, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._reply, args=(asking,), name="relay", daemon=True).start()

    def _reply(self, asking: socket.socket) -> None:
        with asking, contextlib.suppress(OSError):  # whoever asked may be gone
            asking.sendall(json.dumps(self._said(json.loads(_rest(asking)))).encode())

    def _said(self, asked: dict[str, Any]) -> dict[str, Any]:
        try:
            answer = self._answers.get(asked["record"])
            if answer is None:
                raise UnreachableError("the controller has no connection to the host")
            question = asked["question"]
            question["stdin"] = base64.b64decode(question["stdin"])
            question["args"] = tuple(question["args"])
            done = answer(Question(**question), asked["carrier"])
        except GitopsError as error:
            return {"error": type(error).__name__, "message": error.message, "hint": error.hint}
        return {
            "code": done.code,
            "stdout": base64.b64encode(done.stdout).decode(),
            "stderr": base64.b64encode(done.stderr).decode(),
        }


class Relayed:
    """Puts questions to a host through the controller that this process works for."""

    def __init__(self, path: str, record: str, carrier: Callable[[], int]) -> None:
        """Nothing is opened.

        Args:
            path: where the relay listens.
            record: names the host's connection.
            carrier: the process that carries it: asked once, for another one later is another connection.
        """
        self._path = path
        self._record = record
        self._carrier = carrier()

    def ask(self, question: Question) -> Completed:
        """Puts a question. Raises as `Reader.ask`, and LockLostError where the connection is another one."""
        fields = {**asdict(question), "stdin": base64.b64encode(question.stdin).decode()}
        asked = {"record": self._record, "carrier": self._carrier, "question": fields}
        try:
            with unix_connect(self._path, question.timeout_s + TURN_S + MARGIN_S) as link:
                link.sendall(json.dumps(asked).encode())
                link.shutdown(socket.SHUT_WR)
                said = json.loads(_rest(link))
        except (OSError, ValueError) as error:
            raise UnreachableError("the controller that holds the connection has ended") from error
        if "error" in said:
            kind = _ERRORS.get(said["error"], HostSetupError)
            raise kind(said["message"], hint=said["hint"])
        return Completed(said["code"], base64.b64decode(said["stdout"]), base64.b64decode(said["stderr"]))

    def close(self) -> None:
        """Nothing: the shell is the controller's."""


def _rest(link: socket.socket) -> bytes:
    data = bytearray()
    while part := link.recv(1 << 16):
        data += part
    return bytes(data)
