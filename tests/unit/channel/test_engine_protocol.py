"""The engine's client against a small server that says exactly what a test wants."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from inspect import signature
from pathlib import Path

import pytest

from gitops.channel import http
from gitops.channel.engine import About, Engine, told, with_tag
from gitops.channel.failures import (
    ChannelTimeoutError,
    ContainerError,
    DiskFullError,
    EngineBrokenError,
    EngineError,
    EngineHangsError,
    NotFoundError,
)
from gitops.channel.faults import fault_of

VERSION = b'{"Version": "20.10.24", "MinAPIVersion": "1.12", "Components": []}'
PODMAN_PING = b"HTTP/1.1 200 OK\r\nLibpod-Api-Version: 4.3.1\r\nContent-Length: 2\r\n\r\nOK"
Answer = bytes | Callable[[socket.socket], None]


class Server:
    """Answers each request with the next of its answers; keeps connections open unless told otherwise."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "s")
        self.answers: list[Answer] = []
        self.seen: list[tuple[str, bytes]] = []
        self.connections = 0
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen()
        self._links: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def connect(self, timeout_s: float) -> socket.socket:
        link = socket.socket(socket.AF_UNIX)
        link.settimeout(timeout_s)
        link.connect(self.path)
        return link

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self.drop()
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def drop(self) -> None:
        """Closes every connection, as an engine does that restarts."""
        for link in self._links:
            try:
                link.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # closed already

    def _accept(self) -> None:
        while True:
            try:
                link, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._links.append(link)
            self._threads.append(threading.Thread(target=self._serve, args=(link,)))
            self._threads[-1].start()

    def _serve(self, link: socket.socket) -> None:
        with link, link.makefile("rb") as requests:
            try:
                while head := requests.readline():
                    size = 0
                    while (line := requests.readline()).strip():
                        if line.lower().startswith(b"content-length:"):
                            size = int(line.split(b":")[1])
                    self.seen.append((head.decode().rsplit(" ", 1)[0], requests.read(size)))
                    answer = self.answers.pop(0)
                    if callable(answer):
                        answer(link)
                        return
                    link.sendall(answer)
            except OSError:
                return


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    running = Server(tmp_path)
    running.answers += [reply(b"OK"), reply(VERSION)]
    yield running
    running.close()


@pytest.fixture
def engine(server: Server) -> Iterator[Engine]:
    client = Engine(server.connect)
    yield client
    client.close()


def reply(body: bytes, status: str = "200 OK") -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status.encode(), len(body), body)


def chunked(*parts: bytes) -> bytes:
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (*parts, b""))
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks


def frame(stream: int, data: bytes) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(data).to_bytes(4, "big") + data


def test_calls_share_a_connection_and_speak_the_oldest_supported_version(
    server: Server, engine: Engine
) -> None:
    server.answers += [reply(b"[]"), reply(b"[]")]
    engine.containers()
    engine.containers({"label": ["a=b"]})
    assert server.connections == 1
    assert [request.partition("?")[0] for request, _ in server.seen] == [
        "GET /_ping",
        "GET /version",
        "GET /v1.41/containers/json",
        "GET /v1.41/containers/json",
    ]


def test_a_newer_engine_is_spoken_to_in_its_lowest_version(server: Server, engine: Engine) -> None:
    server.answers[1:] = [reply(b'{"Version": "29.0", "MinAPIVersion": "1.44"}'), reply(b"[]")]
    engine.containers()
    assert server.seen[2][0].startswith("GET /v1.44/")


def test_podman_is_told_by_its_ping_and_not_asked_for_more(server: Server, engine: Engine) -> None:
    server.answers[:] = [PODMAN_PING, reply(b"[]")]
    engine.containers()
    assert engine.podman
    assert engine.about == About("podman", "4.3.1", "1.41")
    assert [request.partition("?")[0] for request, _ in server.seen] == [
        "GET /_ping",
        "GET /v1.41/containers/json",
    ]


