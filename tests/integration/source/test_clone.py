"""A clone of a real repository, over file:// and from servers that misbehave."""

from __future__ import annotations

import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.repos import Origin

from gitops.errors import PermanentError, TransientError
from gitops.source.git import Clone
from gitops.source.tree import DAMAGED, FILE_LIMIT


@pytest.fixture
def origin(tmp_path: Path) -> Origin:
    return Origin(tmp_path)


@pytest.fixture
def clone(origin: Origin, tmp_path: Path) -> Clone:
    return Clone(tmp_path / "state" / "repos" / "shop.git", str(origin.bare), timeout_s=20)


def test_a_branch_is_fetched_and_followed(origin: Origin, clone: Clone) -> None:
    first = origin.commit({"compose.yaml": "services: {}\n"}, "First")
    assert clone.fetch("main") == first
    second = origin.commit({"compose.yaml": "services: {web: {}}\n"}, "Second")
    assert clone.fetch("main") == second
    assert clone.tree(first).read("compose.yaml") == b"services: {}\n"
    assert clone.tree(second).read("compose.yaml") == b"services: {web: {}}\n"
    assert clone.log(second, 5) == [(second, "Second"), (first, "First")]
    assert clone.log(second, 1) == [(second, "Second")]


def test_a_commit_is_found_by_its_beginning_and_by_its_branch(origin: Origin, clone: Clone) -> None:
    sha = origin.commit({"a": "1"})
    clone.fetch("main")
    assert clone.resolve(sha[:8]) == clone.resolve(sha) == clone.resolve("main") == sha
    with pytest.raises(PermanentError, match="there is no commit 'nope'"):
        clone.resolve("nope")
    with pytest.raises(PermanentError, match="there is no commit '1234567'"):
        clone.resolve("1234567")


def test_what_is_before_a_commit_is_found_as_git_names_it(origin: Origin, clone: Clone) -> None:
    first, second, third = (origin.commit({"a": text}) for text in "123")
    clone.fetch("main")
    for steps, found in (("~1", second), ("~2", first), ("^", second), ("~^", first), ("~0", third)):
        assert clone.ancestor(third, steps) == found, steps
    for steps in ("~3", "^2", "~x", "~1; touch x", "--help"):
        with pytest.raises(PermanentError, match="there is no commit"):
            clone.ancestor(third, steps)


def test_a_tag_means_its_commit_and_a_branch_goes_before_a_tag(origin: Origin, clone: Clone) -> None:
    first = origin.commit({"a": "1"})
    origin.git("tag", "-a", "v1", "-m", "one", at=origin.work)
    origin.git("push", "--quiet", str(origin.bare), "refs/tags/v1", at=origin.work)
    assert clone.fetch("v1") == first
    assert clone.fetch("refs/tags/v1") == first
    second = origin.commit({"a": "2"}, branch="v1")
    assert clone.fetch("v1") == second


def test_rewritten_history_is_noticed_and_a_kept_commit_stays(origin: Origin, clone: Clone) -> None:
    base = origin.commit({"a": "1"})
    old = origin.commit({"a": "2"})
    clone.fetch("main")
    clone.keep(old, "good/shop")
    origin.git("reset", "--quiet", "--hard", base, at=origin.work)
    new = origin.commit({"a": "3"})
    assert clone.fetch("main") == new
    assert clone.is_ancestor(base, new)
    assert not clone.is_ancestor(old, new)
    assert not clone.is_ancestor("0" * 40, new)
    origin.git("gc", "--quiet", "--prune=now", at=clone.folder)
    assert clone.tree(old).read("a") == b"2"


def test_what_is_not_there_is_said(origin: Origin, clone: Clone, tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="no branch or tag 'main'"):  # an empty repository
        clone.fetch("main")
    sha = origin.commit({"a": "1"})
    with pytest.raises(PermanentError, match="no branch or tag 'nope'"):
        clone.fetch("nope")
    with pytest.raises(PermanentError, match="no repository at"):
        Clone(tmp_path / "x.git", str(tmp_path / "missing")).fetch("main")
    clone.fetch("main")
    with pytest.raises(PermanentError, match="has no folder 'deploy'"):
        clone.tree(sha, "deploy")
    with pytest.raises(PermanentError, match="has no folder 'a'"):
        clone.tree(sha, "a")
    with pytest.raises(TransientError, match="does not hold"):
        clone.tree("0" * 40)
    with pytest.raises(PermanentError, match="not the full SHA"):
        clone.tree("--help")


