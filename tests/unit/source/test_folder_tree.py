"""FAULTS 2: reading a folder on disk leads nowhere else, as reading a commit does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gitops.errors import PermanentError
from gitops.source.git import FolderTree
from gitops.source.tree import FILE_LIMIT


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "app"
    (root / "conf" / "deep").mkdir(parents=True)
    (root / ".git").mkdir()
    (root / ".git" / "config").write_text("")
    (root / "compose.yaml").write_text("services: {}\n")
    (root / "conf" / "deep" / "a.env").write_text("A=1\n")
    (tmp_path / "outside").write_text("s3cret")
    return root


def test_files_and_folders_are_read(folder: Path) -> None:
    tree = FolderTree(folder)
    assert tree.read("compose.yaml") == b"services: {}\n"
    assert tree.read("./conf//deep/a.env") == b"A=1\n"
    assert tree.names() == ["compose.yaml", "conf"]
    assert tree.names("conf") == ["deep"]
    assert tree.exists("conf/deep")
    assert tree.exists("")
    assert not tree.exists("conf/deep/a.env/x")
    assert not tree.exists("nope")


def test_a_root_that_is_a_symlink_is_the_user_s_choice(folder: Path) -> None:
    link = folder.parent / "link"
    link.symlink_to(folder)
    assert FolderTree(link).read("compose.yaml") == b"services: {}\n"


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("link", "link: a symlink is not followed"),
        ("linked/outside", "linked: a symlink is not followed"),
        ("conf/../../outside", "may lead out"),
        ("/etc/passwd", "absolute path"),
        (".git/config", "Git's own folder"),
        (".GIT/config", "Git's own folder"),
        ("a\nb", "control character"),
        ("pipe", "a device, socket or pipe"),
        ("conf", "conf: it is a folder"),
        ("nope", "nope: there is no such file"),
        ("x" * 300, "File name too long"),
    ],
)
def test_what_leads_elsewhere_is_refused_without_its_content(folder: Path, path: str, told: str) -> None:
    (folder / "link").symlink_to(folder.parent / "outside")
    (folder / "linked").symlink_to(folder.parent)
    os.mkfifo(folder / "pipe")
    with pytest.raises(PermanentError, match=told) as refused:
        FolderTree(folder).read(path)
    assert "s3cret" not in str(refused.value)


def test_a_file_over_the_limit_is_refused_unread(folder: Path) -> None:
    with (folder / "big").open("wb") as file:
        file.truncate(FILE_LIMIT + 1)
    with pytest.raises(PermanentError, match="more than 10 MB"):
        FolderTree(folder).read("big")


def test_a_missing_folder_is_said(folder: Path) -> None:
    with pytest.raises(PermanentError, match="nope: there is no such folder"):
        FolderTree(folder).names("nope")
    with pytest.raises(PermanentError, match="there is no such file or folder"):
        FolderTree(folder).export("nope", folder.parent / "out")


def test_an_export_replaces_a_symlink_in_its_way(folder: Path) -> None:
    out = folder.parent / "out"
    out.mkdir()
    (out / "compose.yaml").symlink_to(folder.parent / "outside")
    FolderTree(folder).export("compose.yaml", out / "compose.yaml")
    assert (folder.parent / "outside").read_text() == "s3cret"
    assert (out / "compose.yaml").read_text() == "services: {}\n"
