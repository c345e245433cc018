from __future__ import annotations

from pathlib import Path

import pytest

from gitops.channel.failures import AuthenticationError, HostKeyError, UnreachableError
from gitops.checkup import controller
from gitops.checkup.check import number
from gitops.checkup.hosts import examine_host
from gitops.errors import GitopsError
from gitops.model.fleet import Host


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("20.10.24+dfsg1", (20, 10, 24)),
        ("9.2p1", (9, 2)),
        ("4.3.1", (4, 3, 1)),
        ("2.6.12-1", (2, 6, 12)),
        ("x", ()),
    ],
)
def test_versions_are_compared_by_their_numbers(text: str, found: tuple[int, ...]) -> None:
    assert number(text) == found


def program(folder: Path, says: str) -> list[str]:
    file = folder / "tool"
    file.write_text(f"#!/bin/sh\necho '{says}' >&2\n")
    file.chmod(0o755)
    return [str(file)]


@pytest.mark.parametrize(
    ("says", "ok"), [("tool 3.0.1, of May", True), ("tool 2.9", False), ("what?", False)]
)
def test_a_program_must_be_new_enough(tmp_path: Path, says: str, *, ok: bool) -> None:
    check = controller._program("tool", program(tmp_path, says), "tool ", (3,), "install it")
    assert (check.ok, check.fix) == (ok, "" if ok else "install it")


def test_a_program_that_is_missing_says_how_to_get_it(tmp_path: Path) -> None:
    check = controller._program("tool", [str(tmp_path / "none")], "tool ", (3,), "install it")
    assert (check.ok, check.message, check.fix_on) == (
        False,
        "there is no tool on this machine",
        "controller",
    )


def test_a_state_folder_that_is_not_there_yet_is_judged_by_the_one_above(tmp_path: Path) -> None:
    assert controller.state_folder(tmp_path / "a" / "b").ok
    (tmp_path / "file").touch()
    check = controller.state_folder(tmp_path / "file" / "b")
    assert not check.ok
    assert f"-m 0700 {tmp_path}/file/b" in check.fix


class Refusing:
    """A channel to a host that cannot be reached."""

    def __init__(self, problem: GitopsError) -> None:
        self.problem = problem

    def connect(self) -> None:
        raise self.problem


OPTIONS = ("ansible_ssh_common_args", "-o UserKnownHostsFile=/etc/gitops/known_hosts -o IdentitiesOnly=yes")
PLAIN = Host("h1", "h1")
FULL = Host(
    "h1",
    "10.0.0.1",
    variables=(("ansible_host", "10.0.0.1"), ("ansible_port", 2222), OPTIONS, ("ansible_user", "d")),
)


@pytest.mark.parametrize(
    ("host", "problem", "check", "fix"),
    [
        (PLAIN, UnreachableError("no"), "connection", "ssh -v h1 true"),
        (FULL, UnreachableError("no"), "connection", "ssh -v -p 2222 d@10.0.0.1 true"),
        (FULL, AuthenticationError("no"), "connection", "ssh-copy-id -p 2222 d@10.0.0.1"),
        (
            PLAIN,
            HostKeyError("no"),
            "host key",
            "ssh-keygen -R h1; ssh-keyscan h1 >> ~/.ssh/known_hosts",
        ),
        (
            FULL,
            HostKeyError("no"),
            "host key",
            (
                "ssh-keygen -R '[10.0.0.1]:2222' -f /etc/gitops/known_hosts;"
                " ssh-keyscan -p 2222 10.0.0.1 >> /etc/gitops/known_hosts"
            ),
        ),
    ],
)
def test_a_host_that_is_not_reached_is_one_check_mended_from_the_controller(
    host: Host, problem: GitopsError, check: str, fix: str
) -> None:
    (found,) = examine_host(host, Refusing(problem))  # type: ignore[arg-type]  # all that is asked of it here
    assert (found.host, found.check, found.ok, found.fix_on) == ("h1", check, False, "controller")
    assert found.fix.partition("   #")[0] == fix
