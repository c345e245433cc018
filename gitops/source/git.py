"""A bare clone of an application's repository: fetch a branch or tag, read a commit, push a revert."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from gitops.errors import PermanentError, TransientError
from gitops.source.address import check_ref, check_url
from gitops.source.command import Finished, environment, mend, run_git, write_settings
from gitops.source.tree import DAMAGED, FolderTree, Tree, damaged, split_path

if TYPE_CHECKING:
    from git import Repo

__all__ = ["Clone", "FolderTree", "Tree", "check_ref", "check_url"]

_SHA = re.compile(r"[0-9a-f]{40}")
_SHA256_DIGITS = 64
_KEEP = "refs/gitops/"
_STEPS = re.compile(r"(?:[~^][0-9]{0,4})+")
_FETCHED = "refs/remotes/origin/"
_NAME = "gitops"
_MAIL = "gitops@localhost"
_LOCK_POLL_S = 0.05
_PUSH = ("push", "--porcelain", "--quiet")
_FETCH = (
    "fetch",
    "--quiet",
    "--no-tags",
    "--no-write-fetch-head",
    "--no-auto-maintenance",
    "--update-shallow",  # or a repository that was made with --depth is refused with exit code 0
    "--end-of-options",
)


class Clone:
    """One application's bare clone in a folder of ours.

    Fetches hold a file lock beside the folder, so that several processes can
    share the clone; reading needs none. A clone that is damaged, or was cut off
    while it was made, is made anew by the next fetch.

    Args:
        folder: where the clone lies, or will; its parent folder is made.
        url: the repository, as `check_url` allows it.
        timeout_s: how long one exchange with the repository may take.

    Raises:
        PermanentError: the address is refused.
    """

    def __init__(self, folder: Path, url: str, *, timeout_s: float = 120) -> None:
        self.folder = folder.absolute()
        self.url = check_url(url)
        self.timeout_s = timeout_s
        local = self.url.removeprefix("file://") if self.url.startswith("file://") else ""
        self.local_path: Path | None = Path(local) if local else None
        """The repository's folder where it is on this machine, else None."""
        self._settings = self.folder.with_name(f"{self.folder.name}.config")

    def fetch(self, ref: str) -> str:
        """Bring the clone up to date with one branch or tag, and return its commit.

        Args:
            ref: a branch or tag; where both have the name, the branch is meant.

        Returns:
            The full SHA of the commit.

        Raises:
            TransientError: the repository did not answer, or not in time; the clone is as it was.
            PermanentError: the name is refused, or the repository has no such branch or tag.
        """
        check_ref(ref)
        with self._locked() as hold:
            full, sha = self._ask(ref, hold)
            if self._usable():
                try:
                    return self._update(self.folder, full, sha, hold)
                except _BrokenCloneError:
                    pass  # the repository answered and the clone did not take it: make it anew
            return self._make(full, sha, hold)

    def tree(self, commit: str, path: str = "") -> Tree:
        """List one folder of one commit.

        Raises:
            PermanentError: the commit has no such folder, or the path is refused.
            TransientError: the clone does not hold the commit (any more): fetch first.
        """
        parts = split_path(path)
        folder = "/".join(parts)
        self._require(commit)
        listing = self._here("ls-tree", "-r", "-l", "-z", "--end-of-options", f"{commit}:{folder}")
        if listing.code:
            at_all = self._here("ls-tree", "-z", "--end-of-options", commit)
            if at_all.code:
                raise damaged(self.folder, at_all.reason)
            raise PermanentError(
                f"commit {commit[:8]} has no folder {folder!r}",
                hint="`path` of the application's source names it",
            )
        return Tree.listed(self.folder, commit, folder, listing.out)

    def resolve(self, rev: str) -> str:
        """Return the full SHA of a commit that was fetched before.

        Args:
            rev: a SHA, the beginning of one (at least 7 digits), a branch or a tag.

        Raises:
            PermanentError: the clone has no such commit.
        """
        check_ref(rev)
        short = re.fullmatch(r"[0-9a-f]{7,40}", rev) is not None
        names = (f"{_FETCHED}heads/", f"{_FETCHED}tags/")
        for space in ("", *names) if short else names:
            found = _parse(self.folder, f"{space}{rev}^{{commit}}")
            if found is not None:
                return found
        raise PermanentError(
            f"there is no commit {rev!r}", hint="name a commit of the branch that is followed"
        )

    def ancestor(self, commit: str, steps: str) -> str:
        """Return the full SHA of what is before a commit: `steps` as git has them, such as `~2` or `^`.

        Raises:
            PermanentError: there is no such commit.
        """
        found = _parse(self.folder, f"{commit}{steps}^{{commit}}") if _STEPS.fullmatch(steps) else None
        if found is None:
            raise PermanentError(f"there is no commit {steps} before {commit[:12]}")
        return found

    def keep(self, commit: str, name: str) -> None:
        """Keep a commit for good under a name, also when its branch is rewritten; the same name moves on.

        Raises:
            PermanentError: the name is refused.
            TransientError: the clone does not hold the commit: fetch first.
        """
        check_ref(f"{_KEEP}{name}")
        self._require(commit)
        with self._locked():
            done = self._here("update-ref", "--end-of-options", f"{_KEEP}{name}", commit)
        if done.code:
            raise TransientError(f"commit {commit[:8]} could not be kept: {done.reason}")

    def push_revert(self, branch: str, commit: str, to: str, message: str) -> str:
        """Put a commit on top of a branch whose content is that of an earlier one.

        Args:
            branch: the branch to push to.
            commit: what the branch stands at; the new commit's parent.
            to: the commit whose content the new one has.
            message: the new commit's message.

        Returns:
            The full SHA of the new commit.

        Raises:
            TransientError: the repository did not answer.
            PermanentError: the repository refused it, such as where the branch has moved on meanwhile.
        """
        check_ref(branch)
        with self._locked() as hold:
            self._require(commit)
            self._require(to)
            new = self._write_revert(commit, to, message)
            target = f"refs/heads/{branch.removeprefix('refs/heads/')}"
            lease = f"--force-with-lease={target}:{commit}"  # not on top of what came meanwhile
            done = self._remote(
                [*_PUSH, lease, "--", self.url, f"{new}:{target}"], clone=self.folder, hold=hold
            )
            if done.code == 0:
                return new
        refusals = [line for line in done.out.decode(errors="replace").splitlines() if line.startswith("!")]
        if refusals:
            why = refusals[0].rpartition("\t")[2]
            raise PermanentError(
                f"the repository refused the revert of {commit[:8]}: {why}",
                hint="has the branch moved on, and may this key push to it?",
            )
        raise TransientError(f"the revert of {commit[:8]} could not be pushed: {done.reason}")

    def is_ancestor(self, older: str, newer: str) -> bool:
        """Whether `newer` contains `older`: a branch that went from one to the other was not rewritten.

        A commit that the clone does not hold is no ancestor.
        """
        if not (_SHA.fullmatch(older) and _SHA.fullmatch(newer)):
            return False
        done = self._here("merge-base", "--is-ancestor", "--end-of-options", older, newer)
        return done.code == 0

    def log(self, commit: str, n: int) -> list[tuple[str, str]]:
        """Return the (SHA, subject) of a commit and of those before it, at most `n`, newest first.

        Raises:
            TransientError: the clone does not hold the commit: fetch first.
        """
        self._require(commit)
        with self._repo() as repo:
            found = list(repo.iter_commits(commit, max_count=n))
            return [(each.hexsha, str(each.summary)) for each in found]

    # -- the exchange with the repository

    def _ask(self, ref: str, hold: int) -> tuple[str, str]:
        """Return the full name of a branch or tag and the SHA it points to, as the repository has it."""
        if self.local_path is not None and not self.local_path.is_dir():
            raise PermanentError(
                f"there is no repository at {self.local_path}",
                hint="`git init --bare` makes one, a push fills it",
            )
        names = [ref] if ref.startswith("refs/") else [f"refs/heads/{ref}", f"refs/tags/{ref}"]
        asked = ["ls-remote", "--quiet", "--end-of-options", self.url, *names]
        done = self._remote(asked, clone=None, hold=hold)
        if done.code:
            raise TransientError(f"the repository {self.url} did not answer: {done.reason}", hint=mend(done))
        found = dict(line.split("\t", 1)[::-1] for line in done.out.decode(errors="replace").splitlines())
        for name in names:
            if name in found:
                if len(found[name]) == _SHA256_DIGITS:
                    raise PermanentError(
                        f"the repository {self.url} names its objects by SHA-256, which is not supported",
                        hint="follow a repository made with `git init --object-format=sha1`, Git's default",
                    )
                return name, found[name]
        raise PermanentError(
            f"the repository {self.url} has no branch or tag {ref!r}", hint="push it there first"
        )

    def _update(self, clone: Path, full: str, sha: str, hold: int) -> str:
        """Fetch one ref into a clone, unless it is there already."""
        local = _FETCHED + full.removeprefix("refs/")
        if _parse(clone, local) == sha:
            return self._commit(clone, sha)
        for stale in clone.rglob("*.lock"):  # of a fetch that was killed: under our lock none is running
            stale.unlink(missing_ok=True)
        done = self._remote([*_FETCH, self.url, f"+{full}:{local}"], clone=clone, hold=hold)
        if done.code:
            raise _BrokenCloneError(
                f"the repository {self.url} could not be fetched: {done.reason}", hint=mend(done)
            )
        got = _parse(clone, local)
        if got != sha and got != self._ask(full, hold)[1]:  # it may have moved on meanwhile
            raise _BrokenCloneError(
                f"the repository {self.url} has {full} at {sha[:12]}, and the fetch did not bring it:"
                f" {done.reason}",
                hint="git ended without an error; does a fetch into a new bare repository work by hand?",
            )
        with contextlib.suppress(TransientError):  # if it takes too long, the next one goes on
            packed = ["gc", "--auto", "--quiet"]  # packs what many fetches left, when it is worth it
            run_git(packed, folder=clone, env=environment(os.environ), hold=hold)
        return self._commit(clone, local)

    def _make(self, full: str, sha: str, hold: int) -> str:
        """Make the clone anew beside its place, then put it there; on any failure the old one stays."""
        self.folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f"{self.folder.name}.", dir=self.folder.parent) as name:
            new = Path(name) / "new"
            start = ["init", "--quiet", "--bare", "--template=", "--end-of-options", str(new)]
            made = run_git(start, env=environment(os.environ), hold=hold)
            if made.code:
                raise TransientError(f"no clone could be made in {new.parent}: {made.reason}")
            commit = self._update(new, full, sha, hold)
            if self.folder.is_dir():
                # What was kept of the old one, as far as it can still be read.
                kept = f"+{_KEEP}*:{_KEEP}*"
                self._remote([*_FETCH, f"file://{self.folder}", kept], clone=new, hold=hold)
                self.folder.rename(Path(name) / "old")
            elif self.folder.exists():
                self.folder.unlink()
            new.rename(self.folder)
        return commit

    # -- the clone

    def _usable(self) -> bool:
        """Whether there is a whole clone that no reader has complained of."""
        if not self.folder.is_dir() or (self.folder / DAMAGED).exists():
            return False
        return self._here("rev-parse", "--git-dir").code == 0

    def _commit(self, clone: Path, rev: str) -> str:
        """Return the SHA of the commit that a ref, or the SHA of an annotated tag, means."""
        found = _parse(clone, f"{rev}^{{commit}}")
        if found is None:
            raise _BrokenCloneError(f"the clone does not hold {rev}", hint="is it a tag of something else?")
        return found

    def _require(self, commit: str) -> None:
        """Refuse what is no full SHA, and a commit that the clone does not hold."""
        if not _SHA.fullmatch(commit):
            raise PermanentError(f"{commit!r} is not the full SHA of a commit")
        if self._here("cat-file", "-e", "--end-of-options", f"{commit}^{{commit}}").code:
            cut = (self.folder / "shallow").exists()
            unshallow = f"{self.url} is shallow (made with --depth): git fetch --unshallow there"
            raise TransientError(
                f"the clone does not hold commit {commit[:8]}",
                hint=unshallow if cut else "it has to be fetched first",
            )

    def _write_revert(self, commit: str, to: str, message: str) -> str:
        """Write the revert commit into the clone and return its SHA."""
        from git import Actor, Commit  # noqa: PLC0415 - GitPython takes 0.1 s to import, few commands need it

        with self._repo() as repo:
            actor = Actor(_NAME, _MAIL)
            made = Commit.create_from_tree(
                repo,
                repo.commit(to).tree,
                message,
                parent_commits=[repo.commit(commit)],
                head=False,
                author=actor,
                committer=actor,
            )
            return made.hexsha

    @contextlib.contextmanager
    def _repo(self) -> Iterator[Repo]:
        """Open the clone with GitPython in our environment, and close it: an open one holds two processes."""
        from git import GitError, Repo  # noqa: PLC0415 - as above

        try:
            with Repo(self.folder, expand_vars=False) as repo:
                # It adds to our environment and cannot take away: a hook's GIT_DIR is overruled.
                repo.git.update_environment(**environment({}), GIT_DIR=str(self.folder))
                yield repo
        except (GitError, ValueError) as error:  # ValueError is how it says that an object cannot be read
            raise damaged(self.folder, str(error).strip().split("\n", 1)[0]) from error

    def _here(self, *arguments: str) -> Finished:
        """Run a Git command in the clone."""
        return run_git(arguments, folder=self.folder, env=environment(os.environ))

    def _remote(self, arguments: list[str], *, clone: Path | None, hold: int) -> Finished:
        """Run a Git command that speaks with the repository; only under the lock."""
        env = environment(os.environ, settings=self._settings if self.local_path else None)
        return run_git(arguments, folder=clone, env=env, timeout_s=self.timeout_s, hold=hold)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        """Hold the clone's lock; a Git command that outlives this process goes on holding it."""
        self.folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self.folder.with_name(f"{self.folder.name}.lock").open("a") as file:
            deadline = time.monotonic() + self.timeout_s
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise TransientError(
                            f"another process has been fetching into {self.folder} for {self.timeout_s:g} s"
                        ) from None
                    time.sleep(_LOCK_POLL_S)
            if self.local_path:
                write_settings(self._settings, [self.local_path, self.local_path / ".git", self.folder])
            yield file.fileno()


class _BrokenCloneError(TransientError):
    """The repository answered, but the clone did not take what it sent."""


def _parse(clone: Path, rev: str) -> str | None:
    """Return the SHA that a name means in a clone, or None."""
    asked = ["rev-parse", "--verify", "--quiet", "--end-of-options", rev]
    found = run_git(asked, folder=clone, env=environment(os.environ))
    return found.out.decode().strip() if found.code == 0 else None
