"""What a commit asks of hosts, held against the inventory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.planning import APP, fleet_of

from gitops.checkup.files import problems_of
from gitops.desired.placement import check_placement
from gitops.errors import InvalidInputError, Where
from gitops.model.fleet import Fleet
from gitops.model.placement import Constraint, Placement
from gitops.model.stack import ContainerSpec, Service, Stack

BARE = fleet_of({"h1": ["container_hosts", "ssd"], "h2": "container_hosts", "lb1": "load_balancers"})
FLEET = Fleet(tuple(replace(host, labels=(("zone", host.name[-1]),)) for host in BARE.hosts))
AT = Where("compose.yaml", 7, 13)


def stack_with(*keys: str, spread: str = "") -> Stack:
    constraints = tuple(Constraint(key, equal=True, value="x", where=AT) for key in keys)
    placement = Placement(constraints, (spread,) if spread else (), where=Where("compose.yaml", 5, 5))
    return Stack(APP, "c", (Service("web", ContainerSpec("web:1"), placement=placement),))


def test_labels_and_groups_that_are_there_are_fine() -> None:
    check_placement(
        stack_with("node.labels.zone", "node.group.ssd", "node.hostname", spread="node.labels.zone"), FLEET
    )


@pytest.mark.parametrize(
    ("stack", "fleet", "problem"),
    [
        (
            stack_with("node.labels.zoen"),
            FLEET,
            (
                "compose.yaml:7:13: services.web.deploy.placement: no container host has the label `zoen` "
                "(the hosts have the labels zone)"
            ),
        ),
        (
            stack_with("node.group.sdd"),
            FLEET,
            (
                "compose.yaml:7:13: services.web.deploy.placement: no container host has the group `sdd` "
                "(the hosts have the groups container_hosts, load_balancers, ssd)"
            ),
        ),
        (
            stack_with(spread="node.labels.rack"),
            BARE,
            (
                "compose.yaml:5:5: services.web.deploy.placement: no container host has the label `rack` "
                "(give hosts labels in the inventory: `gitops_labels: {zone: a}`)"
            ),
        ),
    ],
)
def test_labels_and_groups_that_no_host_has_are_refused(stack: Stack, fleet: Fleet, problem: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        check_placement(stack, fleet)
    assert str(refused.value) == problem


def test_validate_holds_the_files_against_the_inventory(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text(
        "services:\n  web:\n    image: web\n    deploy:\n      placement:\n"
        "        constraints: [node.labels.zone == a]\n"
    )
    (tmp_path / "hosts.yml").write_text("container_hosts: {hosts: {h1: {gitops_labels: {rack: a}}}}\n")
    (problem,) = problems_of(tmp_path, inventory=tmp_path / "hosts.yml")
    assert str(problem).startswith("compose.yaml:6:23: services.web.deploy.placement: no container host has")
