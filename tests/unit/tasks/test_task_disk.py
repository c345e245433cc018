"""Which file system is full, and what is told of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from gitops.channel import Channel
from gitops.channel.failures import DiskFullError, EngineError, UnreachableError
from gitops.errors import GitopsError
from gitops.tasks.disk import named, parse
from gitops.tasks.outcome import TaskError

ASKED = """\
0 16 100 128 /var/lib/docker/tmp
80000000 260000000 1000 2000 /var/lib/docker
80000000 260000000 ? ? /var/lib/gitops
"""
WORDS = "cannot pull web:1: write /var/lib/docker/tmp/GetImageBlob1: no space left on device"


class Host:
    """Answers what it is told to, and keeps the paths that it was asked for."""

    def __init__(self, answer: str | GitopsError) -> None:
        self._answer = answer
        self.asked: list[str] = []

    def run(self, _: str, *, args: list[str]) -> Any:
        self.asked = args
        if isinstance(self._answer, GitopsError):
            raise self._answer
        return SimpleNamespace(stdout=self._answer.encode())

    def engine(self) -> Any:
        return SimpleNamespace(info=lambda: {"DockerRootDir": "/var/lib/docker"})


def test_the_fullest_of_those_that_may_be_meant_is_named() -> None:
    host = Host(ASKED)
    found = named(cast("Channel", host), TaskError(WORDS, "disk", service="web"))
    assert found is not None
    assert str(found) == (
        f"no space left on /var/lib/docker/tmp (0 free of 16K): {WORDS} (free space on /var/lib/docker/tmp)"
    )
    assert (found.kind, found.service) == ("disk", "web")
    assert host.asked == [
        "/var/lib/docker/tmp/GetImageBlob1",
        "/var/lib/docker",
        "/var/lib/gitops",
        "/etc/haproxy",
    ]


@pytest.mark.parametrize("answer", ["", "nonsense\n", UnreachableError("gone")])
def test_without_an_answer_the_failure_stands(answer: str | GitopsError) -> None:
    found = named(cast("Channel", Host(answer)), DiskFullError("cannot write: no space left on device"))
    assert found is not None
    assert (found.kind, found.message) == ("disk", "cannot write: no space left on device")


def test_another_failure_has_no_file_system() -> None:
    assert named(cast("Channel", Host(ASKED)), TaskError("exited", "exit")) is None
    assert named(cast("Channel", Host(ASKED)), EngineError("no such image")) is None


def test_a_file_system_that_nobody_may_look_into_is_named_by_its_mount_point() -> None:
    host = Host(ASKED.replace("0 16 100 128", "? ? ? ?"))
    found = named(cast("Channel", host), TaskError(WORDS, "disk"))
    assert found is not None
    assert found.message == f"no space left on /var/lib/docker/tmp: {WORDS}"


def test_inodes_run_out_too() -> None:
    (space,) = parse("5000 10000 0 128 /var/lib/gitops")
    assert space.left == 0.0
    assert str(space) == "no inodes left on /var/lib/gitops (4.883M free of 9.766M)"
