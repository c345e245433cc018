"""The files of a load balancer, on one: a connection that ends in the middle of them changes nothing."""

from __future__ import annotations

from typing import Any, cast

import pytest
from support.controllers import machine, opened
from support.labs import Lab

from gitops.channel import Channel, Completed
from gitops.tasks.edge_files import EdgeFiles
from gitops.tasks.outcome import TaskError

pytestmark = pytest.mark.lab

FRAGMENT = "# of the application\n"


class Broken:
    """A channel whose input ends early."""

    def __init__(self, channel: Channel, size: int) -> None:
        self._channel = channel
        self._size = size

    def run(self, script: str, *, stdin: bytes = b"", **rest: Any) -> Completed:
        return self._channel.run(script, stdin=stdin[: self._size], **rest)


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
