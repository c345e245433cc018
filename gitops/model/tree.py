"""The files of one commit, as the desired state reads them."""

from __future__ import annotations

from typing import Protocol


class Tree(Protocol):
    """A read-only folder. Paths are relative, of `/`-separated names.

    A symlink, `..`, an absolute path or a submodule raises PermanentError: nothing outside the
    folder is ever read.
    """

    def read(self, path: str) -> bytes:
        """The content of a file; raises PermanentError where there is none."""
        ...

    def exists(self, path: str) -> bool:
        """Whether there is a file or folder of that path."""
        ...

    def names(self, folder: str = "") -> list[str]:
        """The names in a folder, sorted."""
        ...
