"""Rendered deployments on a lab, without the controller: plan, render, run, look."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from support.labs import Lab

from gitops.channel import close_channels, open_channels, own_folder
from gitops.desired import inventory
from gitops.execute import runner
from gitops.execute.events import Event
from gitops.model.fleet import Fleet
from gitops.model.observed import Container, Observed
from gitops.model.plan import Plan
from gitops.model.stack import ContainerSpec, Healthcheck, Ingress, Service, Stack, UpdateConfig
from gitops.observe.hosts import observe
from gitops.plan import make_plan
from gitops.render.deployment import deployment
from gitops.render.haproxy import fragment

DOCKERFILE = """\
FROM busybox
RUN mkdir -p /www && echo "{version}" > /www/index.html
CMD ["httpd", "-f", "-p", "80", "-h", "/www"]
"""
PROBE = Healthcheck(("CMD", "wget", "-q", "-O", "/dev/null", "http://127.0.0.1/"), interval_s=5, timeout_s=2)


@dataclass
class Rollouts:
    """One application on a lab.

    Attributes:
        lab: the fleet.
        app: name of the application.
        folder: for images and run folders.
        hosts: the container hosts that may be used; all where it is empty.
    """

    lab: Lab
    app: str
    folder: Path
    hosts: tuple[str, ...] = ()

    @property
    def fleet(self) -> Fleet:
        """The lab's inventory, perhaps with fewer container hosts."""
        whole = inventory.load(Path(self.lab.data["inventory"]), trusted=True)
        kept = [host for host in whole.hosts if host.balances or not self.hosts or host.name in self.hosts]
        return Fleet(tuple(kept))

    @property
    def edge(self) -> str:
        """Address of the load balancer."""
        return str(self.lab.data["edges"][0]["address"])

    def image(self, version: str) -> str:
        """An image of a web server that answers with the version."""
        context = self.folder / f"image-{version}"
        context.mkdir(parents=True, exist_ok=True)
        (context / "Dockerfile").write_text(DOCKERFILE.format(version=version))
        return self.lab.run("image", f"{self.app}:{version}", str(context)).splitlines()[-1]

    def stack(self, image: str, *, commit: str = "a", replicas: int = 2, **spec: Any) -> Stack:
        """An application of one web service, found by the host name `APP.test`."""
        asked = {
            "init": True,
            "healthcheck": PROBE,
            "stop_grace_period_s": 2.0,
            "target_ports": (80,),
            **spec,
        }
        service = Service(
            "web",
            ContainerSpec(image, **asked),
            replicas=replicas,
            update=UpdateConfig(monitor_s=0.5),
            ingress=(Ingress(80, f"{self.app}.test"),),
        )
        return Stack(self.app, commit * 40, (service,))

    def observe(self) -> Observed:
        """What the hosts report."""
        fleet, folder = self.fleet, own_folder()
        channels = open_channels(fleet.hosts, folder)
        try:
            return observe(channels, fleet)
        finally:
            close_channels(channels.values(), folder)

    def containers(self) -> tuple[Container, ...]:
        """What runs of the application."""
        return self.observe().containers(self.app)

    def plan(self, stack: Stack, *, previous: Stack | None = None) -> Plan:
        """The way from what runs to the stack."""
        return make_plan(stack, self.fleet, self.observe(), previous=previous, fragment=fragment)

    def rendered(self, plan: Plan, name: str) -> Path:
        """The plan's run folder on disk."""
        folder = self.folder / name
        runner.write(deployment(plan, deployment_id=name), folder)
        return folder

    def run(self, plan: Plan, name: str = "run") -> tuple[runner.Result, list[Event]]:
        """Runs the plan as the controller does, but over connections of its own."""
        events: list[Event] = []
        files = deployment(plan, deployment_id=name)
        done = runner.run(files, self.folder / name, on_event=events.append, timeout_s=120, env={})
        return done, events

    def get(self, path: str = "/") -> tuple[int, str]:
        """Status and body that the edge answers."""
        request = urllib.request.Request(f"http://{self.edge}{path}", headers={"Host": f"{self.app}.test"})
        try:
            with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310 - as above
                return response.status, response.read().decode().strip()
        except urllib.error.HTTPError as error:
            return error.code, ""

    def remove(self) -> None:
        """Takes the application off the lab."""
        done, _ = self.run(self.plan(Stack(self.app, "0" * 40)), "removal")
        assert done.ok, done.failure
        self.lab.on("e1", "rm", "-rf", f"/var/lib/gitops/{self.app}")


def ansible_playbook(folder: Path, *arguments: str) -> dict[str, dict[str, int]]:
    """Runs stock `ansible-playbook` in a folder; returns each host's counts.

    Raises:
        AssertionError: it failed.
    """
    done = stock(folder, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return counts(done.stdout)


def stock(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs a rendered folder with stock `ansible-playbook` to its end, whatever that is."""
    return run_playbook(["-i", "inventory", "rollout.yml", *arguments], cwd=folder)


def run_playbook(arguments: Sequence[str], *, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Runs `ansible-playbook` with next to no environment."""
    program = Path(sys.executable).parent / "ansible-playbook"
    clean = {key: value for key, value in os.environ.items() if key in {"PATH", "HOME", "LANG"}}
    return subprocess.run(
        [str(program), *arguments],
        cwd=cwd,
        env=clean,
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )


def counts(output: str) -> dict[str, dict[str, int]]:
    """What the recap of a run counts, by host."""
    return {
        match["host"]: {key: int(count) for key, count in re.findall(r"(\w+)=(\d+)", match["counts"])}
        for match in re.finditer(r"^(?P<host>\S+) +: (?P<counts>ok=.*)$", output, re.MULTILINE)
    }


def changed(stats: dict[str, dict[str, int]]) -> int:
    """How many tasks changed something."""
    return sum(counts["changed"] for counts in stats.values())


def without_service(stack: Stack, name: str) -> Stack:
    """The stack without one service."""
    return replace(stack, services=tuple(service for service in stack.services if service.name != name))


def specs(containers: Iterable[Container]) -> set[str]:
    """The digests of what runs."""
    return {container.spec for container in containers}
