"""A client of OpenSSH's control socket (PROTOCOL.mux, version 4).

`ssh -S path host command` costs a process and about 15 ms; asking the master
directly costs neither. It also cannot connect by itself: when the master is
gone a call fails, where `ssh` would quietly open a new connection without the
host's lock.
"""

from __future__ import annotations

import socket
import struct
from types import TracebackType
from typing import Self

from gitops.channel.failures import ChannelTimeoutError, SessionLimitError, UnreachableError

VERSION = 4
STREAMLOCAL = 0xFFFFFFFE  # "port" of a Unix socket
FORWARD_LOCAL = 1
NO_ESCAPE = 0xFFFFFFFF

HELLO = 0x00000001
NEW_SESSION = 0x10000002
ALIVE_CHECK = 0x10000004
TERMINATE = 0x10000005
OPEN_FORWARD = 0x10000006

OK = 0x80000001
PERMISSION_DENIED = 0x80000002
FAILURE = 0x80000003
EXIT = 0x80000004
ALIVE = 0x80000005
SESSION_OPENED = 0x80000006

REFUSED = "Session open refused by peer"  # the master's words, whatever the reason of sshd
REQUEST = 1  # one request at a time on a connection, so its number never matters


class MuxError(UnreachableError):
    """The master refused a request."""


class Control:
    """One connection to a master's control socket; it carries one session at most."""

    def __init__(self, path: str, timeout_s: float) -> None:
        """Connects and greets.

        Args:
            path: the control path.
            timeout_s: seconds for each answer of the master.

        Raises:
            UnreachableError: there is no master.
        """
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout_s)
        try:
            self._socket.connect(path)
            self._send(struct.pack(">II", HELLO, VERSION))
            kind, _ = self._receive()
            if kind != HELLO:
                raise MuxError("the SSH master does not greet as expected")
        except (OSError, UnreachableError) as error:
            self._socket.close()
            if isinstance(error, UnreachableError):
                raise
            raise UnreachableError(f"no SSH master connection ({error.strerror or error})") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection; the master then ends its session, which sees the end of its input."""
        self._socket.close()

    def fileno(self) -> int:
        """The descriptor: readable once the session or the master has ended."""
        return self._socket.fileno()

    def pid(self) -> int:
        """The master's process id; an answer means that it is alive."""
        self._send(struct.pack(">II", ALIVE_CHECK, REQUEST))
        return int(struct.unpack(">I", self._answer(ALIVE)[:4])[0])

    def terminate(self) -> None:
        """Ends the master, its connection and everything forwarded over it."""
        self._send(struct.pack(">II", TERMINATE, REQUEST))
        self._answer(OK)

    def forward(self, local: str, remote: str) -> None:
        """Makes the master listen at the Unix socket `local` for the host's Unix socket `remote`.

        The remote end is only opened when something connects.
        """
        self._send(
            struct.pack(">III", OPEN_FORWARD, REQUEST, FORWARD_LOCAL)
            + _string(local)
            + struct.pack(">I", STREAMLOCAL)
            + _string(remote)
            + struct.pack(">I", STREAMLOCAL)
        )
        self._answer(OK)

    def session(self, command: str, stdin: int, stdout: int, stderr: int) -> None:
        """Runs a command on the host with the given descriptors; the caller closes its own copies.

        Raises:
            SessionLimitError: sshd refused to open one.
        """
        self._send(
            struct.pack(">II", NEW_SESSION, REQUEST)
            + _string("")  # reserved
            + struct.pack(">IIIII", 0, 0, 0, 0, NO_ESCAPE)  # no terminal, X11, agent, subsystem
            + _string("")  # terminal type
            + _string(command)
        )
        for descriptor in (stdin, stdout, stderr):
            socket.send_fds(self._socket, [b"\0"], [descriptor])
        try:
            self._answer(SESSION_OPENED)
        except MuxError as error:
            if REFUSED not in error.message:
                raise
            raise SessionLimitError("sshd refuses another session on the connection") from error

    def wait(self, timeout_s: float) -> int:
        """Waits for the session to end and its output to be written.

        Returns:
            The exit code.

        Raises:
            ChannelTimeoutError: it still runs.
            UnreachableError: the master ended first.
        """
        self._socket.settimeout(timeout_s)
        code: int | None = None
        while True:
            try:
                kind, body = self._receive()
            except UnreachableError:
                # The master closes when the session is over: output is complete only then.
                if code is None:
                    raise
                return code
            if kind == EXIT:
                code = struct.unpack(">I", body[4:8])[0]

    def _answer(self, expected: int) -> bytes:
        """The body of the next message, without the request number."""
        kind, body = self._receive()
        if kind == expected:
            return body[4:]
        if kind in {PERMISSION_DENIED, FAILURE}:
            size = struct.unpack(">I", body[4:8])[0]
            raise MuxError(f"the SSH master refused: {body[8 : 8 + size].decode(errors='replace')}")
        raise MuxError(f"the SSH master answered unexpectedly (0x{kind:x})")

    def _send(self, payload: bytes) -> None:
        try:
            self._socket.sendall(struct.pack(">I", len(payload)) + payload)
        except OSError as error:
            raise UnreachableError(f"the SSH master connection ended ({error.strerror or error})") from error

    def _receive(self) -> tuple[int, bytes]:
        """The next message: (type, body)."""
        (size,) = struct.unpack(">I", self._exactly(4))
        payload = self._exactly(size)
        return struct.unpack(">I", payload[:4])[0], payload[4:]

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            try:
                part = self._socket.recv(size - len(data))
            except TimeoutError as error:
                raise ChannelTimeoutError("no answer over SSH in time") from error
            except OSError as error:
                raise UnreachableError(
                    f"the SSH master connection ended ({error.strerror or error})"
                ) from error
            if not part:
                raise UnreachableError("the SSH connection ended")
            data += part
        return data


def _string(text: str) -> bytes:
    raw = text.encode()
    return struct.pack(">I", len(raw)) + raw
