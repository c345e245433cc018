"""What wakes a watch: looking at a file must not, or a watch would wake itself for ever."""

from __future__ import annotations

import threading

import pytest
from watchdog.events import (
    DirCreatedEvent,
    FileClosedNoWriteEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileOpenedEvent,
    FileSystemEvent,
)

from gitops.source.triggers import _Waker


@pytest.mark.parametrize(
    ("event", "wakes"),
    [
        (FileOpenedEvent("x"), False),
        (FileClosedNoWriteEvent("x"), False),
        (FileModifiedEvent("x"), True),
        (FileMovedEvent("x", "y"), True),
        (FileDeletedEvent("x"), True),
        (DirCreatedEvent("x"), True),
    ],
)
def test_changes_wake_and_looks_do_not(event: FileSystemEvent, *, wakes: bool) -> None:
    woken = threading.Event()
    _Waker(woken).dispatch(event)
    assert woken.is_set() == wakes