def test_a_stale_connection_is_replaced(server: Server, engine: Engine) -> None:
    assert not engine.podman
    server.drop()
    server.answers += [reply(b'{"Id": "abc"}', "201 Created")]
    assert engine.create("web", {"Image": "x"}) == "abc"
    assert server.connections == 2


def test_what_breaks_in_the_middle_is_asked_again_only_if_that_is_safe(
    server: Server, engine: Engine
) -> None:
    server.answers += [lambda _: None, reply(b"[]")]
    assert engine.containers() == []
    server.answers += [lambda _: None]
    with pytest.raises(EngineBrokenError):
        engine.create("web", {})
    assert [request for request, _ in server.seen if request.startswith("POST")] == [
        "POST /v1.41/containers/create?name=web"
    ]


ABOUT_ONE: dict[str, Callable[[Engine], object]] = {
    "inspect": lambda engine: engine.inspect("web"),
    "stats": lambda engine: engine.stats("web"),
    "start": lambda engine: engine.start("web"),
    "unpause": lambda engine: engine.unpause("web"),
    "stop": lambda engine: engine.stop("web"),
    "kill": lambda engine: engine.kill("web"),
    "remove": lambda engine: engine.remove("web"),
    "wait": lambda engine: engine.wait("web", timeout_s=1),
    "logs": lambda engine: engine.logs("web"),
    "follow_logs": lambda engine: engine.follow_logs("web"),
    "exec": lambda engine: engine.exec("web", ["true"], timeout_s=1),
    "healthcheck_run": lambda engine: engine.healthcheck_run("web"),
    "last_exit": lambda engine: engine.last_exit("web"),
}
NOT_REFUSED = {"last_exit"}  # asks the engine's events, which are not about one container


def test_every_call_about_one_container_is_known() -> None:
    methods = {
        name
        for name, method in vars(Engine).items()
        if callable(method) and not name.startswith("_") and "name" in signature(method).parameters
    }
    others = {"create", "ensure_network", "ensure_volume", "remove_image", "remove_network", "remove_volume"}
    assert methods - others == ABOUT_ONE.keys()


@pytest.mark.parametrize("call", sorted(ABOUT_ONE.keys() - NOT_REFUSED))
@pytest.mark.parametrize(
    ("status", "words", "kind"),
    [
        ("404 Not Found", "No such container: web", NotFoundError),
        ("409 Conflict", "container web is not running", ContainerError),
        ("500 Internal Server Error", "container state improper", ContainerError),
        (
            "500 Internal Server Error",
            "container 12ab does not exist in database: no such container",
            NotFoundError,
        ),
        ("500 Internal Server Error", "no space left on device", DiskFullError),
    ],
)
def test_a_refusal_about_one_container_is_that_container_s(
    server: Server, engine: Engine, call: str, status: str, words: str, kind: type[EngineError]
) -> None:
    assert engine.about.kind == "docker"
    server.answers += [reply(json.dumps({"message": words}).encode(), status)]
    with pytest.raises(kind) as caught:
        ABOUT_ONE[call](engine)
    assert caught.value.where is not None
    assert caught.value.where.container == "web"
    assert (fault_of(caught.value) is None) is (kind is not DiskFullError)


def test_a_refusal_about_all_containers_is_none_of_one(server: Server, engine: Engine) -> None:
    server.answers += [reply(b'{"message": "broken"}', "500 Internal Server Error")]
    with pytest.raises(EngineError) as caught:
        engine.containers()
    assert not isinstance(caught.value, ContainerError)


