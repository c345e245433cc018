"""The channel's small parts: command lines, facts, ssh's words, records, processes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from gitops.channel.facts import Facts, Settings, Socket, load_facts, parse, probe
from gitops.channel.failures import AuthenticationError, HostKeyError, UnreachableError
from gitops.channel.folder import controller_env, end_folder
from gitops.channel.holder import Owner
from gitops.channel.lock import _write_record, read_record
from gitops.channel.mux import Control
from gitops.channel.processes import alive, descends_from, start_time
from gitops.channel.ssh import failure
from gitops.channel.transport import shell

OWNER = Owner("a controller", "there", 1, "2026-01-01T00:00:00Z")


def test_a_script_and_its_arguments_survive_the_users_shell() -> None:
    command = shell('printf "%s|" "$@"', ["it's", "$(id)", "a b", ""])
    assert (
        subprocess.run(["/bin/sh", "-c", command], check=True, capture_output=True).stdout
        == b"it's|$(id)|a b||"
    )


def test_the_first_script_runs_and_its_facts_come_back_whole() -> None:
    script, args = probe(Settings())
    done = subprocess.run(["sh", "-c", script, "sh", *args], check=True, capture_output=True, text=True)
    facts = parse(done.stdout)
    assert facts.architecture == os.uname().machine
    assert facts.cpus == os.sysconf("SC_NPROCESSORS_ONLN")
    assert facts.memory == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert load_facts(facts.dump()) == facts


def test_a_socket_is_direct_only_for_who_may_open_it() -> None:
    found = parse("engine=/var/run/docker.sock\nstats-closed=/run/haproxy/admin.sock\n")
    assert found.engine == Socket("/var/run/docker.sock", direct=True)
    assert found.stats == Socket("/run/haproxy/admin.sock", direct=False)
    assert found.master == Socket("", direct=False)


def test_numbers_that_a_host_does_not_tell_are_unknown() -> None:
    none = Socket("", direct=False)
    assert parse("cpus=\nmemory=many\n") == Facts(engine=none, stats=none, master=none)


def test_settings_come_before_the_usual_places() -> None:
    _, args = probe(Settings(become=True, engine_socket="/e", stats_socket="/s", master_socket="/m"))
    assert args == ("yes", "/e", "/s", "/m")


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (
            "@@@@\n@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.",
            HostKeyError,
        ),
        (
            "No ED25519 host key is known for h1.\nHost key verification failed.",
            HostKeyError,
        ),
        ("deploy@h1: Permission denied (publickey).", AuthenticationError),
        ("ssh: connect to host h1 port 22: Connection refused", UnreachableError),
        ("ssh: Could not resolve hostname h1: Name or service not known", UnreachableError),
        ("", UnreachableError),
    ],
)
def test_each_refusal_of_ssh_is_its_own_error(words: str, kind: type[Exception]) -> None:
    assert type(failure(words)) is kind


def test_a_changed_key_is_not_called_an_unknown_one() -> None:
    changed = failure("REMOTE HOST IDENTIFICATION HAS CHANGED!\nHost key verification failed.")
    assert "changed" in changed.message


def test_a_record_is_ours_for_the_holder_and_its_descendants(tmp_path: Path) -> None:
    path = str(tmp_path / "x.lock")
    _write_record(path, os.getppid(), OWNER, 7)
    record = read_record(path)
    assert record is not None
    assert (record.owner, record.carrier) == (OWNER, 7)
    assert record.alive
    assert record.ours


def test_a_record_of_another_process_is_not_ours(tmp_path: Path) -> None:
    other = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    path = str(tmp_path / "x.lock")
    _write_record(path, other.pid, OWNER, 7)
    record = read_record(path)
    assert record is not None
    assert record.alive
    assert not record.ours
    other.communicate()
    assert not record.alive


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', '{"pid": 1, "started": 1, "owner": {"x": 1}}'])
def test_a_torn_record_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.lock").write_text(text)
    assert read_record(str(tmp_path / "x.lock")) is None


def test_a_later_process_of_the_same_id_is_another_one() -> None:
    assert alive(os.getpid(), start_time(os.getpid()))
    assert not alive(os.getpid(), start_time(os.getpid()) + 1)
    assert start_time(2**22 + 1) == 0


def test_descent_goes_up_to_the_first_process() -> None:
    assert descends_from(os.getpid())
    assert descends_from(os.getppid())
    assert not descends_from(2**22 + 1)


def test_without_a_master_nothing_is_connected(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match="no SSH master"):
        Control(str(tmp_path / "none"), 1)


def test_a_folder_with_leftovers_goes(tmp_path: Path) -> None:
    folder = tmp_path / "c1-1"
    folder.mkdir()
    (folder / "abc.facts").write_text("{}")
    end_folder(folder)
    assert not folder.exists()
    end_folder(folder)


def test_a_playbook_gets_the_controllers_connections(tmp_path: Path) -> None:
    env = controller_env(tmp_path)
    assert env["ANSIBLE_SSH_CONTROL_PATH_DIR"] == str(tmp_path)
    assert "ControlPersist" in env["ANSIBLE_SSH_ARGS"]
    assert env["ANSIBLE_HOST_KEY_CHECKING"] == "1"
