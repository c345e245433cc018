"""The Engine API of Docker (20.10 and later) and of Podman's compatible service (4.3 and later).

Methods are as plain as the API: names in, JSON out. Standard library only, so
that a rendered folder carries it anywhere.
"""

from __future__ import annotations

import base64
import json
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Generic, TypeVar
from urllib.parse import quote, urlencode

from gitops.channel.failures import ChannelTimeoutError, EngineBrokenError, EngineError, NotFoundError
from gitops.channel.faults import refusal
from gitops.channel.http import Connect, Http, Stream, decode
from gitops.errors import GitopsError, Where

API = "1.41"  # Docker 20.10's; later engines and Podman still answer it
TIMEOUT_S = 30.0
ABOUT_S = 10.0  # an engine that hangs is noticed by this first question
PULL_SILENCE_S = 300.0  # a pull says something more often than this
FRAME = 8  # bytes before each piece of a container's output: stream, three zeros, length

Json = dict[str, Any]
Filters = Mapping[str, Sequence[str]]
T = TypeVar("T")


@dataclass(frozen=True)
class About:
    """What an engine is.

    Attributes:
        kind: `docker` or `podman`.
        version: its own.
        api: version of the API that it is spoken to in.
    """

    kind: str
    version: str
    api: str


MOST_OF_A_LINE = 500
"""Characters of a line of a container's output that are told of it."""

MOST_FOLLOWED = 16 * 1024
"""The same for whoever asks for a container's log."""

MOST_OUTPUT = 64 * 1024
"""Bytes of what a command says that is run in a container, such as a health check."""


