"""Pulls the images of registries that only the controller has a login to.

They are pulled by the controller itself, through its own channels and before the playbook
runs: a password travels neither in a run folder nor in an environment or command line.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from gitops.channel import Channel
from gitops.errors import GitopsError
from gitops.images.logins import Registries, configured
from gitops.model.image import parse
from gitops.model.plan import Plan
from gitops.tasks.image import pull
from gitops.tasks.outcome import Outcome

Row = dict[str, str]

_SIDE_BY_SIDE = 64  # hosts


def private(plan: Plan, registries: Registries) -> dict[str, list[Row]]:
    """The pulls that need a login of gitops.yaml, by host: what `gitops.tasks.image.pull` takes."""
    users = {service.container.image: service.name for service in reversed(plan.stack.services)}
    found: dict[str, list[Row]] = {}
    for each in plan.pulls:
        if parse(each.image).registry in registries:
            found.setdefault(each.host, []).append({"image": each.image, "service": users[each.image]})
    return found


def fetch(
    rows: Mapping[str, list[Row]], channels: Mapping[str, Channel], registries: Registries
) -> list[tuple[str, Outcome | GitopsError]]:
    """Pulls on all hosts side by side; returns how each host ended, by name."""

    def one(host: str) -> Outcome | GitopsError:
        try:
            engine, machine = channels[host].engine(), channels[host].facts.machine
            return pull(engine, rows[host], machine, login_for=lambda image: configured(registries, image))
        except GitopsError as error:
            return error

    hosts = sorted(rows)
    with ThreadPoolExecutor(min(len(hosts), _SIDE_BY_SIDE)) as pool:
        return list(zip(hosts, pool.map(one, hosts), strict=True))
