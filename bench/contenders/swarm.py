"""Docker Swarm: `docker stack deploy` on a manager, until the swarm reports that it has converged."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import yaml

from bench import compose
from bench.contender import NEVER, Contender, Release, timed
from bench.fleet import Fleet, until
from gitops.channel.http import Http
from gitops.errors import Where
from gitops.lab.image import docker

MANAGER = "h1"
STACK = "bench"
SERVICE = f"{STACK}_web"
_API = "/v1.41"
_TIMEOUT_S = 30.0
_ENDS = frozenset({"completed", "paused", "rollback_completed", "rollback_paused"})  # of an update


class Swarm(Contender):
    """The lab's hosts as a swarm, the first one its manager.

    Not published: the routing mesh needs IPVS, which the lab's kernel may lack. Swarm is so
    spared the work of its load balancer.
    """

    key = "swarm"
    title = "Docker Swarm"
    cases = frozenset("abcde")

    def __init__(self, fleet: Fleet) -> None:
        super().__init__(fleet)
        self._file = b""  # compose.yaml as it was deployed last
        self._http = Http(fleet.connect(MANAGER), Where(host=MANAGER))

    def prepare(self) -> None:
        """Makes a swarm of the hosts."""
        on, address = self.fleet.lab.on, self.fleet.lab.address(MANAGER)
        on(MANAGER, "docker", "swarm", "init", "--advertise-addr", address)
        token = on(MANAGER, "docker", "swarm", "join-token", "-q", "worker")
        for host in self.fleet.hosts[1:]:
            on(host, "docker", "swarm", "join", "--token", token, f"{address}:2377")

    def begin(self, release: Release) -> None:
        """Makes the stack."""
        self.scale(release)

    def deploy(self, release: Release) -> float:
        """Deploys another version of the stack."""
        return timed(lambda: self._update(release, "completed"))

    def scale(self, release: Release) -> float:
        """Deploys the stack with another number of replicas: that is no update, so only tasks are awaited."""

        def deploy() -> None:
            self._stack_deploy(release)
            until(lambda: self._converged(release), f"{release} on the swarm")

        return timed(deploy)

    def fail(self, release: Release) -> float:
        """Deploys a version that the swarm rolls back."""
        self._update(release, "rollback_completed")
        return NEVER

    def nothing(self) -> float:
        """The same `docker stack deploy` again."""
        return timed(self._deploy_file)

    def end(self) -> None:
        """Removes the stack."""
        self.fleet.lab.on(MANAGER, "docker", "stack", "rm", STACK)

    def remove(self) -> None:
        """Ends the swarm."""
        for host in reversed(self.fleet.hosts):
            self.fleet.lab.on(host, "docker", "swarm", "leave", "--force")

    def _update(self, release: Release, wanted: str) -> None:
        self._stack_deploy(release)
        state = ""

        def ended() -> bool:
            nonlocal state
            state = (self._get(f"/services/{SERVICE}").get("UpdateStatus") or {}).get("State", "")
            return state in _ENDS

        until(ended, f"an end of the update to {release}")
        if state != wanted:
            raise RuntimeError(f"{self.title}: {state} instead of {wanted}")

    def _converged(self, release: Release) -> bool:
        image = self.fleet.images[release.version]
        running = [
            task
            for task in self._tasks()
            if task["Status"]["State"] == "running"
            and task["Spec"]["ContainerSpec"]["Image"].startswith(image)
        ]
        return len(running) == release.replicas

    def _stack_deploy(self, release: Release) -> None:
        web = compose.service(self.fleet.images[release.version], release)
        web["networks"] = ["outside"]
        web["deploy"]["rollback_config"] = {"parallelism": 0, "order": "start-first", "monitor": "1s"}
        # Without an overlay network: like everyone else's, its containers are on the host's bridge.
        content = {
            "version": "3.8",
            "services": {"web": web},
            "networks": {"outside": {"external": True, "name": "bridge"}},
        }
        self._file = yaml.safe_dump(content).encode()
        self._deploy_file()

    def _deploy_file(self) -> None:
        docker(self.fleet.socket(MANAGER), "stack", "deploy", "--compose-file", "-", STACK, stdin=self._file)

    def _tasks(self) -> list[dict[str, Any]]:
        """Those that should run."""
        asked = quote(json.dumps({"service": [SERVICE], "desired-state": ["running"]}))
        found: list[dict[str, Any]] = self._get(f"/tasks?filters={asked}")
        return found

    def _get(self, path: str) -> Any:
        return self._http.call("GET", f"{_API}{path}", timeout_s=_TIMEOUT_S)
