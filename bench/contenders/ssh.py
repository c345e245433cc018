"""The floor: plain ssh and the docker command line, without a load balancer and without a way back."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from bench.compose import CHECK, GRACE_S, INTERVAL_S, RETRIES, TIMEOUT_S
from bench.contender import Contender, Release, timed
from bench.fleet import HOSTS, PATIENCE_S, Fleet
from gitops.lab.layout import DEPLOY_USER

_RUN = (
    f"docker run --detach --init --stop-timeout {GRACE_S} --publish 80 --health-cmd {CHECK}"
    f" --health-interval {INTERVAL_S}s --health-timeout {TIMEOUT_S}s --health-retries {RETRIES}"
)


class Ssh(Contender):
    """One script a replica over a connection that stands: run the new, probe it, stop and remove the old.

    At most one replica a host at a time, hosts side by side as far as `parallelism` says.
    """

    key = "ssh"
    title = "ssh and docker"
    cases = frozenset("abde")

    def __init__(self, fleet: Fleet) -> None:
        super().__init__(fleet)
        self._release = Release("", 0)
        self._number = 0  # of the generation that runs: part of its containers' names

    def prepare(self) -> None:
        """Opens a connection a host."""
        self.fleet.each(lambda host: self._ssh(host, "true"))

    def begin(self, release: Release) -> None:
        """Starts the release."""
        self._release = Release(release.version, 0)
        self.scale(release)

    def deploy(self, release: Release) -> float:
        """Replaces every replica."""
        old, self._number, self._release = self._number, self._number + 1, release

        def replace(place: tuple[str, int]) -> None:
            host, slot = place
            gone = f"web-{slot}-{old}"
            self._ssh(host, f"{self._start(slot)}; docker stop {gone} && docker rm {gone}")

        return self._places(range(release.replicas // HOSTS), replace, release.parallelism)

    def scale(self, release: Release) -> float:
        """Starts the replicas that are missing, all at once."""
        slots = range(self._release.replicas // HOSTS, release.replicas // HOSTS)
        self._release = release
        missing = len(slots) * HOSTS
        return self._places(slots, lambda place: self._ssh(place[0], self._start(place[1])), missing)

    def nothing(self) -> float:
        """Lists the containers of every host."""
        return timed(lambda: self.fleet.each(lambda host: self._ssh(host, "docker ps")))

    def remove(self) -> None:
        """Closes the connections."""
        self.fleet.each(lambda host: self._run(*self._options, "-O", "exit", self._target(host)))

    def _places(self, slots: range, action: Callable[[tuple[str, int]], None], parallelism: int) -> float:
        places = [(host, slot) for slot in slots for host in self.fleet.hosts]

        def go() -> None:
            for first in range(0, len(places), parallelism):
                batch = places[first : first + parallelism]
                with ThreadPoolExecutor(max_workers=len(batch)) as pool:
                    list(pool.map(action, batch))

        return timed(go)

    def _start(self, slot: int) -> str:
        name, image = f"web-{slot}-{self._number}", self.fleet.images[self._release.version]
        return f"{_RUN} --name {name} {image} && until docker exec {name} {CHECK}; do sleep 0.05; done"

    def _ssh(self, host: str, script: str) -> None:
        self._run(*self._options, self._target(host), script)

    def _target(self, host: str) -> str:
        return f"{DEPLOY_USER}@{self.fleet.lab.address(host)}"

    @property
    def _options(self) -> tuple[str, ...]:
        data = self.fleet.lab.data
        settings = (
            "BatchMode=yes",
            "IdentitiesOnly=yes",
            f"UserKnownHostsFile={data['known_hosts']}",
            "ControlMaster=auto",
            "ControlPersist=yes",
            f"ControlPath={self.fleet.folder}/%h",
        )
        return (
            "-F",
            "/dev/null",
            "-i",
            data["ssh_key"],
            *(part for each in settings for part in ("-o", each)),
        )

    def _run(self, *arguments: str) -> None:
        done = subprocess.run(
            ["ssh", *arguments], check=False, capture_output=True, text=True, timeout=PATIENCE_S
        )
        if done.returncode != 0:
            raise RuntimeError(f"{self.title}: {arguments[-2:]}: {done.stderr.strip()}")
