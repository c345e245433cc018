"""One-off jobs: which are run, and what becomes of the containers of those that have been.

A container that has finished stays on its host as the mark of that, so that its job is not run
again. What has run, well or not, goes when all that is new has proved itself: until then it tells
of a fence, and a way back finds it there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gitops.model.observed import Container
from gitops.model.plan import Phase, Plan, Retire, StartPhase
from gitops.model.stack import Service
from gitops.plan.diff import Need, ServiceDiff, Surplus
from gitops.plan.explain import differences, sentence, spec_reason, state_reason

if TYPE_CHECKING:
    from gitops.plan.rollout import Move

_AT_REST = {"created", "exited", "dead"}


def compare_job(
    service: Service,
    before: Service | None,
    containers: Sequence[Container],
    hosts: Sequence[str],
    *,
    run: bool,
) -> ServiceDiff:
    """Compares what is there of a job with its spec: a slot is run once, until its spec changes.

    Args:
        service: the job as desired.
        before: the service at the last good commit, for which it has been run; or None.
        containers: all observed containers of the job.
        hosts: names of the container hosts.
        run: whether what has not been run is.
    """
    keeps: list[Container] = []
    needs: list[Need] = []
    surplus: list[Surplus] = []
    for slot in range(1, service.replicas + 1):
        here = sorted((c for c in containers if c.slot == slot), key=_best_first)
        own = [c for c in here if c.spec == service.container.digest and (c.finished or c.running)]
        best = next((c for c in own if c.host in hosts), None)
        wanted = run and not any(c.finished for c in own) and not _run_before(service, before, slot)
        others = [c for c in here if c is not best]
        if wanted:
            reason = _reason(service, before, slot, best, others)
            needs.append(Need(slot, reason, outgoing=tuple(others), adopted=best))
            continue
        keeps += [best] if best else []
        surplus += [Surplus(c, _objection(service, before, c, hosts)) for c in others]
    surplus += [
        Surplus(c, f"scaled {max(before.replicas if before else 0, c.slot)} -> {service.replicas}")
        for c in sorted(containers, key=lambda c: (c.slot, c.host, c.name))
        if not 1 <= c.slot <= service.replicas
    ]
    return ServiceDiff(service, tuple(keeps), tuple(needs), tuple(surplus))


def _best_first(container: Container) -> tuple[bool, bool, str, str]:
    return (not container.finished, not container.running, container.host, container.name)


def _run_before(service: Service, before: Service | None, slot: int) -> bool:
    """Whether the last good commit has the same job, also where its mark is gone (`docker system prune`)."""
    return (
        before is not None
        and before.job is not None
        and before.container.digest == service.container.digest
        and slot <= before.replicas
    )


def _reason(
    service: Service,
    before: Service | None,
    slot: int,
    running: Container | None,
    others: Sequence[Container],
) -> str:
    """Why a slot is run."""
    if running:
        return "its run was not seen to its end, taken up again"
    failed = next((c for c in others if c.spec == service.container.digest), None)
    if failed:
        return f"run again: {_end(failed)}"
    if before is None:
        return "new job"
    changed = differences(before.container, service.container)
    return sentence(changed) if changed else f"scaled {before.replicas} -> {max(slot, service.replicas)}"


def _objection(service: Service, before: Service | None, container: Container, hosts: Sequence[str]) -> str:
    """Why a container goes while its slot needs no run."""
    if container.host not in hosts:
        return f"host {container.host} left the fleet"
    if container.spec != service.container.digest:
        return spec_reason(container, before, service)
    return f"duplicate of slot {container.slot}" if container.finished else _end(container)


def _end(container: Container) -> str:
    """`container exited (3)`, or that it took too long."""
    return "ran too long" if container.overdue else state_reason(container) or "duplicate"


def hosts_of_runs(plan: Plan) -> frozenset[str]:
    """The hosts that alone can tell what became of a job of this commit: without them it may run twice."""
    found = {start.host for start in plan.starts if start.job}
    for keep in plan.keeps:
        service = plan.stack.service(keep.service)
        before = plan.previous.service(keep.service) if plan.previous else None
        if service and service.job and not _run_before(service, before, keep.slot):
            found.add(keep.host)
    return frozenset(found)


def leaving(move: Move) -> tuple[tuple[Retire, ...], tuple[Retire, ...]]:
    """The job containers that go: before anything else what still runs, and at the end what has run."""
    found = [(c, "service removed") for c in move.gone if c.job]
    for diff in move.diffs:
        if diff.service.job:
            found += [(c, need.reason) for need in diff.needs for c in need.outgoing]
            found += [(s.container, s.reason) for s in diff.surplus]
    before = tuple(move.retire(c, reason) for c, reason in found if c.state not in _AT_REST)
    return before, tuple(move.retire(c, reason) for c, reason in found if c.state in _AT_REST)


def phases(move: Move, diff: ServiceDiff, batch: int) -> list[Phase]:
    """All runs of one job, side by side; what they take the place of has its own phases."""
    job = diff.service.job
    starts = tuple(move.starts[diff.service.name, need.slot] for need in diff.needs)
    return [StartPhase(batch, starts, None, when=job.when)] if job and starts else []
