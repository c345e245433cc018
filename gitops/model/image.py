"""Image references: `[registry/]repository[:tag][@digest]`, taken apart and made certain."""

from __future__ import annotations

from dataclasses import dataclass

HUB = "docker.io"  # the registry of a reference that names none
_SHORT = len("sha256:") + 12  # characters of a digest that people are shown


@dataclass(frozen=True)
class Reference:
    """An image reference in its parts, the engines' defaults filled in."""

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        """Registry and repository: what all tags and digests of an image share."""
        return f"{self.registry}/{self.repository}"


def parse(text: str) -> Reference:
    """The parts of a reference that has been checked already; an engine's short forms are written out."""
    name, _, digest = text.partition("@")
    head, slash, last = name.rpartition("/")
    last, _, tag = last.partition(":")
    name = f"{head}{slash}{last}"
    registry, slash, repository = name.partition("/")
    if not slash or not ("." in registry or ":" in registry or registry == "localhost"):
        registry, repository = HUB, name if slash else f"library/{name}"
    return Reference(registry, repository, tag, digest)


def short(text: str) -> str:
    """The reference for people: with the beginning of its digest."""
    name, at, digest = text.partition("@")
    return f"{name}{at}{digest[:_SHORT]}"
