"""The plan of one application: what its commit says, what hosts report, and what is given beside both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Network

from gitops.application import NOTHING_GIVEN, Desired, Premises
from gitops.model.fleet import Fleet
from gitops.model.observed import Observed
from gitops.model.plan import Plan, Relapse, Role, Spared
from gitops.model.stack import Stack
from gitops.model.tolerance import ANY, NONE, Tolerance
from gitops.plan import make_plan
from gitops.plan.discovery import discovered
from gitops.plan.remedy import Slot, relapses
from gitops.render.edge import assembled, check_claims
from gitops.render.haproxy import fragment


@dataclass(frozen=True)
class Terms:
    """How far a plan may go.

    Attributes:
        tolerate: how many hosts may be absent.
        relapses: slots that are left alone for now.
        left: of a repair: seconds for which each slot that was repaired lately is left alone yet. What that
            means is found anew from each look: while a repair begins, more may come to need one.
        spared: slots that are done without, because their containers failed.
        jobs: whether those of the commit are run.
        rollback: whether it is the way back.
    """

    tolerate: Tolerance = NONE
    relapses: tuple[Relapse, ...] = ()
    left: Mapping[Slot, float] | None = None
    spared: tuple[Spared, ...] = ()
    jobs: bool = True
    rollback: bool = False


FORWARD = Terms()
BACK = Terms(tolerate=ANY, rollback=True)


def plan_for(
    desired: Desired,
    previous: Desired | None,
    observed: Observed,
    premises: Premises = NOTHING_GIVEN,
    terms: Terms = FORWARD,
) -> Plan:
    """The plan from what was observed to what is desired, with the addresses of its services.

    `previous` lends the words for the reasons, and its hosts: one that has left
    the fleet is emptied, and so is one that the premises have as out. Hosts that
    are lost and do not answer are out, too.

    Raises:
        TransientError: hosts that are needed do not answer.
        PermanentError: the commit fits nowhere, or wants what another application has at the edge.
    """
    known = premises.hosts
    silent = {host.name for host in observed.away}
    lost = {name: why for name, why in known.lost.items() if name in silent}
    fleet = together(desired, previous)
    before = previous.stack if previous else None
    stack, before = discovered(desired.stack, before, fleet, observed, IPv4Network(desired.network))
    plan = make_plan(
        stack,
        fleet,
        observed,
        previous=before,
        rollback=terms.rollback,
        jobs=terms.jobs,
        fragment=fragment,
        config=assembled,
        tolerate=terms.tolerate.of(desired.fleet),
        spared=terms.spared,
        relapses=_relapses(stack, observed, terms),
        out={**lost, **premises.out},
        shut=known.shut,
        scheduler=premises.scheduler,
    )
    if not terms.rollback and not plan.empty:
        _check_claims(plan, observed)
    return plan


def _relapses(stack: Stack, observed: Observed, terms: Terms) -> tuple[Relapse, ...]:
    """The slots that were repaired lately, by what is seen now; what the terms name goes before that."""
    if terms.left is None:
        return terms.relapses
    found = {(each.service, each.slot): each for each in relapses(stack, observed, terms.left)}
    found |= {(each.service, each.slot): each for each in terms.relapses}
    return tuple(found[slot] for slot in sorted(found))


def _check_claims(plan: Plan, observed: Observed) -> None:
    """What the commit wants of the load balancers belongs to no other application there."""
    text = fragment(plan.stack, None, plan.backends, Role())
    for host in plan.fleet.load_balancers:
        state = observed.host(host.name)
        if text and state and state.reachable:
            check_claims({**dict(state.fragments), plan.app: text})


def together(desired: Desired, previous: Desired | None) -> Fleet:
    """The desired fleet, and without a group the hosts that only the previous one had."""
    names = {host.name for host in desired.fleet.hosts}
    left = [host for host in previous.fleet.hosts if host.name not in names] if previous else []
    hosts = (*desired.fleet.hosts, *(replace(host, groups=()) for host in left))
    return Fleet(tuple(sorted(hosts, key=lambda host: host.name)))
