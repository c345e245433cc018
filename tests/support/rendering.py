"""Plans to be rendered, in few words, and what a rendered folder holds."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

from support.planning import applied, deployed, nothing_on, plan_of, small_fleet, stack_of

from gitops.model.observed import Observed
from gitops.model.plan import Plan
from gitops.model.stack import Ingress, Judge, Publish, Rollout, Stack
from gitops.plan.discovery import discovered
from gitops.render.deployment import deployment

SHOP = {
    "api": {"image": "registry.example.com/shop/api:1", "ports": [80], "replicas": 2},
    "web": {"image": "registry.example.com/shop/web:1", "ports": [8080], "replicas": 3, "healthcheck": True},
}


def shop(version: str = "1", commit: str = "a") -> Stack:
    """Two services: `api` with a route of its own and a published port, `web` for everything else."""
    web = {**SHOP["web"], "image": f"registry.example.com/shop/web:{version}"}
    stack = stack_of({**SHOP, "web": web}, commit)
    api, pages = stack.services
    return replace(
        stack,
        services=(
            replace(api, ingress=(Ingress(80, "shop.example.com", "/api"),), publish=(Publish(5000, 80),)),
            replace(pages, ingress=(Ingress(8080, "shop.example.com"), Ingress(8080))),
        ),
    )


def first() -> Plan:
    """A first deployment."""
    fleet = small_fleet()
    return plan_of(shop(), fleet, nothing_on(fleet))


def update() -> Plan:
    """A new image of one service."""
    fleet = small_fleet()
    return plan_of(shop("2", "b"), fleet, deployed(shop(), fleet), previous=shop())


def removal() -> Plan:
    """One service is gone."""
    fleet, before = small_fleet(), shop()
    after = replace(before, commit="c" * 40, services=before.services[1:])
    return plan_of(after, fleet, deployed(before, fleet), previous=before)


def tried(rollout: Rollout) -> Plan:
    """A new image of one service that has to prove itself beside the old one."""
    fleet, stack = small_fleet(), shop("2", "b")
    api, web = stack.services
    stack = replace(stack, services=(api, replace(web, rollout=rollout)))
    return plan_of(stack, fleet, deployed(shop(), fleet), previous=shop())


def canary() -> Plan:
    """Two steps, each until a person lets it go on."""
    judge = Judge(max_mean_ms=200.0, against="old")
    return tried(Rollout("canary", steps=(5, 50), manual=True, judge=judge))


def blue_green() -> Plan:
    """All at once, and the old set is kept for a while."""
    return tried(Rollout("blue-green", keep_s=60.0))


def with_jobs(version: str, commit: str) -> Stack:
    """`web` between a migration, which is a fence, and a smoke test; a job in order beside it."""
    image = f"registry.example.com/shop/web:{version}"
    return stack_of(
        {
            "migrate": {"image": image, "command": ["migrate"], "job": "pre-deploy", "fence": True},
            "seed": {"image": "registry.example.com/shop/seed:1", "job": "in-order"},
            "web": {"image": image, "ports": [8080]},
            "smoke": {"image": image, "command": ["smoke"], "job": "post-deploy", "replicas": 2},
        },
        commit,
    )


def jobs() -> Plan:
    """A new version with a migration before and a smoke test after it."""
    fleet, before = small_fleet(), with_jobs("1", "a")
    return plan_of(with_jobs("2", "b"), fleet, deployed(before, fleet), previous=before)


def discovery() -> Plan:
    """A new image of a service that another one on two hosts looks for, and one replica more of that."""
    fleet = small_fleet()
    hosts = (replace(host, networks=("10.96.0.0/16",)) for host in nothing_on(fleet).hosts)
    empty = Observed(tuple(hosts))

    def version(number: str, replicas: int) -> Stack:
        return stack_of(
            {
                "api": {"image": f"registry.example.com/shop/api:{number}", "expose": [9000], "ports": [80]},
                "web": {"image": "registry.example.com/shop/web:1", "replicas": replicas},
            },
            number,
        )

    network = IPv4Network("10.96.0.0/16")
    before, _ = discovered(version("1", 2), None, fleet, empty, network)
    after, _ = discovered(version("2", 3), None, fleet, empty, network)
    return plan_of(after, fleet, applied(plan_of(before, fleet, empty), empty), previous=before)


CASES = {
    "first": first,
    "update": update,
    "removal": removal,
    "canary": canary,
    "blue-green": blue_green,
    "jobs": jobs,
    "discovery": discovery,
}


def written(plan: Plan, folder: Path) -> Path:
    """The folder of the plan's deployment on disk."""
    for name, content in deployment(plan, deployment_id="d-1").items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder
