"""Locks of a controller with several applications: what becomes of them when one is lost."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.controllers import machine, opened
from support.labs import Lab

from gitops.channel import own_folder
from gitops.channel.mux import Control
from gitops.connections import Connections
from gitops.errors import ContendedError
from gitops.model.fleet import Fleet, Host

pytestmark = pytest.mark.lab


@pytest.fixture
def connections() -> Iterator[Connections]:
    folder = Path(tempfile.mkdtemp(prefix="t", dir=own_folder()))
    with Connections(owner="a controller", folder=folder) as opened_here:
        yield opened_here


def fleet(lab: Lab) -> Fleet:
    names = ("h1", "h2")
    return Fleet(
        tuple(Host(name, lab.address(name), variables=machine(lab, name).variables) for name in names)
    )


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline, "did not come about in time"
        time.sleep(0.02)


def test_who_has_had_a_lost_lock_since_is_known(lab: Lab, connections: Connections) -> None:
    channels = connections.open(fleet(lab))
    with opened(machine(lab, "h1")) as others, connections.locked("one", channels):
        assert connections.passed_over(channels) == {}
        held = connections._held[channels["h1"]].lock
        others["h1"].take_over()
        until(held.lost)
        assert connections.passed_over(channels) == {"h1": None}
        lock = others["h1"].lock("another")
        assert connections.passed_over(channels) == {"h1": lock.owner}
        lock.release()
        assert connections.passed_over(channels) == {"h1": None}


def test_a_connection_that_broke_and_nothing_more_is_no_taking_over(
    lab: Lab, connections: Connections
) -> None:
    channels = connections.open(fleet(lab))
    with connections.locked("one", channels):
        held = connections._held[channels["h1"]].lock
        with Control(channels["h1"]._transport.record.removesuffix(".lock"), 5) as control:
            os.kill(control.pid(), signal.SIGKILL)
        until(held.lost)
        assert connections.passed_over(channels) == {}


def test_a_lost_lock_is_not_taken_anew_under_those_who_lean_on_it(lab: Lab, connections: Connections) -> None:
    """A playbook that was stopped with its controller must not find itself under a newer lock."""
    channels = connections.open(fleet(lab))
    with opened(machine(lab, "h1")) as others, connections.locked("one", channels):
        held = connections._held[channels["h1"]].lock
        others["h1"].take_over()
        until(held.lost)
        with (
            pytest.raises(ContendedError, match=r"h1: .*has not ended yet"),
            connections.locked("two", channels),
        ):
            pass
    with connections.locked("two", channels):
        assert channels["h1"].run("echo on").stdout == b"on\n"
