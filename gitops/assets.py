"""Finds the folders that lie at the top of a checkout and inside the wheel alike."""

from __future__ import annotations

from pathlib import Path

from gitops.errors import PermanentError

_PACKAGE = Path(__file__).resolve().parent


def folder(name: str) -> Path:
    """The folder `playbooks`, `templates`, `inventory` or `examples`.

    A wheel carries it in `gitops/_assets/`, a checkout beside the package, and
    the folder of a rendered deployment beside its own copy of the package.

    Raises:
        PermanentError: it is in none of these places: the installation is broken.
    """
    for candidate in (_PACKAGE / "_assets" / name, _PACKAGE.parent / name):
        if candidate.is_dir():
            return candidate
    raise PermanentError(
        f"the folder {name}/ of this installation is missing", hint="install ansible-gitops again"
    )
