"""A plan's phases as stages: what goes on side by side on the hosts, then one change of the edge.

The order of the plan holds for every container and server. Only what does not
wait for each other is done at the same time: while the next container starts,
its predecessor's window passes and the one before is stopped. So a rollout
takes about half the time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

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
    """One step of a rollout.

    Attributes:
        batch: number of the plan's batch that it belongs to.
        starts: containers to start and wait for.
        watches: successors, also of an earlier rollout that broke off.
        removals: containers to stop and remove; they serve nothing any more.
        backends: what the edge serves afterwards; None leaves it alone.
        drains: containers that leave the edge then, after their requests have ended.
    """

    batch: int
    starts: tuple[Start, ...] = ()
    watches: tuple[Watch, ...] = ()
    removals: tuple[Retire, ...] = ()
    backends: tuple[Backend, ...] | None = None
    drains: tuple[Retire, ...] = ()


def stages(plan: Plan) -> tuple[Stage, ...]:
    """All stages of a plan, in order; the last one has the edge in its final state, if it changes at all."""
    made = {start.container: _watch(start) for start in plan.starts}
    found: list[Stage] = []
    leaving: tuple[Retire, ...] = ()  # off the edge, not stopped yet
    phases = list(plan.phases)
    while phases:
        phase = phases.pop(0)
        if isinstance(phase, StartPhase):
            if _in_the_way(leaving, phase):
                found.append(Stage(phase.batch, removals=leaving))
                leaving = ()
            following = phases[0] if phases else None
            if isinstance(following, RetirePhase) and _beside(following, phase):
                phases.pop(0)
                backends = phase.backends if following.backends is None else following.backends
                watches = _successors(following, made)
                found.append(Stage(phase.batch, phase.starts, watches, leaving, backends, following.retires))
                leaving = following.retires
            else:
                found.append(Stage(phase.batch, phase.starts, (), leaving, phase.backends))
                leaving = ()
        else:
            watches = _successors(phase, made)
            if watches or leaving or phase.backends is not None:
                found.append(Stage(phase.batch, (), watches, leaving, phase.backends, phase.retires))
            leaving = phase.retires
    if leaving:
        found.append(Stage(max(phase.batch for phase in plan.phases), removals=leaving))
    watched = {watch.container for stage in found for watch in stage.watches}
    unwatched = tuple(watch for name, watch in made.items() if name not in watched)
    if unwatched:  # what replaces nothing has to stand its window too, before the release is recorded
        found.append(Stage(max(phase.batch for phase in plan.phases), watches=unwatched))
    return (*found, *_last_switch(plan, found))


def _in_the_way(leaving: tuple[Retire, ...], phase: StartPhase) -> bool:
    """Whether something has to be gone first: stop-first, where room and host ports must be free."""
    replaced = {start.replaces for start in phase.starts}
    return any(not retire.successor or retire.container in replaced for retire in leaving)


def _beside(phase: RetirePhase, started: StartPhase) -> bool:
    """Whether all that leaves has a successor, and none of these is only being started beside it."""
    starting = {start.container for start in started.starts}
    return all(retire.successor and retire.successor not in starting for retire in phase.retires)


def _successors(phase: RetirePhase, made: Mapping[str, Watch]) -> tuple[Watch, ...]:
    """What takes over: made by this plan, or kept from a rollout that broke off."""
    found = {
        retire.successor: made.get(retire.successor)
        or Watch(retire.service, retire.slot, retire.successor_host, retire.successor)
        for retire in phase.retires
        if retire.successor
    }
    return tuple(found.values())


def _watch(start: Start) -> Watch:
    return Watch(start.service, start.slot, start.host, start.container)


def _last_switch(plan: Plan, found: list[Stage]) -> list[Stage]:
    """The edge's final state where no stage brings it about, such as a fragment that somebody changed."""
    switched = [stage.backends for stage in found if stage.backends is not None]
    if switched and switched[-1] == plan.backends:
        return []
    if not switched and not plan.edge_changes:
        return []
    return [Stage(0, backends=plan.backends)]