class Engine:
    """One container engine. Safe to use from several threads.

    Every method raises NotFoundError, EngineError, EngineBrokenError or
    ChannelTimeoutError, as `Http.call` says, and whatever opening the
    connection raises.
    """

    def __init__(
        self,
        connect: Connect,
        *,
        host: str = "",
        about: About | None = None,
        learned: Callable[[About], None] = lambda _: None,
        explain: Callable[[], GitopsError | None] = lambda: None,
        keep_s: float | None = None,
    ) -> None:
        """Nothing is opened before the first call.

        Args:
            connect: opens a connection to the engine's socket; its argument is the timeout in seconds.
            host: inventory name, for errors.
            about: what the engine has told another process of itself, so that this one need not ask.
            learned: told what it says of itself when it is asked.
            explain: says why its socket is closed before it has said anything, or nothing.
            keep_s: seconds to keep an idle connection; None for as long as it stands.
        """
        self._http = Http(connect, Where(host=host), keep_s=keep_s)
        self._explain = explain
        self._place = Where(host=host)
        self._about = about
        self._learned = learned

    def close(self) -> None:
        """Closes idle connections, and forgets what the engine is: it may be another one next time."""
        self._http.close()
        self._about = None

    @property
    def podman(self) -> bool:
        """Whether it is Podman, which differs from Docker in places."""
        return self.about.kind == "podman"

    @property
    def about(self) -> About:
        """What the engine said of itself when it was first asked."""
        about = self._about
        if about is None:
            about = self._about = self._ask_first()
            self._learned(about)
        return about

    def info(self) -> Json:
        """Capacity, drivers and settings."""
        return dict(self._get("/info"))

    # --- containers ---

    def containers(self, filters: Filters | None = None, *, timeout_s: float = TIMEOUT_S) -> list[Json]:
        """Containers in every state; `filters` as the API has them: {"label": ["gitops.app=shop"]}."""
        return list(self._get("/containers/json", {"all": "true", **_filters(filters)}, timeout_s=timeout_s))

    def inspect(self, name: str) -> Json:
        """Everything about one container."""
        return dict(self._get(f"/containers/{_name(name)}/json"))

    def stats(self, name: str) -> Json:
        """What a running container has used so far: processor time, memory and so on; at once."""
        query = {"stream": "false", "one-shot": "true"}
        return dict(self._get(f"/containers/{_name(name)}/stats", query, timeout_s=ABOUT_S))

    def create(self, name: str, body: Json) -> str:
        """Creates a container and returns its id. An image that is not there raises NotFoundError."""
        return str(self._post("/containers/create", {"name": name}, body)["Id"])

    def start(self, name: str) -> None:
        """Starts a container; one that runs already is left alone."""
        self._post(f"/containers/{_name(name)}/start", timeout_s=120.0)

    def unpause(self, name: str) -> None:
        """Lets a paused container go on."""
        self._post(f"/containers/{_name(name)}/unpause")

    def stop(self, name: str, *, grace_s: float = 10.0) -> None:
        """Sends the container's stop signal, and kills it after the grace time."""
        seconds = math.ceil(grace_s)
        self._post(f"/containers/{_name(name)}/stop", {"t": str(seconds)}, timeout_s=seconds + TIMEOUT_S)

    def kill(self, name: str, signal: str = "SIGKILL") -> None:
        """Sends a signal to the container's first process."""
        self._post(f"/containers/{_name(name)}/kill", {"signal": signal})

    def remove(self, name: str, *, force: bool = False) -> None:
        """Removes a container and its anonymous volumes; named volumes stay."""
        query = {"v": "true", "force": "true" if force else "false"}
        self._http.call("DELETE", self._path(f"/containers/{_name(name)}", query), timeout_s=120.0)

    def wait(self, name: str, *, timeout_s: float) -> int:
        """Waits until a container does not run and returns its exit code."""
        path = f"/containers/{_name(name)}/wait"
        answer = self._post(path, {"condition": "not-running"}, timeout_s=timeout_s)
        return int(answer["StatusCode"])

    def logs(self, name: str, *, tail: int = 20, most: int = MOST_OF_A_LINE) -> list[str]:
        """The last lines of a container's output, both streams, in order, each of so many characters."""
        query = {"stdout": "true", "stderr": "true", "tail": str(tail)}
        stream = self._open("GET", f"/containers/{_name(name)}/logs", query, timeout_s=TIMEOUT_S)
        return list(Lines(stream, partial(_text_lines, most=most)))

    def follow_logs(self, name: str, *, tail: int = 20) -> Lines[str]:
        """The last lines and every one that comes, until the container ends or `close` is called."""
        query = {"stdout": "true", "stderr": "true", "follow": "true", "tail": str(tail)}
        stream = self._open("GET", f"/containers/{_name(name)}/logs", query, timeout_s=None)
        return Lines(stream, partial(_text_lines, most=MOST_FOLLOWED))

    def exec(self, name: str, argv: Sequence[str], *, timeout_s: float) -> tuple[int, str]:
        """Runs a command in a running container.

        Returns:
            Its exit code and output (both streams).

        Raises:
            ChannelTimeoutError: it still runs; the engine has no way to end it.
        """
        deadline = time.monotonic() + timeout_s
        body = {"Cmd": list(argv), "AttachStdout": True, "AttachStderr": True}
        task = self._post(f"/containers/{_name(name)}/exec", None, body)["Id"]
        start = {"Detach": False, "Tty": False}
        stream = self._http.open("POST", self._path(f"/exec/{task}/start"), start, timeout_s=timeout_s)
        output = []
        try:
            for text in _texts(stream):
                output.append(text)
                stream.expect(_left(deadline))
        finally:
            stream.close()
        while True:
            state = self._get(f"/exec/{task}/json", timeout_s=_left(deadline))
            if not state["Running"] and state["ExitCode"] is not None:
                return int(state["ExitCode"]), "".join(output)
            # Output ends an instant before the engine has noted the exit.
            time.sleep(min(0.005, _left(deadline)))

    def healthcheck_run(self, name: str) -> str:
        """Podman: runs the container's health check now and has it recorded; returns its status."""
        path = f"/v4.0.0/libpod/containers/{_name(name)}/healthcheck"
        return str(self._http.call("GET", path, timeout_s=TIMEOUT_S)["Status"])

    # --- images, networks, volumes ---

    def image(self, reference: str) -> Json | None:
        """What the engine has under that reference, or None."""
        try:
            return dict(self._get(f"/images/{quote(reference, safe='/:@')}/json"))
        except NotFoundError:
            return None

    def pull(
        self,
        reference: str,
        *,
        auth: Mapping[str, str] | None = None,
        progress: Callable[[Json], None] | None = None,
        timeout_s: float = PULL_SILENCE_S,
    ) -> None:
        """Pulls an image; returns when it is there.

        Args:
            reference: with a tag or digest; neither means `latest`.
            auth: `username`, `password` and `serveraddress` of the registry, or None.
            progress: called with each message of the engine.
            timeout_s: seconds without any message.
        """
        path = self._path("/images/create", {"fromImage": with_tag(reference)})
        stream = self._http.open("POST", path, timeout_s=timeout_s, headers=_auth(auth))
        for message in Lines(stream, _json_lines):
            if "error" in message:
                raise refusal(f"cannot pull {reference}: {message['error']}", where=self._place)
            if progress is not None:
                progress(message)

    def distribution(self, reference: str, *, auth: Mapping[str, str] | None = None) -> Json:
        """Docker: what the registry has under a reference, such as its digest; nothing is pulled.

        Args:
            reference: with a tag; none means `latest`.
            auth: as of `pull`.
        """
        path = self._path(f"/distribution/{quote(with_tag(reference), safe='/:@')}/json")
        return dict(self._http.call("GET", path, timeout_s=TIMEOUT_S, headers=_auth(auth)))

    def image_details(self, reference: str) -> Json:
        """Podman: all that it knows of an image, with its own digest beside those of its indexes."""
        path = f"/v4.0.0/libpod/images/{quote(with_tag(reference), safe='')}/json"
        return dict(self._http.call("GET", path, timeout_s=TIMEOUT_S))

    def variants(self, reference: str) -> frozenset[str]:
        """Podman: the digests in the index of a reference; none where it is no index, or cannot be told."""
        path = f"/v4.0.0/libpod/manifests/{quote(with_tag(reference), safe='')}/json"
        try:
            found = self._http.call("GET", path, timeout_s=TIMEOUT_S)["manifests"] or []
        except EngineError:
            return frozenset()
        return frozenset(each["digest"] for each in found)

    def images(self) -> list[Json]:
        """All images, with their tags and digests."""
        return list(self._get("/images/json"))

    def remove_image(self, name: str) -> None:
        """Takes a name from an image, and with its last name removes it, unless a container uses it."""
        self._http.call("DELETE", self._path(f"/images/{quote(name, safe='/:@')}"), timeout_s=120.0)

    def ensure_network(self, name: str, labels: Mapping[str, str] | None = None) -> bool:
        """Makes a bridge network unless it is there; whether it was made."""
        try:
            self._get(f"/networks/{_name(name)}")
        except NotFoundError:
            body = {"Name": name, "Driver": "bridge", "CheckDuplicate": True, "Labels": dict(labels or {})}
            self._post("/networks/create", None, body)
            return True
        return False

    def networks(self, filters: Filters | None = None) -> list[Json]:
        """Networks; `filters` as the API has them."""
        return list(self._get("/networks", _filters(filters)))

    def remove_network(self, name: str) -> None:
        """Removes a network that no container uses."""
        self._http.call("DELETE", self._path(f"/networks/{_name(name)}"), timeout_s=TIMEOUT_S)

    def ensure_volume(
        self, name: str, options: Mapping[str, str] | None = None, labels: Mapping[str, str] | None = None
    ) -> bool:
        """Makes a named volume of the driver `local` unless it is there; whether it was made."""
        try:
            self._get(f"/volumes/{_name(name)}")
        except NotFoundError:
            body = {
                "Name": name,
                "Driver": "local",
                "DriverOpts": dict(options or {}),
                "Labels": dict(labels or {}),
            }
            self._post("/volumes/create", None, body)
            return True
        return False

    def volumes(self, filters: Filters | None = None) -> list[Json]:
        """Named volumes; `filters` as the API has them."""
        return list(self._get("/volumes", _filters(filters)).get("Volumes") or [])

    def remove_volume(self, name: str) -> None:
        """Removes a named volume and its data."""
        self._http.call("DELETE", self._path(f"/volumes/{_name(name)}"), timeout_s=TIMEOUT_S)

    def events(self, filters: Filters | None = None) -> Lines[Json]:
        """What happens from now on, until `close` is called."""
        return Lines(self._open("GET", "/events", _filters(filters), timeout_s=None), _json_lines)

    def last_exit(self, name: str) -> int | None:
        """The code of a container's latest exit; None where the engine remembers none.

        Of one that runs again its `State` says 0. Both engines keep their latest events.
        """
        if self.podman:
            until = {"stream": "false"}
        else:  # by the host's own clock: what lies ahead of it would be waited for
            until = {"until": f"{datetime.fromisoformat(self.info()['SystemTime']).timestamp():.9f}"}
        query = {"since": "1", **until, **_filters({"container": [name]})}
        past = Lines(self._open("GET", "/events", query, timeout_s=TIMEOUT_S), _json_lines)
        codes = [event["Actor"]["Attributes"].get("exitCode") for event in past if event["Action"] == "die"]
        return int(codes[-1]) if codes and codes[-1] else None

    # --- calls ---

    def _ask_first(self) -> About:
        """Asks twice before it is said why: an engine that is started anew closes a connection, too."""
        with suppress(EngineBrokenError):
            return self._ask()
        try:
            return self._ask()
        except EngineBrokenError as error:
            raise self._explain() or error from error

    def _ask(self) -> About:
        """Without a version in the path, so that any engine answers.

        Podman runs a dozen programs for its `/version`, a third of a second long; its ping says enough.
        """
        headers = self._http.headers("/_ping", timeout_s=ABOUT_S)
        if version := headers.get("Libpod-API-Version"):
            return About("podman", version, API)
        said = dict(self._http.call("GET", "/version", timeout_s=ABOUT_S))
        return About("docker", str(said.get("Version", "")), _api(said))

    def _path(self, path: str, query: Mapping[str, str] | None = None) -> str:
        return f"/v{self.about.api}" + path + (f"?{urlencode(query)}" if query else "")

    def _get(self, path: str, query: Mapping[str, str] | None = None, *, timeout_s: float = TIMEOUT_S) -> Any:
        return self._http.call("GET", self._path(path, query), timeout_s=timeout_s)

    def _post(
        self,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Json | None = None,
        *,
        timeout_s: float = TIMEOUT_S,
    ) -> Any:
        return self._http.call("POST", self._path(path, query), body, timeout_s=timeout_s)

    def _open(self, method: str, path: str, query: Mapping[str, str], *, timeout_s: float | None) -> Stream:
        return self._http.open(method, self._path(path, query), timeout_s=timeout_s)