def test_nothing_leads_out_of_the_tree(origin: Origin, clone: Clone, tmp_path: Path) -> None:
    origin.commit({"deploy/ok": "fine", "secret": "s3cret"})
    (origin.work / "deploy" / "link").symlink_to("/etc/passwd")
    (origin.work / "deploy" / "folder").symlink_to("..")
    inner = origin.git("rev-parse", "HEAD", at=origin.work)
    origin.git("add", "deploy", at=origin.work)
    origin.git("update-index", "--add", "--cacheinfo", f"160000,{inner},deploy/module", at=origin.work)
    origin.git("commit", "--quiet", "-m", "Links", at=origin.work)
    origin.push()
    tree = clone.tree(clone.fetch("main"), "deploy")
    assert tree.read("ok") == b"fine"
    assert tree.names() == ["folder", "link", "module", "ok"]
    for path, told in {
        "link": "deploy/link: a symlink",
        "folder/secret": "deploy/folder: a symlink",
        "module/x": "deploy/module: a submodule",
        "../secret": "may lead out",
        "a/../../secret": "may lead out",
        "/etc/passwd": "absolute path",
        ".git/config": "Git's own folder",
        "ok\n": "control character",
        "nope": "deploy/nope: there is no such file",
    }.items():
        with pytest.raises(PermanentError, match=told) as refused:
            tree.read(path)
        assert "s3cret" not in str(refused.value)
        assert "root:" not in str(refused.value)
    with pytest.raises(PermanentError, match="a symlink"):
        tree.exists("link")
    with pytest.raises(PermanentError, match="a symlink"):
        tree.export("", tmp_path / "out")


def test_a_folder_is_exported_as_plain_files(origin: Origin, clone: Clone, tmp_path: Path) -> None:
    script = origin.work / "inventory" / "hosts.sh"
    script.parent.mkdir()
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    (script.parent / "ümläut").write_bytes(b"\xff\x00")
    sha = origin.commit({"inventory/group_vars/all.yml": "a: 1\n", "other": ""})
    clone.fetch("main")
    tree = clone.tree(sha)
    tree.export("inventory", tmp_path / "out")
    found = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert found == {"hosts.sh", "group_vars/all.yml", "ümläut"}
    assert (tmp_path / "out" / "hosts.sh").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "out" / "ümläut").read_bytes() == b"\xff\x00"
    tree.export("inventory/hosts.sh", tmp_path / "one" / "hosts")
    assert (tmp_path / "one" / "hosts").read_text() == "#!/bin/sh\n"
    assert tree.names("inventory") == ["group_vars", "hosts.sh", "ümläut"]
    assert tree.exists("inventory/group_vars")
    assert not tree.exists("inventory/nope")


def test_a_file_over_the_limit_is_refused(origin: Origin, clone: Clone) -> None:
    sha = origin.commit({"big": b"\0" * (FILE_LIMIT + 1), "most": b"\0" * FILE_LIMIT})
    clone.fetch("main")
    tree = clone.tree(sha)
    with pytest.raises(PermanentError, match=r"big: the file has 10.0 MB, more than 10 MB"):
        tree.read("big")
    assert len(tree.read("most")) == FILE_LIMIT


def test_a_hook_s_environment_and_an_evil_configuration_do_not_reach_git(
    origin: Origin, clone: Clone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = origin.commit({"a": "1"})
    origin.commit({"a": "2"})
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_QUARANTINE_PATH", "GIT_PREFIX"):
        monkeypatch.setenv(name, str(tmp_path / "nowhere"))
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "core.fsmonitor")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", f"touch {tmp_path}/evil")
    second = clone.fetch("main")
    assert clone.tree(second).read("a") == b"2"
    assert [sha for sha, _ in clone.log(second, 9)] == [second, first]
    assert clone.push_revert("main", second, first, "Back") == clone.fetch("main")
    assert not (tmp_path / "evil").exists()
    assert not (tmp_path / "nowhere").exists()


def test_a_revert_is_pushed_on_top_of_the_branch(origin: Origin, clone: Clone) -> None:
    good = origin.commit({"a": "good", "b/c": "x"}, "Good")
    bad = origin.commit({"a": "bad", "d": "y"}, "Bad")
    clone.fetch("main")
    new = clone.push_revert("main", bad, good, "Revert to good\n\nBecause web does not answer.\n")
    assert clone.fetch("main") == new
    assert [subject for _, subject in clone.log(new, 3)] == ["Revert to good", "Bad", "Good"]
    tree = clone.tree(new)
    assert tree.names() == ["a", "b"]
    assert tree.read("a") == b"good"
    told = origin.git("log", "-1", "--format=%an|%b", "main", at=origin.bare)
    assert told == "gitops|Because web does not answer."


