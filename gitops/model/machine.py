"""What kind of machine a host is, by the names that are in use for it."""

from __future__ import annotations

_OF_GO = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv7l": "arm",
    "armv6l": "arm",
    "i686": "386",
    "i386": "386",
}


def go_name(architecture: str) -> str:
    """The name that images and container engines use, Go's, of one that `uname -m` prints, or of Go's own.

    Those not in the table are called alike: s390x, ppc64le, riscv64.
    """
    lower = architecture.casefold()
    return _OF_GO.get(lower, lower)
