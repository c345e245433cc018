"""The files of a load balancer, on one: a connection that ends in the middle of them changes nothing."""

from __future__ import annotations

from typing import Any, cast

import pytest
from support.controllers import machine, opened
from support.labs import Lab

from gitops.channel import Channel, Completed
from gitops.model.edge import Assembled
from gitops.tasks.edge_files import ChangedMeanwhileError, EdgeFiles, OnDisk
from gitops.tasks.outcome import TaskError

pytestmark = pytest.mark.lab

FRAGMENT = "# of the application\n"


def whole(there: OnDisk, **changes: str) -> Assembled:
    """The files that are there, as something to put in place."""
    routing = dict(line.split() for line in (there.routes + there.ports).splitlines())
    return Assembled(changes.get("config", there.config), routing, "")


class Broken:
    """A channel whose input ends early."""

    def __init__(self, channel: Channel, size: int) -> None:
        self._channel = channel
        self._size = size

    def ask(self, script: str, *, text: str = "", **rest: Any) -> Completed:
        return self._channel.ask(script, text=text[: self._size], **rest)


def test_files_that_arrive_in_part_are_not_swapped_in(lab: Lab) -> None:
    with opened(machine(lab, "e1")) as channels:
        edge = EdgeFiles(channels["e1"])
        before = edge.read()
        edge.swap(before, "broken", FRAGMENT, whole(before), loads=False)
        there = edge.read()
        assert there.fragments["broken"] == FRAGMENT
        # Without its last line the file is still valid, and without a fragment it would say "none of it".
        lines = there.config.encode().splitlines(keepends=True)
        for size in (len(there.config.encode()), len(b"".join(lines[:-1])), 0):
            with pytest.raises(TaskError, match="the connection broke in the middle"):
                EdgeFiles(cast("Channel", Broken(channels["e1"], size))).swap(
                    there, "broken", FRAGMENT, whole(there), loads=False
                )
            assert edge.read() == there
        edge.swap(there, "broken", "", whole(before), loads=False)
        assert edge.read() == before
        channels["e1"].run(["rmdir", "/var/lib/gitops/broken"])


def test_a_swap_sees_what_others_have_changed_and_says_what_is_there_then(lab: Lab) -> None:
    with opened(machine(lab, "e1")) as channels:
        edge = EdgeFiles(channels["e1"])
        before = edge.read()
        ours = edge.swap(before, "ours", FRAGMENT, whole(before), proven=True, loads=False)
        assert ours == edge.read()
        theirs = edge.swap(ours, "theirs", FRAGMENT, whole(before), proven=True, loads=False)
        with pytest.raises(ChangedMeanwhileError):
            edge.swap(ours, "ours", "", whole(before), proven=True, loads=False)
        ours = edge.swap(theirs, "theirs", "", whole(before), proven=True, loads=False)
        assert edge.swap(ours, "ours", "", whole(before), proven=True, loads=False) == edge.read() == before
        channels["e1"].run(["rmdir", "/var/lib/gitops/ours", "/var/lib/gitops/theirs"])


def test_what_haproxy_calls_invalid_is_not_swapped_in(lab: Lab) -> None:
    with opened(machine(lab, "e1")) as channels:
        edge = EdgeFiles(channels["e1"])
        before = edge.read()
        with pytest.raises(TaskError, match=r"calls the file invalid: .*unknown keyword 'nonsense'"):
            edge.swap(
                before, "broken", FRAGMENT, whole(before, config=f"{before.config}nonsense\n"), loads=True
            )
        assert edge.read() == before
        channels["e1"].run(["rmdir", "/var/lib/gitops/broken"])