def test_no_answer_in_time(server: Server, engine: Engine) -> None:
    done = threading.Event()
    server.answers += [lambda _: done.wait() and None]
    with pytest.raises(ChannelTimeoutError, match="containers/json"):
        engine.containers(timeout_s=0.02)
    done.set()


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        ("404 Not Found", b'{"message": "No such container: web"}', NotFoundError, "No such container: web"),
        ("409 Conflict", b'{"cause": "in use", "message": "", "response": 409}', EngineError, "in use"),
        (
            "500 Internal Server Error",
            b"port is already allocated\n",
            EngineError,
            "port is already allocated",
        ),
        ("500 Internal Server Error", b"", EngineError, "Internal Server Error"),
    ],
)
def test_refusals_have_the_engines_words(
    server: Server, engine: Engine, status: str, body: bytes, kind: type[EngineError], words: str
) -> None:
    server.answers += [reply(body, status), reply(b"{}")]
    with pytest.raises(kind) as caught:
        engine.start("web")
    assert caught.value.message == words
    assert caught.value.status == int(status.split(maxsplit=1)[0])
    engine.inspect("web")
    assert server.connections == 1  # a refusal costs no connection


@pytest.mark.parametrize("call", [lambda engine: engine.start("web"), lambda engine: engine.pull("web:1")])
def test_a_long_call_ends_when_the_engine_answers_no_ping_either(
    server: Server, engine: Engine, monkeypatch: pytest.MonkeyPatch, call: Callable[[Engine], None]
) -> None:
    monkeypatch.setattr(http, "PING_EVERY_S", 0.01)
    monkeypatch.setattr(http, "PING_S", 0.02)
    done = threading.Event()
    server.answers += [lambda _: done.wait() and None] * 2
    try:
        with pytest.raises(EngineHangsError, match="the engine does not answer in time"):
            call(engine)
    finally:
        done.set()


def test_a_pull_that_falls_silent_ends_likewise(
    server: Server, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = threading.Event()

    def begin(link: socket.socket) -> None:
        link.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{}\n\r\n")
        done.wait()

    monkeypatch.setattr(http, "PING_EVERY_S", 0.01)
    monkeypatch.setattr(http, "PING_S", 0.02)
    server.answers += [begin, lambda _: done.wait() and None]
    try:
        with pytest.raises(EngineHangsError, match="the engine does not answer in time"):
            engine.pull("web:1")
    finally:
        done.set()


def test_a_pull_reads_its_stream_to_the_end(server: Server, engine: Engine) -> None:
    server.answers += [chunked(b'{"status": "Pull', b'ing"}\r\n{"status": "Done"}\r\n')]
    messages: list[object] = []
    engine.pull("registry.example.com:5000/shop/web", progress=messages.append)
    assert messages == [{"status": "Pulling"}, {"status": "Done"}]
    assert "fromImage=registry.example.com%3A5000%2Fshop%2Fweb%3Alatest" in server.seen[-1][0]


def test_an_error_in_the_stream_of_a_pull_is_an_error(server: Server, engine: Engine) -> None:
    server.answers += [chunked(b'{"status": "Pulling"}\n', b'{"error": "manifest unknown"}\n')]
    with pytest.raises(EngineError, match="cannot pull web:1: manifest unknown"):
        engine.pull("web:1")


def test_a_registry_is_asked_by_name_and_tag(server: Server, engine: Engine) -> None:
    server.answers += [reply(b'{"Descriptor": {"digest": "sha256:0"}}')]
    assert engine.distribution("host:5000/shop/web") == {"Descriptor": {"digest": "sha256:0"}}
    assert server.seen[-1][0] == "GET /v1.41/distribution/host:5000/shop/web:latest/json"


@pytest.mark.parametrize(
    ("reference", "pulled"),
    [
        ("web", "web:latest"),
        ("web:1", "web:1"),
        ("host:5000/web", "host:5000/web:latest"),
        ("host:5000/web@sha256:0", "host:5000/web@sha256:0"),
    ],
)
def test_without_a_tag_only_latest_is_pulled(reference: str, pulled: str) -> None:
    assert with_tag(reference) == pulled


def test_logs_are_told_apart_by_stream_and_joined_over_frames(server: Server, engine: Engine) -> None:
    server.answers += [
        chunked(frame(1, b"one\ntw"), frame(2, b"error\r\n") + frame(1, b"o\n")[:5], frame(1, b"o\n")[5:])
    ]
    assert engine.logs("web", tail=2) == ["one", "error", "two"]


def test_a_last_line_without_an_end_is_a_line(server: Server, engine: Engine) -> None:
    server.answers += [chunked(frame(1, b"a\nb\xff"))]
    assert engine.logs("web") == ["a", "b\ufffd"]


def test_closing_ends_a_reader_that_waits(server: Server, engine: Engine) -> None:
    reading = threading.Event()

    def endless(link: socket.socket) -> None:
        line = frame(1, b"first\n")
        link.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(line), line))
        link.recv(1)  # until the client has gone

    server.answers += [endless]
    lines = engine.follow_logs("web")
    found = []

    def read() -> None:
        for line in lines:
            found.append(line)
            reading.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert reading.wait(5)
    lines.close()
    reader.join(5)
    assert not reader.is_alive()
    assert found == ["first"]