class Lines(Generic[T]):
    """What a stream holds, one by one. `close` may come from another thread and ends the iteration."""

    def __init__(self, stream: Stream, split: Callable[[Stream], Iterator[T]]) -> None:
        self._stream = stream
        self._split = split

    def __iter__(self) -> Iterator[T]:
        try:
            yield from self._split(self._stream)
        finally:
            self._stream.close()

    def close(self) -> None:
        """Ends the stream."""
        self._stream.close()


def with_tag(reference: str) -> str:
    """The reference with `:latest` where it has neither tag nor digest: else Docker pulls every tag."""
    last = reference.rpartition("/")[2]
    return reference if ":" in last or "@" in last else f"{reference}:latest"


def _api(version: Json) -> str:
    """The API version to speak: ours, unless the engine has left it behind."""
    lowest = str(version.get("MinAPIVersion") or API)
    return max(API, lowest, key=lambda text: [int(part) for part in text.split(".")])


def _name(name: str) -> str:
    return quote(name, safe="")


def _auth(auth: Mapping[str, str] | None) -> dict[str, str]:
    """The header with the registry's credentials."""
    if auth is None:
        return {}
    return {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(dict(auth)).encode()).decode()}


def _filters(filters: Filters | None) -> dict[str, str]:
    if not filters:
        return {}
    return {"filters": json.dumps({key: list(values) for key, values in filters.items()})}


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise ChannelTimeoutError("the command in the container did not end in time")
    return left


