"""Canary and blue-green: the new version beside the old one, with a share of the requests, and judged."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from gitops.model.observed import Container
from gitops.model.plan import Phase, Retire, RetirePhase, Share, ShiftPhase, StartPhase, Trial
from gitops.model.stack import Service
from gitops.plan.diff import ServiceDiff
from gitops.plan.share import percent

if TYPE_CHECKING:
    from gitops.plan.rollout import Move

_ALL = 100  # percent
_HALF = 2


def on_trial(move: Move, diff: ServiceDiff) -> bool:
    """Whether the service's new version has to prove itself beside the one that serves."""
    service = diff.service
    return (
        service.rollout.strategy != "rolling"
        and not _known_good(move, service)
        and bool(diff.needs or _new(diff))
        and bool(_old(diff))
        and not obstacle(diff)
    )


def obstacle(diff: ServiceDiff) -> str:
    """Why both versions cannot share the requests where the file says so: the edge balances over one port."""
    service = diff.service
    if service.rollout.strategy == "rolling":
        return ""
    ports = set(service.balanced)
    moved = any(ports ^ {target for target, _ in container.ports} for container in _old(diff))
    return f"not {service.rollout.strategy}: container ports changed" if moved else ""


def _known_good(move: Move, service: Service) -> bool:
    """Whether it is the version to return to: back from one that failed, or by a commit that undoes one."""
    before = move.previous.service(service.name) if move.previous else None
    return move.rollback or (before is not None and before.container.digest == service.container.digest)


def _new(diff: ServiceDiff) -> tuple[Container, ...]:
    """What is there of the desired version; a slot may keep an old one, where that is tolerated."""
    return tuple(c for c in diff.keeps if c.spec == diff.service.container.digest)


def _old(diff: ServiceDiff) -> tuple[Container, ...]:
    """What works, of another version."""
    return tuple(c for c in diff.outgoing if c.well and c.spec != diff.service.container.digest)


def phases(move: Move, diff: ServiceDiff, early: Collection[str], batch: int) -> list[Phase]:
    """The phases of one service: a share for the new version, judged, a greater one, then the old one goes.

    The old version stays whole until the last trial has ended well, so the way back is
    one change of weights. A rollout that broke off goes on with the share that it had.
    """
    service, rollout = diff.service, diff.service.rollout
    todo = [move.starts[service.name, need.slot] for need in diff.needs]
    new = [(keep.host, keep.name) for keep in _new(diff)]
    old = tuple(sorted(c.name for c in _old(diff) if c.name not in early))
    share = _share_now(move, diff)
    canary = rollout.strategy == "canary"
    found: list[Phase] = [RetirePhase(batch, _broken(move, diff, early), None)]

    def start(count: int) -> None:
        """Starts so many more, without another share of the requests."""
        starts = tuple(todo[: max(0, count)])
        del todo[: len(starts)]
        new.extend((start.host, start.container) for start in starts)
        if starts:
            found.append(StartPhase(batch, starts, None, Share(share, _names(new))))

    for step in rollout.steps if canary else (_ALL,):
        if step < share:
            continue
        start((_replicas(service, step) if canary else service.replicas) - len(new))
        share = step
        pause_s = rollout.pause_s if canary else rollout.keep_s
        trial = Trial(tuple(sorted(new)), old, pause_s, rollout.manual, rollout.judge)
        found.append(ShiftPhase(batch, service.name, Share(share, _names(new)), None, trial))
        batch += 1
    start(len(todo))
    found.append(RetirePhase(batch, _replaced(move, diff, early), None))
    return found


def _replicas(service: Service, step: int) -> int:
    """How many new replicas a step needs, so that none gets more requests than one of the old ones has."""
    return max(1, -(-service.replicas * step // _ALL))


def _share_now(move: Move, diff: ServiceDiff) -> int:
    """The percentage that containers of the new version get now: of a rollout that broke off."""
    serving = [c for c in (*diff.keeps, *diff.outgoing) if c.name in move.serving]
    all_weights = {c.name: move.weights.get(c.name, 1) for c in serving}
    return percent([keep.name for keep in _new(diff)], all_weights)


def _names(containers: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    return tuple(sorted(name for _, name in containers))


def _broken(move: Move, diff: ServiceDiff, early: Collection[str]) -> tuple[Retire, ...]:
    """What does not run makes room first."""
    return tuple(
        move.retire(container, move.starts[diff.service.name, need.slot].reason)
        for need in diff.needs
        for container in need.outgoing
        if not container.running and container.name not in early
    )


def _replaced(move: Move, diff: ServiceDiff, early: Collection[str]) -> tuple[Retire, ...]:
    """What goes in the end, each after its successor has stood its monitor window."""
    replaced = [
        move.retire(container, start.reason, start.container, start.host)
        for need in diff.needs
        for start in [move.starts[diff.service.name, need.slot]]
        for container in need.outgoing
        if container.running and container.name not in early
    ]
    surplus = [
        move.retire(s.container, s.reason, *((s.successor.name, s.successor.host) if s.successor else ()))
        for s in diff.surplus
        if s.container.name not in early
    ]
    return (*replaced, *surplus)


def way_back(move: Move, diff: ServiceDiff) -> tuple[ShiftPhase | None, dict[str, Retire]]:
    """What is done first of all about a version that was on trial and is not what is wanted any more.

    The version before it, which still stands there, gets all requests again, before anything
    is started or stopped. On the way back half of it will do: what is there of it is good.

    Returns:
        That change, and what then goes before anything new comes (container -> removal); or
        None and nothing.
    """
    service = diff.service
    served = [c for c in diff.outgoing if c.name in move.weights and c.name in move.serving]
    if not served:
        return None, {}
    if _known_good(move, service):
        there = _new(diff)
        enough = _HALF * len(there) >= len(there) + len(diff.needs)
        return (_all_to(service, there) if enough and there else None), {}
    before = move.previous.service(service.name) if move.previous else None
    good = [c for c in served if before and c.well and c.spec == before.container.digest]
    tried = [c for c in served if c not in good and c.spec != service.container.digest]
    if before is None or not tried or len(good) < before.replicas:
        return None, {}
    return _all_to(service, good), {c.name: move.retire(c, "superseded on trial") for c in tried}


def _all_to(service: Service, containers: Iterable[Container]) -> ShiftPhase:
    share = Share(_ALL, tuple(sorted(c.name for c in containers)))
    return ShiftPhase(1, service.name, share, None, when="pre-deploy")
