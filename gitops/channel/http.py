"""HTTP over any stream socket: the engine's API without a library beyond the standard one."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import select
import socket
import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import unquote

from gitops.channel.failures import EngineBrokenError, EngineError, EngineHangsError
from gitops.channel.faults import refusal
from gitops.errors import GitopsError, Where

Connect = Callable[[float], socket.socket]
"""Opens a connection; its argument is the timeout in seconds."""

_ABOUT = re.compile(r"/containers/(?!(?:json|create)\b)(?P<name>[^/?]+)")
"""A path that is about one container."""

T = TypeVar("T")

IDEMPOTENT = frozenset({"GET", "HEAD"})
MAX_IDLE = 4  # connections kept for the next call
PATIENT_S = 30.0
"""A call that may take longer is ended once the engine does not answer a ping beside it, either."""
PING_EVERY_S = 10.0
PING_S = 10.0  # for its answer


class Connection(http.client.HTTPConnection):
    """An HTTP connection over a socket that somebody else opens."""

    def __init__(self, connect: Connect, timeout_s: float, place: Where) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._open = connect
        self.place = place
        self.opened: socket.socket
        """The socket, also after an answer without a length has taken `sock` away."""
        self.hung = False  # whether it was closed because the engine did not answer another question

    def connect(self) -> None:
        """Opens the socket."""
        self.sock = self.opened = self._open(self.timeout or 0)

    def expect(self, timeout_s: float) -> None:
        """Sets the timeout of the next call."""
        self.timeout = timeout_s
        if self.sock is not None:
            self.sock.settimeout(timeout_s)

    def hangs(self, path: str) -> EngineHangsError:
        """The error for an engine that does not answer."""
        return EngineHangsError(f"the engine does not answer in time ({_plain(path)})", where=self.place)

    def abandon(self) -> None:
        """Ends whatever waits for an answer: the engine hangs."""
        self.hung = True
        with contextlib.suppress(OSError):  # it may have ended already
            self.opened.shutdown(socket.SHUT_RDWR)

    @property
    def stale(self) -> bool:
        """Whether the other side has closed it, or talks out of turn."""
        if self.sock is None:
            return False
        poller = select.poll()  # not select.select: a controller of many hosts has descriptors above 1023
        poller.register(self.sock, select.POLLIN)
        return bool(poller.poll(0))


class Watchdog:
    """Pings the engine beside a long call, and ends the call when the engine hangs."""

    def __init__(self, connection: Connection, ping: Callable[[], object]) -> None:
        self._connection = connection
        self._ping = ping
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="engine-watchdog", daemon=True)

    def start(self) -> Watchdog:
        """Begins to watch."""
        self._thread.start()
        return self

    def close(self) -> None:
        """The call has ended."""
        self._ended.set()

    def _watch(self) -> None:
        while not self._ended.wait(PING_EVERY_S):
            try:
                self._ping()
            except EngineHangsError:
                if not self._ended.is_set():
                    self._connection.abandon()
                return
            except GitopsError:
                return  # whatever ended the connection ends the call, too


class Http:
    """Calls with JSON in and out over connections that are reused. Safe to use from several threads."""

    def __init__(self, connect: Connect, place: Where, *, keep_s: float | None = None) -> None:
        """Nothing is opened before the first call.

        Args:
            connect: opens a connection.
            place: the host, for errors.
            keep_s: seconds to keep an idle connection; None for as long as it stands.
        """
        self._keep_s = keep_s
        self._connect = connect
        self._place = place
        self._idle: list[Connection] = []  # append and pop are atomic

    def close(self) -> None:
        """Closes the idle connections; a later call opens a new one."""
        while self._idle:
            self._idle.pop().close()

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        timeout_s: float,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """One call.

        Returns:
            The decoded JSON answer, or None for an empty one.

        Raises:
            NotFoundError: status 404.
            EngineError: any other refusal.
            EngineBrokenError: the connection broke.
            EngineHangsError: no answer in time.
        """
        data, _ = self._call(method, path, body, headers or {}, timeout_s)
        return decode(data) if data.strip() else None

    def headers(self, path: str, *, timeout_s: float) -> http.client.HTTPMessage:
        """The headers of the answer to a GET, whatever its body. Raises as `call`."""
        return self._call("GET", path, None, {}, timeout_s)[1]

    def open(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        timeout_s: float | None,
        headers: Mapping[str, str] | None = None,
    ) -> Stream:
        """A call whose answer is read bit by bit; on its own connection.

        Args:
            method: of HTTP.
            path: with its query.
            body: anything that JSON can say, or None.
            timeout_s: seconds without a byte, or None to wait for ever.
            headers: further ones.
        """
        connection = Connection(self._connect, timeout_s or 30.0, self._place)
        response = self._exchange(connection, method, path, body, headers or {})
        if response.status >= http.client.BAD_REQUEST:
            data = _guarded(response.read, connection, path)
            connection.close()
            _check(response.status, data, self._place, path)
        stream = Stream(connection, response, path, self._watchdog(connection, timeout_s or 0.0))
        stream.expect(timeout_s)
        return stream

    def _call(
        self, method: str, path: str, body: Any, headers: Mapping[str, str], timeout_s: float
    ) -> tuple[bytes, http.client.HTTPMessage]:
        connection, response = self._request(method, path, body, headers, timeout_s)
        data = _guarded(response.read, connection, path)
        self._give_back(connection, response)
        _check(response.status, data, self._place, path)
        return data, response.headers

    def _watchdog(self, connection: Connection, timeout_s: float) -> Watchdog | None:
        if timeout_s <= PATIENT_S:
            return None
        return Watchdog(connection, lambda: self.headers("/_ping", timeout_s=PING_S)).start()

    def _request(
        self, method: str, path: str, body: Any, headers: Mapping[str, str], timeout_s: float
    ) -> tuple[Connection, http.client.HTTPResponse]:
        while self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:  # another thread was quicker
                break
            if connection.stale:
                connection.close()
                continue
            connection.expect(timeout_s)
            try:
                return connection, self._exchange(connection, method, path, body, headers)
            except EngineBrokenError:
                # It may have been closed between the look and the call. Asking again is only safe
                # where asking twice changes nothing.
                if method not in IDEMPOTENT:
                    raise
        connection = Connection(self._connect, timeout_s, self._place)
        return connection, self._exchange(connection, method, path, body, headers)

    def _exchange(
        self, connection: Connection, method: str, path: str, body: Any, headers: Mapping[str, str]
    ) -> http.client.HTTPResponse:
        data = None if body is None else json.dumps(body).encode()
        sent = {"Content-Type": "application/json", **headers} if data is not None else dict(headers)

        def exchange() -> http.client.HTTPResponse:
            connection.request(method, path, body=data, headers=sent)
            return connection.getresponse()

        watchdog = self._watchdog(connection, connection.timeout or 0.0)
        try:
            return _guarded(exchange, connection, path)
        finally:
            if watchdog is not None:
                watchdog.close()

    def _give_back(self, connection: Connection, response: http.client.HTTPResponse) -> None:
        if response.will_close or len(self._idle) >= MAX_IDLE:
            connection.close()
        else:
            self._idle.append(connection)
            if self._keep_s is not None:
                ending = threading.Timer(self._keep_s, self._end, (connection,))
                ending.daemon = True
                ending.start()

    def _end(self, connection: Connection) -> None:
        """Closes a connection unless somebody uses it."""
        with contextlib.suppress(ValueError):
            self._idle.remove(connection)
            connection.close()


class Stream:
    """The body of an answer that is still being written.

    Closing it from another thread ends a read that waits.
    """

    def __init__(
        self,
        connection: Connection,
        response: http.client.HTTPResponse,
        path: str,
        watchdog: Watchdog | None = None,
    ) -> None:
        self._watchdog = watchdog
        self._connection = connection
        self._response = response
        self._path = path
        self._closed = threading.Event()

    def expect(self, timeout_s: float | None) -> None:
        """Sets how long a read may wait; None waits for ever."""
        self._connection.opened.settimeout(timeout_s)

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes, or fewer at the end."""
        data = b""
        while len(data) < size:
            part = self._guard(lambda: self._response.read(size - len(data)))  # noqa: B023 - called at once
            if not part:
                break
            data += part
        return data

    def line(self) -> bytes:
        """The next line with its end; empty at the end of the stream."""
        return self._guard(self._response.readline)

    def close(self) -> None:
        """Ends the stream."""
        self._closed.set()
        if self._watchdog is not None:
            self._watchdog.close()
        with contextlib.suppress(OSError):  # it may have ended already
            self._connection.opened.shutdown(socket.SHUT_RDWR)
        self._response.close()
        self._connection.close()

    def _guard(self, read: Callable[[], bytes]) -> bytes:
        if self._closed.is_set():
            return b""
        try:
            found = _guarded(read, self._connection, self._path)
        except EngineBrokenError:
            if self._closed.is_set():  # by another thread, meanwhile
                return b""
            raise
        except (AttributeError, ValueError):
            if self._closed.is_set():  # the same: http.client then reads from a file that is gone
                return b""
            raise
        if not found and self._connection.hung:  # http.client takes the end in the middle for the end
            raise self._connection.hangs(self._path)
        return found