def _frames(stream: Stream) -> Iterator[tuple[int, bytes]]:
    """The pieces of a container's output: (stream number, bytes)."""
    while len(head := stream.read(FRAME)) == FRAME:
        yield head[0], stream.read(int.from_bytes(head[4:], "big"))


def _texts(stream: Stream) -> Iterator[str]:
    """Pieces of a command's output, up to a limit; what follows is read and dropped."""
    left = MOST_OUTPUT
    for _, data in _frames(stream):
        if piece := data[:left]:
            yield piece.decode(errors="replace")
        left -= len(piece)


def _text_lines(stream: Stream, most: int) -> Iterator[str]:
    """Whole lines, each of one stream: a piece may end in the middle of a line. See `told`."""
    open_lines: dict[int, bytes] = {}
    for number, data in _frames(stream):
        *lines, rest = data.split(b"\n")
        for line in lines:
            yield told(open_lines.pop(number, b"") + line, most)
        # Of a line without an end no more is kept than is told of it.
        open_lines[number] = (open_lines.get(number, b"") + rest)[: _WIDEST * most + 1]
    yield from (told(rest, most) for rest in open_lines.values() if rest)


def told(line: bytes, most: int = MOST_OF_A_LINE) -> str:
    """A line of a container as it is shown and recorded: limited, without colours and control codes."""
    text = _COLOUR.sub("", line[: _WIDEST * most + 1].decode(errors="replace").removesuffix("\r"))
    shown = (c if c.isprintable() or c == "\t" else f"\\x{ord(c):02x}" for c in text[:most])
    return "".join(shown) + (" [cut]" if len(text) > most else "")


_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")
_WIDEST = 4  # bytes of a character in UTF-8


def _json_lines(stream: Stream) -> Iterator[Json]:
    while line := stream.line():
        if line.strip():
            yield decode(line)
