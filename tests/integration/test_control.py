"""The way from a command to a service: real sockets, no fleet."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gitops.channel.folder import base_folder
from gitops.control import Asked, Door, Show, View, ask, only_service
from gitops.errors import PermanentError, TransientError, Where
from gitops.execute.events import Event
from gitops.places import service_socket

EVENT = Event("2026-11-26T10:00:00+00:00", "changed", "web.1 started", host="h1", data={"slot": 1})


@pytest.fixture
def config(tmp_path: Path) -> Iterator[Path]:
    base_folder()
    config = tmp_path / "gitops.yaml"
    config.touch()
    yield config
    assert not service_socket(config).exists()


def test_a_command_gets_the_events_and_the_result(config: Path) -> None:
    heard: list[Asked] = []
    seen: list[Event] = []

    def answer(asked: Asked, show: Show) -> View:
        heard.append(asked)
        show(EVENT)
        return {"outcome": "succeeded"}

    with Door(config, answer):
        asked = Asked("shop", "main", confirm=True)
        assert ask(config, asked, lambda: seen.append) == {"outcome": "succeeded"}
    assert (heard, seen) == ([asked], [EVENT])


def test_without_a_service_there_is_no_answer(config: Path) -> None:
    assert ask(config, Asked("shop"), lambda: lambda _: None) is None
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(service_socket(config)))
    assert ask(config, Asked("shop"), lambda: lambda _: None) is None
    with Door(config, lambda _, __: {"outcome": "nothing"}):  # takes the place of what died
        assert ask(config, Asked("shop"), lambda: lambda _: None) == {"outcome": "nothing"}


def test_another_configuration_is_another_service(config: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    with Door(config, lambda _, __: {"outcome": "nothing"}):
        assert ask(other, Asked("shop"), lambda: lambda _: None) is None


def test_a_refusal_says_what_and_where_and_what_to_do(config: Path) -> None:
    def answer(_asked: Asked, _show: Show) -> View:
        raise TransientError("does not answer", hint="look at it", where=Where(host="h1"))

    with Door(config, answer), pytest.raises(PermanentError) as caught:
        ask(config, Asked("shop"), lambda: lambda _: None)
    assert str(caught.value) == "h1: does not answer (look at it)"


def test_a_command_that_goes_away_leaves_the_work_to_its_end(config: Path) -> None:
    gone, done = threading.Event(), threading.Event()

    def answer(_asked: Asked, show: Show) -> View:
        assert gone.wait(30)
        for _ in range(100):
            show(EVENT)
        done.set()
        return {"outcome": "succeeded"}

    with Door(config, answer):
        with socket.socket(socket.AF_UNIX) as command:
            command.connect(str(service_socket(config)))
            command.sendall(b'{"app": "shop"}\n')
        gone.set()
        assert done.wait(30)


@pytest.mark.parametrize("said", [b"rubbish\n", b"[1]\n", b'{"app": "shop", "more": 1}\n', b"\n"])
def test_what_is_not_a_question_is_refused(config: Path, said: bytes) -> None:
    with Door(config, lambda _, __: {}), socket.socket(socket.AF_UNIX) as command:
        command.settimeout(30)
        command.connect(str(service_socket(config)))
        command.sendall(said)
        assert b"does not understand" in command.makefile("rb").read()


def test_one_service_follows_a_configuration_and_the_next_one_is_told_its_process(config: Path) -> None:
    alone = f"from pathlib import Path; from gitops.control import only_service; c = Path({str(config)!r})"
    wait = f"{alone}\nwith only_service(c): print('here', flush=True); input()"
    program = [sys.executable, "-c", wait]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "here\n"
        with (
            pytest.raises(PermanentError, match=f"follows {config} already: process {first.pid}"),
            only_service(config),
        ):
            pass
        assert first.poll() is None, "nothing of it is touched"
        first.kill()
        first.wait()
        with only_service(config):
            pass  # what was killed holds nothing up
