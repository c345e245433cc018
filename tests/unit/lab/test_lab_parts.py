from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest
import yaml

from gitops.errors import PermanentError
from gitops.lab import inventory, packages
from gitops.lab.image import base_archive
from gitops.lab.layout import Layout, Shape
from gitops.lab.state import LabState, Process, load, load_whole, save
from gitops.lab.system import start_time

LAYOUT = Layout(Path("/srv/lab"))
MEMBERS = Shape(docker=1, podman=1, edges=1).members(0)


def test_the_inventory_groups_hosts_and_keeps_host_key_checking_on() -> None:
    files = {path: yaml.safe_load(text) for path, text in inventory.documents(LAYOUT, MEMBERS).items()}
    groups = files["hosts.yml"]["all"]["children"]
    assert {name: list(group["hosts"]) for name, group in groups.items()} == {
        "container_hosts": ["h1", "p1"],
        "load_balancers": ["e1"],
    }
    assert files["host_vars/p1.yml"] == {"ansible_host": "198.18.0.101"}
    common = files["group_vars/all.yml"]
    assert common["ansible_user"] == "deploy"
    assert "StrictHostKeyChecking=yes" in common["ansible_ssh_common_args"]


def test_known_hosts_name_and_address_share_the_key() -> None:
    text = inventory.known_hosts({MEMBERS[0]: "ssh-ed25519 AAAA h1\n"})
    assert text == "198.18.0.11,h1 ssh-ed25519 AAAA\n"


def test_the_base_image_is_busybox_and_its_names() -> None:
    data = base_archive(b"ELF", ["bin/sh", "bin/busybox", "usr/bin/wget"])
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert archive.getmember("bin/busybox").mode == 0o755
        assert archive.getmember("usr/bin/wget").linkname == "/bin/busybox"
        assert archive.getnames().count("bin/busybox") == 1
    assert data == base_archive(b"ELF", ["usr/bin/wget", "bin/sh"])


def test_programs_are_asked_for_only_where_a_host_runs_them() -> None:
    assert "podman" not in packages.needed(Shape())
    assert {"podman", "runc", "catatonit"} < set(packages.needed(Shape(0, 1, 0)))
    assert "dockerd" not in packages.needed(Shape(0, 1, 0))
    assert "haproxy" in packages.needed(Shape(0, 1, 0))


def test_the_state_survives_the_file(tmp_path: Path) -> None:
    state = LabState(
        Shape(1, 2, 3),
        python=True,
        subnet=9,
        complete=True,
        registry=Process(1, 2),
        hosts={"h1": Process(3, 4)},
        cut=["p2"],
    )
    save(Layout(tmp_path), state)
    assert load(Layout(tmp_path)) == state


@pytest.mark.parametrize("text", ["", "{", "[]", '{"shape": {"docker": 1}}', '{"shape": {"dock": 1}}'])
def test_a_torn_state_is_told_in_a_sentence(tmp_path: Path, text: str) -> None:
    Layout(tmp_path).state.write_text(text)
    with pytest.raises(PermanentError, match="cannot be read"):
        load(Layout(tmp_path))


def test_no_lab_and_half_a_lab_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="there is no lab"):
        load_whole(Layout(tmp_path))
    save(Layout(tmp_path), LabState(Shape()))
    with pytest.raises(PermanentError, match="not whole"):
        load_whole(Layout(tmp_path))


def test_an_unknown_host_is_answered_with_the_known_ones() -> None:
    with pytest.raises(PermanentError) as caught:
        LabState(Shape(1, 0, 1), subnet=0).member("h2")
    assert caught.value.hint == "its hosts are h1, e1"


def test_a_process_that_is_no_more_has_no_start_time() -> None:
    assert start_time(os.getpid()) > 0
    assert start_time(2**22 + 1) == 0  # above the highest id that Linux gives


def test_a_lab_is_refused_to_a_user_without_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(PermanentError, match="needs root"):
        packages.check_machine()
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    with pytest.raises(PermanentError, match="this is Darwin"):
        packages.check_machine()
