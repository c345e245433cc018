"""A plan's phases as stages: what goes on side by side, each thing as early as what it waits for allows.

The plan's order holds for every container and every server. But while a
container starts, the edge takes in the one before, that one's monitor window
passes, and a drained one is stopped: so a rollout takes about half the time.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from gitops.model.plan import Backend, Plan, Retire, RetirePhase, Start, StartPhase


@dataclass(frozen=True)
class Watch:
    """A container that has to have stood its monitor window."""

    service: str
    slot: int
    host: str
    container: str


@dataclass(frozen=True)
class Stage:
    """What goes on side by side.

    Attributes:
        starts: containers to start and wait for.
        watches: containers that have to stand their monitor window.
        removals: containers to stop and remove; they serve nothing any more.
        backends: what the edge serves afterwards; None leaves it alone.
        joins: containers that the edge takes in.
        drains: containers that leave the edge, after their requests have ended.
    """

    starts: tuple[Start, ...] = ()
    watches: tuple[Watch, ...] = ()
    removals: tuple[Retire, ...] = ()
    backends: tuple[Backend, ...] | None = None
    joins: tuple[Start, ...] = ()
    drains: tuple[Retire, ...] = ()


def stages(plan: Plan) -> tuple[Stage, ...]:
    """All stages of a plan, in order; the last change of the edge brings about its final state."""
    line = _Line()
    phases = list(plan.phases)
    while phases:
        phase = phases.pop(0)
        if isinstance(phase, RetirePhase):
            line.retire(phase)
            continue
        line.start(phase)
        following = phases[0] if phases else None
        if isinstance(following, RetirePhase) and _beside(following, phase):
            phases.pop(0)
            backends = phase.backends if following.backends is None else following.backends
            line.retire(following, joins=phase.starts, backends=backends)
        elif phase.backends is not None:
            line.switch(phase.backends, joins=phase.starts, after=line.starting)
    line.watch_the_rest(plan)
    line.bring_to(plan)
    return line.stages()


def _beside(phase: RetirePhase, started: StartPhase) -> bool:
    """Whether the edge can take in what starts and let go what leaves at once.

    So it is where all that leaves has a successor, and none of these has only just started.
    """
    starting = {start.container for start in started.starts}
    return all(retire.successor and retire.successor not in starting for retire in phase.retires)


@dataclass
class _Parts:
    """A stage in the making."""

    starts: list[Start] = field(default_factory=list)
    watches: dict[str, Watch] = field(default_factory=dict)
    removals: list[Retire] = field(default_factory=list)
    backends: tuple[Backend, ...] | None = None
    joins: tuple[Start, ...] = ()
    drains: tuple[Retire, ...] = ()


@dataclass
class _Line:
    """The stages so far, and the number of the one in which each thing comes."""

    parts: defaultdict[int, _Parts] = field(default_factory=lambda: defaultdict(_Parts))
    starting: int = 0  # the last start
    switching: int = 0  # the last change of the edge
    service: str = ""  # of the last start
    room: int = 0  # the last removal that made room for what starts after it
    started: dict[str, tuple[int, Watch]] = field(default_factory=dict)  # container -> its start
    watched: dict[str, int] = field(default_factory=dict)  # container -> its watch
    removed: dict[str, int] = field(default_factory=dict)  # container -> its removal
    edge: tuple[Backend, ...] | None = None

    def start(self, phase: StartPhase) -> None:
        """One start after the other. What starts in place of something waits until that is gone."""
        waits = [self.starting, self.room, *(self.removed.get(start.replaces, 0) for start in phase.starts)]
        service = phase.starts[0].service if phase.starts else self.service
        if service != self.service:  # what others depend on is served before they start
            waits += [self.switching, *self.removed.values()]
        self.service = service
        self.starting = max(waits) + 1
        self.parts[self.starting].starts += phase.starts
        for start in phase.starts:
            watch = Watch(start.service, start.slot, start.host, start.container)
            self.started[start.container] = (self.starting, watch)

    def retire(
        self,
        phase: RetirePhase,
        *,
        joins: tuple[Start, ...] = (),
        backends: tuple[Backend, ...] | None = None,
    ) -> None:
        """Watch the successors, let the edge take in and let go, then stop and remove."""
        after = [self._watch(retire) for retire in phase.retires if retire.successor]
        if joins or not all(retire.successor for retire in phase.retires):
            after.append(self.starting)
        gone = max(after, default=0)
        wanted = phase.backends if backends is None else backends
        if wanted is not None:
            gone = self.switch(wanted, joins=joins, drains=phase.retires, after=gone)
        self.parts[gone + 1].removals += phase.retires
        self.removed |= {retire.container: gone + 1 for retire in phase.retires}
        if not all(retire.successor for retire in phase.retires):
            self.room = gone + 1

    def switch(
        self,
        backends: tuple[Backend, ...],
        *,
        joins: tuple[Start, ...] = (),
        drains: tuple[Retire, ...] = (),
        after: int = 0,
    ) -> int:
        """One change of the edge after the other."""
        self.switching = max(self.switching, after) + 1
        part = self.parts[self.switching]
        part.backends, part.joins, part.drains = backends, joins, drains
        self.edge = backends
        return self.switching

    def watch_the_rest(self, plan: Plan) -> None:
        """What replaces nothing has to stand its window too, before the release is recorded."""
        last = max(self.parts, default=0)
        for start in plan.starts:
            if start.container not in self.watched:
                began, watch = self.started[start.container]
                self._add_watch(max(last, began + 1), watch)

    def bring_to(self, plan: Plan) -> None:
        """The edge's final state where nothing brought it about, such as a fragment that somebody changed."""
        if self.edge != plan.backends if self.edge is not None else plan.edge_changes:
            self.switch(plan.backends, after=max(self.parts, default=0))

    def stages(self) -> tuple[Stage, ...]:
        """The stages, without gaps."""
        return tuple(_stage(self.parts[number]) for number in sorted(self.parts))

    def _watch(self, retire: Retire) -> int:
        """When the successor has been watched: made by this plan, or kept from a rollout that broke off."""
        name = retire.successor
        if name not in self.watched:
            kept = Watch(retire.service, retire.slot, retire.successor_host, name)
            began, watch = self.started.get(name, (0, kept))
            self._add_watch(began + 1, watch)
        return self.watched[name]

    def _add_watch(self, number: int, watch: Watch) -> None:
        self.parts[number].watches[watch.container] = watch
        self.watched[watch.container] = number


def _stage(parts: _Parts) -> Stage:
    return Stage(
        tuple(parts.starts),
        tuple(parts.watches.values()),
        tuple(parts.removals),
        parts.backends,
        parts.joins,
        parts.drains,
    )
