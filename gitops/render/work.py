"""What the steps of a rollout are: pulls, starts, watches, switches, trials, removals."""

from __future__ import annotations

from dataclasses import dataclass

from gitops.model.plan import Backend, Place, Retire, Share, Start, Trial


@dataclass(frozen=True)
class Pulls:
    """The images that one host needs, before the first container is touched anywhere."""

    host: str
    images: tuple[tuple[str, str], ...]  # (image, first service that needs it), sorted


@dataclass(frozen=True)
class Watch:
    """A container that has to stand its monitor window."""

    service: str
    slot: int
    host: str
    container: str


@dataclass(frozen=True)
class Switch:
    """A change of what the edge and the nodes serve, side by side.

    Attributes:
        number: of the fragments in the folders of its places.
        backends: what is served from then on.
        places: whose part of it changes.
        joins: containers that the edge takes in.
        drains: containers that leave it, after their requests have ended.
    """

    number: int
    backends: tuple[Backend, ...]
    places: tuple[Place, ...]
    joins: tuple[Start, ...] = ()
    drains: tuple[Retire, ...] = ()
    share: Share | None = None  # of a service whose requests it shares out anew
    opens: bool = False  # whether addresses are served that were not: nothing else changes

    def file(self, place: Place) -> str:
        """The fragment in the run folder that says what a place serves from then on."""
        return f"{place.folder}/{self.number:04d}.cfg"


@dataclass(frozen=True)
class Judging:
    """A new version with its share of the requests, until its trial is over."""

    service: str
    percent: int
    trial: Trial
    places: tuple[Place, ...]  # where it gets them
    backends: tuple[Backend, ...]  # what undoes it

    def file(self, place: Place) -> str:
        """The fragment in the run folder that undoes it there."""
        folder = "" if place.role.edge and not place.role.services else f"{place.folder}/"
        return f"{folder}back/{self.service}-{self.percent:03d}.cfg"


@dataclass(frozen=True)
class Release:
    """The release file of every host, when all that is new has proved itself."""


@dataclass(frozen=True)
class Gate:
    """Nothing of its own: what comes after it waits for all that it waits for, and then `delay_s` more."""

    delay_s: float = 0.0


Work = Pulls | Start | Watch | Switch | Judging | Retire | Release | Gate


@dataclass(frozen=True)
class Step:
    """One node of the graph.

    Attributes:
        name: unique in the graph, and readable: `start h1/shop-web-1-44de4dfd`.
        work: what it does.
        after: the names of the steps that must have been done.
    """

    name: str
    work: Work
    after: tuple[str, ...] = ()
