"""The files of one commit, or of one folder on disk, read with the same refusals.

Nothing leads out of the tree: no symlink, no `..`, no absolute path, no submodule.
"""

from __future__ import annotations

import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gitops.errors import GitopsError, PermanentError, TransientError, Where
from gitops.source.command import environment, run_git

FILE_LIMIT = 10 * 2**20
"""Largest file that is read, in bytes."""
EXPORT_LIMIT = 100 * 2**20
"""Most that one export writes, in bytes."""

DAMAGED = "gitops-damaged"
"""A file of this name in a clone says that an object could not be read: the next fetch makes it anew."""


def split_path(path: str) -> tuple[str, ...]:
    """Return the parts of a path inside a tree; an empty path or `.` is the tree itself.

    Raises:
        PermanentError: for an absolute path, and one with `..`, a control character or `.git` in it.
    """
    if path.startswith("/"):
        raise PermanentError("an absolute path is not part of the repository", where=Where(file=path))
    if any(char < " " or char == "\x7f" for char in path):
        raise PermanentError("a path has a control character", where=Where(file=repr(path)))
    parts = tuple(part for part in path.split("/") if part not in {"", "."})
    if ".." in parts:
        raise PermanentError("a path with `..` may lead out of the repository", where=Where(file=path))
    if any(part.lower() == ".git" for part in parts):
        raise PermanentError("Git's own folder is not part of the repository", where=Where(file=path))
    return parts


class FileTree(ABC):
    """What a commit and a folder have in common: reading by paths relative to one root folder."""

    @abstractmethod
    def _file(self, parts: tuple[str, ...]) -> int | None:
        """Return the size in bytes of the regular file there, or None where there is none."""

    @abstractmethod
    def _folder(self, parts: tuple[str, ...]) -> Sequence[str] | None:
        """Return the names in the folder there, or None where there is none."""

    @abstractmethod
    def _contents(self, files: Sequence[tuple[str, ...]]) -> list[bytes]:
        """Return the content of each file, in the same order."""

    @abstractmethod
    def where(self, path: str) -> Where:
        """The place of a path as the user knows it: relative to the repository."""

    def exists(self, path: str) -> bool:
        """Whether there is a file or a folder.

        Raises:
            PermanentError: there is a symlink or a submodule instead, or the path is refused.
        """
        parts = split_path(path)
        return self._file(parts) is not None or self._folder(parts) is not None

    def read(self, path: str) -> bytes:
        """Return the content of a file.

        Raises:
            PermanentError: there is no such file, it is larger than `FILE_LIMIT`, or the path is refused.
            TransientError: it could not be read now.
        """
        parts = split_path(path)
        self._check_size(parts)
        return self._contents([parts])[0]

    def names(self, folder: str = "") -> list[str]:
        """Return the names of files and folders directly in a folder, sorted.

        Raises:
            PermanentError: there is no such folder, or the path is refused.
        """
        found = self._folder(split_path(folder))
        if found is None:
            raise PermanentError("there is no such folder", where=self.where(folder))
        return sorted(found)

    def export(self, path: str, to: Path) -> None:
        """Write a file, or all files of a folder, to disk: mode 0600, none of them executable.

        Args:
            path: a file or folder in the tree.
            to: the file or folder to write; missing folders are made.

        Raises:
            PermanentError: there is no such path, a symlink or submodule lies in it, or it is too large.
        """
        parts = split_path(path)
        files = self._below(parts)
        if sum(self._check_size(file) for file in files) > EXPORT_LIMIT:
            raise PermanentError(
                f"the folder has more than {EXPORT_LIMIT // 2**20} MB", where=self.where(path)
            )
        for file, content in zip(files, self._contents(files), strict=True):
            target = to.joinpath(*file[len(parts) :])
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
                out.write(content)

    def _below(self, parts: tuple[str, ...]) -> list[tuple[str, ...]]:
        """Return the file itself, or all files of the folder and its folders, sorted."""
        if self._file(parts) is not None:
            return [parts]
        names = self._folder(parts)
        if names is None:
            raise PermanentError("there is no such file or folder", where=self.where("/".join(parts)))
        return [file for name in sorted(names) for file in self._below(split_path("/".join((*parts, name))))]

    def _check_size(self, parts: tuple[str, ...]) -> int:
        """Return the size of a file that may be read."""
        path = "/".join(parts)
        size = self._file(parts)
        if size is None:
            is_folder = self._folder(parts) is not None
            message = "it is a folder, not a file" if is_folder else "there is no such file"
            raise PermanentError(message, where=self.where(path))
        if size > FILE_LIMIT:
            raise PermanentError(
                f"the file has {size / 2**20:.1f} MB, more than {FILE_LIMIT // 2**20} MB",
                where=self.where(path),
            )
        return size

    def _refuse(self, parts: tuple[str, ...], kind: str) -> GitopsError:
        """Say that something is no regular file; neither its target nor its content is told."""
        return PermanentError(
            f"{kind} is not followed",
            hint="put a regular file of the same repository there",
            where=self.where("/".join(parts)),
        )


