"""The files of a load balancer, on one: a connection that ends in the middle of them changes nothing."""

from __future__ import annotations

from typing import Any, cast

import pytest
from support.controllers import machine, opened
from support.labs import Lab

from gitops.channel import Channel, Completed
from gitops.tasks.edge_files import ChangedMeanwhileError, EdgeFiles
from gitops.tasks.outcome import TaskError

pytestmark = pytest.mark.lab

FRAGMENT = "# of the application\n"


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
        edge.swap(before, "broken", FRAGMENT, before.config)
        there = edge.read()
        assert there.fragments["broken"] == FRAGMENT
        # Without its last line the file is still valid, and without a fragment it would say "none of it".
        lines = there.config.encode().splitlines(keepends=True)
        for size in (len(there.config.encode()), len(b"".join(lines[:-1])), 0):
            with pytest.raises(TaskError, match="the connection broke in the middle"):
                EdgeFiles(cast("Channel", Broken(channels["e1"], size))).swap(
                    there, "broken", FRAGMENT, there.config
                )
            assert edge.read() == there
        edge.swap(there, "broken", "", before.config)
        assert edge.read() == before
        channels["e1"].run(["rmdir", "/var/lib/gitops/broken"])


def test_a_swap_sees_what_others_have_changed_and_says_what_is_there_then(lab: Lab) -> None:
    with opened(machine(lab, "e1")) as channels:
        edge = EdgeFiles(channels["e1"])
        before = edge.read()
        ours = edge.swap(before, "ours", FRAGMENT, before.config, proven=True)
        assert ours == edge.read()
        theirs = edge.swap(ours, "theirs", FRAGMENT, before.config, proven=True)
        with pytest.raises(ChangedMeanwhileError):
            edge.swap(ours, "ours", "", before.config, proven=True)
        ours = edge.swap(theirs, "theirs", "", before.config, proven=True)
        assert edge.swap(ours, "ours", "", before.config, proven=True) == edge.read() == before
        channels["e1"].run(["rmdir", "/var/lib/gitops/ours", "/var/lib/gitops/theirs"])


def test_what_haproxy_calls_invalid_is_not_swapped_in(lab: Lab) -> None:
    with opened(machine(lab, "e1")) as channels:
        edge = EdgeFiles(channels["e1"])
        before = edge.read()
        with pytest.raises(TaskError, match=r"calls the file invalid: .*unknown keyword 'nonsense'"):
            edge.swap(before, "broken", FRAGMENT, f"{before.config}nonsense\n")
        assert edge.read() == before
        channels["e1"].run(["rmdir", "/var/lib/gitops/broken"])