def test_exec_gives_the_code_and_the_output(server: Server, engine: Engine) -> None:
    output = frame(1, b"well\n") + frame(2, b"warned\n")
    # Output has no length and ends with its connection.
    raw = b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n" + output
    server.answers += [
        reply(b'{"Id": "e1"}', "201 Created"),
        lambda link: link.sendall(raw),
        reply(b'{"Running": true, "ExitCode": null}'),
        reply(b'{"Running": false, "ExitCode": 3}'),
    ]
    assert engine.exec("web", ["check"], timeout_s=5) == (3, "well\nwarned\n")
    assert json.loads(server.seen[2][1]) == {"Cmd": ["check"], "AttachStdout": True, "AttachStderr": True}


def test_an_exec_that_hangs_ends_in_time(server: Server, engine: Engine) -> None:
    done = threading.Event()
    server.answers += [reply(b'{"Id": "e1"}', "201 Created"), lambda _: done.wait() and None]
    with pytest.raises(ChannelTimeoutError):
        engine.exec("web", ["sleep"], timeout_s=0.05)
    done.set()


def test_events_come_one_by_one(server: Server, engine: Engine) -> None:
    server.answers += [chunked(b'{"Action": "die"}\n{"Act', b'ion": "start"}\n')]
    assert [event["Action"] for event in engine.events({"label": ["gitops.app"]})] == ["die", "start"]


def test_names_cannot_leave_their_place_in_the_path(server: Server, engine: Engine) -> None:
    server.answers += [reply(b"{}")]
    engine.inspect("../images/x?y")
    assert server.seen[-1][0] == "GET /v1.41/containers/..%2Fimages%2Fx%3Fy/json"


def test_an_answer_that_is_no_json_is_an_error(server: Server, engine: Engine) -> None:
    server.answers += [reply(b"<html>")]
    with pytest.raises(EngineError, match="not JSON"):
        engine.containers()


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (b"plain", "plain"),
        (b"ends\r", "ends"),
        (b"\x1b[31mred\x1b[0m\x07\x00", r"red\x07\x00"),
        (b"\x1b[2Jgone", r"\x1b[2Jgone"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        ("\u202egnp".encode(), r"\x202egnp"),
        (b"x" * 500, "x" * 500),
        (b"x" * 501, "x" * 500 + " [cut]"),
        ("\u00e4".encode() * 600, "\u00e4" * 500 + " [cut]"),
    ],
)
def test_lines_of_containers_are_limited_and_hold_no_control_characters(line: bytes, shown: str) -> None:
    assert told(line) == shown


def test_a_line_without_an_end_takes_no_memory_and_is_cut(server: Server, engine: Engine) -> None:
    frames = [frame(1, b"y" * 60_000) for _ in range(50)]
    server.answers += [chunked(*frames, frame(1, b"\nlast\n"))]
    assert engine.logs("web") == ["y" * 500 + " [cut]", "last"]
