"""`gitops unlock` on real hosts: who holds a lock, its end, and what cannot be ended."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from support.controllers import controller, machine
from support.labs import Lab

from gitops.lab.host import enter
from gitops.lab.layout import Layout
from gitops.lab.state import load_whole

pytestmark = pytest.mark.lab

LOCK = "/var/lib/gitops/lock"


def unlock(lab: Lab, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gitops.cli", "unlock", "--inventory", lab.data["inventory"], *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)


def locks(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    assert done.stdout, done.stderr
    return {lock["host"]: lock for lock in json.loads(done.stdout)["locks"]}


@contextmanager
def held_on_the_host_itself(lab: Lab, host: str, note: str) -> Iterator[None]:
    """A process of the host holds its lock, with that note beside it or none."""
    if note:
        lab.on(host, "sh", "-c", 'printf "%s\n \n" "$1" > "$0.owner"', LOCK, note)
    command = enter(load_whole(Layout.of(lab.folder)).hosts[host], ["flock", LOCK, "cat"])
    with subprocess.Popen(command, stdin=subprocess.PIPE) as holder:
        until(lambda: lab.on(host, "sh", "-c", f"flock -n {LOCK} echo free || :") == "")
        try:
            yield
        finally:
            holder.communicate()
            lab.on(host, "rm", "-f", f"{LOCK}.owner")


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline, "did not come about in time"
        time.sleep(0.02)


def test_it_says_who_holds_each_lock_and_since_when(lab: Lab) -> None:
    with controller(machine(lab, "h1"), "the night shift") as other:
        done = unlock(lab, "e1", "h1", "-o", "json")
        assert done.returncode == 0, done.stderr
        found = locks(done)
        assert found["e1"] == {"host": "e1", "state": "free", "owner": None, "error": ""}
        assert found["h1"]["state"] == "held"
        owner = found["h1"]["owner"]
        assert (owner["name"], owner["process"]) == ("the night shift", other.process.pid)
        said = unlock(lab, "h1").stdout
        where = f"(process {other.process.pid} on {owner['controller']})"
        assert said == f"h1: held by the night shift {where} since {owner['since']}\n"
        assert other.ask("lost") == "False", "to be asked about costs nothing"


def test_forced_it_ends_the_holder_and_says_whom(lab: Lab) -> None:
    with controller(machine(lab, "h1", ansible_user="root")) as other:
        refused = unlock(lab, "h1", "--force")
        assert refused.returncode == 1, "a user may not end root's connection"
        assert "its connection is another user's" in refused.stdout
        assert other.ask("lost") == "False"
    with controller(machine(lab, "h1")) as other:
        taken = locks(unlock(lab, "h1", "p1", "--force", "-o", "json"))
        owner = taken["h1"]["owner"]
        assert (taken["h1"]["state"], owner["process"]) == ("taken-over", other.process.pid)
        assert taken["p1"]["state"] == "free"
        assert locks(unlock(lab, "h1", "-o", "json"))["h1"]["state"] == "free"
        assert other.ask("list") == "LockLostError"


@pytest.mark.parametrize(
    ("note", "who", "why"),
    [
        ("", "somebody who has not signed", "whoever holds it has not signed"),
        (
            '{"name": "local", "host": "h1", "pid": 7, "since": "2026-01-02T03:04:05Z"}',
            "local (process 7 on h1) since 2026-01-02T03:04:05Z",
            "it is held by a process of the host itself",
        ),
    ],
    ids=["not signed", "without a connection"],
)
def test_what_holds_it_without_a_connection_is_told_and_not_ended(
    lab: Lab, note: str, who: str, why: str
) -> None:
    with held_on_the_host_itself(lab, "h1", note):
        done = unlock(lab, "h1")
        assert (done.returncode, done.stdout) == (0, f"h1: held by {who}\n")
        forced = unlock(lab, "h1", "--force")
        assert forced.returncode == 1
        assert forced.stdout.startswith(f"h1: the lock cannot be taken over: {why} (")
        assert locks(unlock(lab, "h1", "-o", "json"))["h1"]["state"] == "held"
    assert locks(unlock(lab, "h1", "-o", "json"))["h1"]["state"] == "free"


def test_a_host_that_is_not_there_is_an_error_with_those_that_are(lab: Lab) -> None:
    done = unlock(lab, "h1", "h9")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: no host 'h9' in the inventory (there are: e1, h1, h2, h3, h4, p1)\n"