def decode(data: bytes) -> Any:
    """JSON that the engine wrote.

    Raises:
        EngineError: it is not JSON.
    """
    try:
        return json.loads(data)
    except ValueError as error:
        raise EngineError(f"the engine's answer is not JSON: {data[:80]!r}") from error


def _guarded(action: Callable[[], T], connection: Connection, path: str) -> T:
    """Runs an exchange; whatever breaks it closes the connection and becomes an error of ours."""
    try:
        return action()
    except TimeoutError as error:
        connection.close()
        raise connection.hangs(path) from error
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        if connection.hung:
            raise connection.hangs(path) from error
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        message = f"the connection to the engine broke: {why} ({_plain(path)})"
        # The far end of a forwarded socket is opened late: what is wrong there shows as an early end.
        early = isinstance(error, ConnectionError)
        hint = "does the engine run, and does sshd allow AllowStreamLocalForwarding?" if early else ""
        raise EngineBrokenError(message, hint=hint, where=connection.place) from error


def _plain(path: str) -> str:
    return path.partition("?")[0]


def _check(status: int, data: bytes, place: Where, path: str) -> None:
    if status < http.client.BAD_REQUEST:
        return
    message = _message(data) or http.client.responses.get(status, str(status))
    if about := _ABOUT.search(path):
        place = Where(host=place.host, container=unquote(about["name"]))
    raise refusal(message, status=status, where=place)


def _message(data: bytes) -> str:
    """The engine's words: `message` of Docker, `cause` and `message` of Podman, else the plain text."""
    text = data.decode(errors="replace").strip()
    try:
        found = json.loads(text)
    except ValueError:
        return text
    if not isinstance(found, dict):
        return text
    return str(found.get("message") or found.get("cause") or text)