def test_a_revert_never_lands_on_what_came_meanwhile(origin: Origin, clone: Clone) -> None:
    good = origin.commit({"a": "good"})
    bad = origin.commit({"a": "bad"})
    clone.fetch("main")
    mended = origin.commit({"a": "mended"})
    with pytest.raises(PermanentError, match="refused the revert"):
        clone.push_revert("main", bad, good, "Revert")
    assert clone.fetch("main") == mended


def test_a_damaged_clone_is_made_anew_and_keeps_what_it_can(origin: Origin, clone: Clone) -> None:
    first = origin.commit({"a": "1"})
    clone.fetch("main")
    clone.keep(first, "good/shop")
    second = origin.commit({"a": "2"})
    clone.fetch("main")
    tree = clone.tree(second)
    blob = clone.folder / "objects" / tree.entries["a"].sha[:2] / tree.entries["a"].sha[2:]
    blob.chmod(0o600)
    blob.write_bytes(b"")
    with pytest.raises(TransientError, match="is damaged"):
        tree.read("a")
    assert clone.fetch("main") == second
    assert clone.tree(second).read("a") == b"2"
    assert origin.git("rev-parse", "refs/gitops/good/shop", at=clone.folder) == first
    assert sorted(path.name for path in clone.folder.parent.iterdir()) == [
        "shop.git", "shop.git.config", "shop.git.lock",
    ]  # fmt: skip


@pytest.mark.parametrize("wreck", ["no HEAD", "a file", "half made", "broken refs"])
def test_a_clone_that_was_cut_off_is_made_anew(origin: Origin, clone: Clone, wreck: str) -> None:
    origin.commit({"a": "1"})
    if wreck in {"no HEAD", "broken refs"}:
        clone.fetch("main")
    match wreck:
        case "no HEAD":
            (clone.folder / "HEAD").unlink()
        case "a file":
            clone.folder.parent.mkdir(parents=True)
            clone.folder.write_text("")
        case "half made":
            (clone.folder / "objects").mkdir(parents=True)
        case _:
            (clone.folder / "refs/remotes/origin/heads/main").write_text("rubbish")
    sha = origin.commit({"a": "2"})
    assert clone.fetch("main") == sha
    assert clone.tree(sha).read("a") == b"2"


def test_locks_that_a_killed_fetch_left_do_not_cost_a_whole_new_clone(origin: Origin, clone: Clone) -> None:
    origin.commit({"a": "1"})
    clone.fetch("main")
    (clone.folder / "refs/remotes/origin/heads/main.lock").write_text("")
    before = clone.folder.stat().st_ino
    sha = origin.commit({"a": "2"})
    assert clone.fetch("main") == sha
    assert clone.folder.stat().st_ino == before


class BadServer:
    """A Git server on loopback: accepts, perhaps says something, and never ends."""

    def __init__(self, says: bytes) -> None:
        self._says = says
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._held: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            connection.sendall(self._says)
            self._held.append(connection)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()
        for connection in self._held:
            connection.close()


@pytest.fixture
def hanging() -> Iterator[BadServer]:
    server = BadServer(b"")
    yield server
    server.close()


