"""A service that gives a route to another one stays until that one serves."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.planning import deployed, plan_of, small_fleet, stack_of, walk

from gitops.model.plan import RetirePhase, StartPhase
from gitops.model.stack import Ingress, Stack

FLEET = small_fleet()


def stack(commit: str, **ports: tuple[int, str]) -> Stack:
    """Services, each with its port and the host that it answers for."""
    whole = stack_of(
        {
            name: {"image": f"{name}:{commit}", "ports": [port], "replicas": 2}
            for name, (port, _) in ports.items()
        },
        commit,
    )
    return replace(
        whole,
        services=tuple(
            replace(each, ingress=(Ingress(ports[each.name][0], ports[each.name][1]),))
            for each in whole.services
        ),
    )


BEFORE = stack("a", api=(80, "shop.test"), web=(80, "other.test"))


@pytest.mark.parametrize("back", [False, True])
def test_what_answers_a_route_goes_when_its_heir_has_started(back: bool) -> None:
    after = stack("b", api=(90, "api.test"), web=(81, "shop.test"))
    plan = plan_of(after, FLEET, deployed(BEFORE, FLEET), BEFORE, rollback=back)
    order = [
        *(f"start {s.service}" if isinstance(phase, StartPhase) else f"remove {s.service}"
          for phase in plan.phases if isinstance(phase, StartPhase | RetirePhase)
          for s in (phase.starts if isinstance(phase, StartPhase) else phase.retires))
    ]  # fmt: skip
    first_gone, last_started = order.index("remove api"), len(order) - 1 - order[::-1].index("start web")
    assert first_gone > last_started, order
    assert len(list(walk(plan, deployed(BEFORE, FLEET)))) > len(plan.phases)  # it can be carried out


def test_a_port_that_is_served_on_needs_no_heir() -> None:
    after = stack("b", api=(80, "api.test"), web=(81, "shop.test"))
    plan = plan_of(after, FLEET, deployed(BEFORE, FLEET), BEFORE)
    gone = next(n for n, phase in enumerate(plan.phases) if isinstance(phase, RetirePhase))
    assert any(isinstance(phase, StartPhase) for phase in plan.phases[gone:])
