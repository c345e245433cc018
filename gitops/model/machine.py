"""What kind of machine a host is, by the names that are in use for it."""

from __future__ import annotations

_SYNONYMS = {"x86_64": "amd64", "aarch64": "arm64"}
_FAMILIES = {"armv7l": "arm", "armv6l": "arm", "i686": "386", "i386": "386"}


def one_name(architecture: str) -> str:
    """The same for both names of one kind, `uname -m`'s and Go's, in any case; others stay as they are."""
    lower = architecture.casefold()
    return _SYNONYMS.get(lower, lower)


def go_name(architecture: str) -> str:
    """The name that images use, Go's, of one that `uname -m` prints: for some kinds it is that of a family.

    Those not in the tables are called alike: s390x, ppc64le, riscv64.
    """
    name = one_name(architecture)
    return _FAMILIES.get(name, name)