def _processes_that_name(text: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes()
        except OSError:
            continue
        if text.encode() in line:
            found.append(line.replace(b"\0", b" ").decode(errors="replace"))
    return found


def test_a_server_that_hangs_costs_its_time_limit_and_leaves_no_process(
    hanging: BadServer, tmp_path: Path
) -> None:
    url = f"git://127.0.0.1:{hanging.port}/shop.git"
    with pytest.raises(TransientError, match=r"took longer than 0.5 s"):
        Clone(tmp_path / "shop.git", url, timeout_s=0.5).fetch("main")
    assert _processes_that_name(url) == []


def test_a_server_that_hangs_leaves_the_clone_as_it_was(
    origin: Origin, clone: Clone, hanging: BadServer
) -> None:
    sha = origin.commit({"a": "1"})
    clone.fetch("main")
    with pytest.raises(TransientError):
        Clone(clone.folder, f"git://127.0.0.1:{hanging.port}/x", timeout_s=0.5).fetch("main")
    assert clone.tree(sha).read("a") == b"1"
    assert clone.fetch("main") == sha


def test_a_server_that_refuses_is_transient(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with pytest.raises(TransientError, match="did not answer"):
        Clone(tmp_path / "shop.git", f"git://127.0.0.1:{port}/shop.git", timeout_s=5).fetch("main")


def test_two_processes_share_a_clone(origin: Origin, clone: Clone) -> None:
    sha = origin.commit({"a": "1"})
    same = [Clone(clone.folder, str(origin.bare), timeout_s=20) for _ in range(6)]
    results: list[str] = []
    threads = [threading.Thread(target=lambda each=each: results.append(each.fetch("main"))) for each in same]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [sha] * 6


def test_a_fetch_that_another_holds_up_ends(origin: Origin, clone: Clone) -> None:
    origin.commit({"a": "1"})
    with clone._locked():
        waiting = Clone(clone.folder, str(origin.bare), timeout_s=0.2)
        started = time.monotonic()
        with pytest.raises(TransientError, match="another process"):
            waiting.fetch("main")
        assert time.monotonic() - started >= 0.2


@pytest.mark.lab
def test_a_repository_of_another_user_is_served(origin: Origin, clone: Clone) -> None:
    sha = origin.commit({"a": "1"})
    for path in [origin.bare, *origin.bare.rglob("*")]:
        os.chown(path, 65534, 65534)
    assert clone.fetch("main") == sha


def shallow(origin: Origin) -> None:
    """The followed repository is made anew in its place, with the newest commit alone."""
    whole = origin.bare.with_name("whole.git")
    origin.bare.rename(whole)
    origin.git("clone", "--quiet", "--bare", "--depth", "1", f"file://{whole}", str(origin.bare))
    assert (origin.bare / "shallow").exists()


def test_a_repository_that_is_made_anew_with_depth_is_followed_on(origin: Origin, clone: Clone) -> None:
    """Git would refuse its commits with a warning and exit code 0."""
    first = origin.commit({"a": "1"})
    origin.commit({"a": "2"})
    clone.fetch("main")
    clone.keep(first, "good/first")
    third = origin.commit({"a": "3"})
    shallow(origin)
    assert clone.fetch("main") == third
    assert clone.tree(third).read("a") == b"3"
    assert clone.tree(first).read("a") == b"1", "what was kept is still there"
    fourth = origin.commit({"a": "4"})
    assert clone.fetch("main") == fourth
    reverted = clone.push_revert("main", fourth, third, "Back")
    assert clone.fetch("main") == reverted
    (clone.folder / DAMAGED).touch()  # made anew from a shallow repository, with what was kept
    assert clone.fetch("main") == reverted
    assert clone.tree(first).read("a") == b"1"
    shutil.rmtree(clone.folder)
    assert clone.fetch("main") == reverted
    with pytest.raises(TransientError, match=r"does not hold commit .* is shallow"):
        clone.tree(first)


def test_a_fetch_that_brings_another_commit_than_the_repository_has_is_an_error(
    origin: Origin, clone: Clone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = origin.commit({"a": "1"})
    clone.fetch("main")
    new = origin.commit({"a": "2"})
    shallow(origin)
    real, own = shutil.which("git"), tmp_path / "bin" / "git"
    own.parent.mkdir()
    own.write_text(
        '#!/bin/bash\nfor word; do [ "$word" = --update-shallow ] || words+=("$word"); done\n'
        f'exec {real} "${{words[@]}}"\n'
    )
    own.chmod(0o755)
    monkeypatch.setenv("PATH", f"{own.parent}:{os.environ['PATH']}")
    with pytest.raises(TransientError) as caught:
        clone.fetch("main")
    assert f"has refs/heads/main at {new[:12]}, and the fetch did not bring it" in str(caught.value)
    assert "shallow" in str(caught.value), "in Git's own words"
    assert clone.resolve("main") == old, "the clone is as it was"
    monkeypatch.undo()
    assert clone.fetch("main") == new


def test_a_repository_with_sha_256_is_refused_for_what_it_is(origin: Origin, clone: Clone) -> None:
    shutil.rmtree(origin.bare)
    shutil.rmtree(origin.work)
    for bare, folder in ((["--bare"], origin.bare), ([], origin.work)):
        origin.git("init", "--quiet", *bare, "--initial-branch=main", "--object-format=sha256", str(folder))
    origin.commit({"a": "1"})
    with pytest.raises(PermanentError, match="SHA-256, which is not supported"):
        clone.fetch("main")
    with pytest.raises(PermanentError, match="SHA-256"):
        clone.fetch("refs/heads/main")