@dataclass(frozen=True)
class Entry:
    """One entry of a commit's listing."""

    mode: str  # as Git writes it: 100644, 100755, 120000 (symlink), 160000 (submodule)
    sha: str
    size: int  # bytes


@dataclass(frozen=True)
class Tree(FileTree):
    """One folder of one commit, listed at once, its files read from the bare clone when asked for."""

    clone: Path
    commit: str  # full SHA
    path: str = ""  # of the folder in the repository
    entries: Mapping[str, Entry] = field(
        default_factory=dict, repr=False, compare=False
    )  # by path in the folder
    folders: Mapping[str, Sequence[str]] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def listed(cls, clone: Path, commit: str, path: str, listing: bytes) -> Tree:
        """Make a tree of what `git ls-tree -r -l -z` printed of the folder."""
        entries: dict[str, Entry] = {}
        folders: dict[str, dict[str, None]] = {"": {}}
        for line in listing.split(b"\0"):
            if not line:
                continue
            about, _, raw = line.partition(b"\t")
            mode, _, sha, size = about.split()
            name = raw.decode(errors="surrogateescape")
            entries[name] = Entry(mode.decode(), sha.decode(), int(size) if size != b"-" else 0)
            while name:
                name, _, last = name.rpartition("/")
                folders.setdefault(name, {})[last] = None
        return cls(clone, commit, path, entries, {name: tuple(found) for name, found in folders.items()})

    def where(self, path: str) -> Where:
        """The place of a path, relative to the repository."""
        return Where(file="/".join(part for part in (self.path, path) if part))

    def _file(self, parts: tuple[str, ...]) -> int | None:
        for length in range(1, len(parts) + 1):
            entry = self.entries.get("/".join(parts[:length]))
            if entry is None:
                continue
            if entry.mode == "120000":
                raise self._refuse(parts[:length], "a symlink")
            if entry.mode == "160000":
                raise self._refuse(parts[:length], "a submodule")
            return entry.size if length == len(parts) else None
        return None

    def _folder(self, parts: tuple[str, ...]) -> Sequence[str] | None:
        return self.folders.get("/".join(parts))

    def _contents(self, files: Sequence[tuple[str, ...]]) -> list[bytes]:
        wanted = [self.entries["/".join(file)] for file in files]
        asked = "".join(f"{entry.sha}\n" for entry in wanted).encode()
        done = run_git(["cat-file", "--batch"], folder=self.clone, env=environment(os.environ), stdin=asked)
        contents, at = [], 0
        for entry in wanted:
            head = f"{entry.sha} blob {entry.size}\n".encode()
            content = done.out[at + len(head) : at + len(head) + entry.size]
            if not done.out.startswith(head, at) or len(content) != entry.size:
                raise damaged(self.clone, done.reason)
            contents.append(content)
            at += len(head) + entry.size + 1
        return contents


def damaged(clone: Path, reason: str) -> TransientError:
    """Mark a clone as damaged, so that the next fetch makes it anew, and return what to tell."""
    if clone.is_dir():
        (clone / DAMAGED).touch()
    return TransientError(
        f"the clone {clone} is damaged: {reason}", hint="the next fetch makes it anew from the repository"
    )


@dataclass(frozen=True)
class FolderTree(FileTree):
    """A folder on disk, such as a work tree before its commit."""

    root: Path
    commit: str = ""  # none: it is not a commit

    def where(self, path: str) -> Where:
        """The place of a path, relative to the folder."""
        return Where(file=path)

    def _status(self, parts: tuple[str, ...]) -> os.stat_result | None:
        """Return what is there, or None; nothing on the way may be a symlink."""
        found = None
        for length in range(len(parts) + 1):
            at = self.root.joinpath(*parts[:length])
            try:
                found = at.lstat() if length else at.stat()
            except (FileNotFoundError, NotADirectoryError):
                return None
            except OSError as error:
                place = self.where("/".join(parts))
                raise PermanentError(error.strerror or "it cannot be read", where=place) from error
            if stat.S_ISLNK(found.st_mode):
                raise self._refuse(parts[:length], "a symlink")
        return found

    def _file(self, parts: tuple[str, ...]) -> int | None:
        found = self._status(parts)
        if found is None or stat.S_ISDIR(found.st_mode):
            return None
        if not stat.S_ISREG(found.st_mode):
            raise self._refuse(parts, "a device, socket or pipe")
        return found.st_size

    def _folder(self, parts: tuple[str, ...]) -> Sequence[str] | None:
        found = self._status(parts)
        if found is None or not stat.S_ISDIR(found.st_mode):
            return None
        return [each.name for each in self.root.joinpath(*parts).iterdir() if each.name.lower() != ".git"]

    def _contents(self, files: Sequence[tuple[str, ...]]) -> list[bytes]:
        try:
            return [self.root.joinpath(*file).read_bytes() for file in files]
        except OSError as error:
            place = self.where(str(error.filename))
            raise PermanentError(error.strerror or "it cannot be read", where=place) from error
