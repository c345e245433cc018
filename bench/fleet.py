"""The lab that all contenders share: its hosts, images and judge, and what its engines report."""

from __future__ import annotations

import math
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self, TypeVar

from support.labs import Lab

from bench import FOLDER
from bench.judge import Judge
from gitops.channel.engine import Engine
from gitops.channel.http import Connect
from gitops.lab import inventory
from gitops.lab.host import socket_path
from gitops.lab.layout import Layout
from gitops.lab.state import load_whole

HOSTS = 4
EDGES = 3  # one a tool that has a load balancer, and one that serves nobody
BROKEN = "broken"
VERSIONS = ("1", "2")


PATIENCE_S = 300.0  # for one deployment: whoever takes longer ends the bench
_POLL_S = 0.03

T = TypeVar("T")


@dataclass(frozen=True)
class Entry:
    """Where HTTP is served."""

    address: str
    host: str = ""


@dataclass(frozen=True)
class Fleet:
    """Four Docker hosts and two edges.

    Attributes:
        lab: as the tests know it.
        folder: for what contenders write.
        judge: what the broken version asks.
        images: reference by version, on every host already.
    """

    lab: Lab
    folder: Path
    judge: Judge
    images: dict[str, str]

    @classmethod
    def furnish(cls, lab: Lab, folder: Path, judge: Judge) -> Self:
        """Builds the images and pulls them everywhere, so that no contender has to."""
        fleet = cls(lab, folder, judge, {})
        for version in (*VERSIONS, BROKEN):
            asked = judge.address if version == BROKEN else ""
            values = (f"--build-arg=VERSION={version}", f"--build-arg=JUDGE={asked}")
            said = lab.run("image", f"bench:{version}", str(FOLDER / "image"), *values)
            fleet.images[version] = said.splitlines()[-1]
        for image in fleet.images.values():
            fleet.each(partial(_pull, lab, image))
        return fleet

    @property
    def hosts(self) -> tuple[str, ...]:
        """The container hosts."""
        return tuple(str(host["name"]) for host in self.lab.data["hosts"])

    @property
    def idle(self) -> Entry:
        """An edge that answers, and serves nobody."""
        return Entry(str(self.lab.data["edges"][-1]["address"]))

    def each(self, action: Callable[[str], T]) -> list[T]:
        """Does something on all container hosts side by side."""
        with ThreadPoolExecutor(max_workers=HOSTS) as pool:
            return list(pool.map(action, self.hosts))

    def inventory(self, name: str, edge: str, **variables: str) -> Path:
        """Writes the lab's inventory with only one of its edges, and further variables for all hosts."""
        layout = Layout.of(self.lab.folder)
        members = [each for each in load_whole(layout).members if each.has_engine or each.name == edge]
        folder = self.folder / name
        for path, text in inventory.documents(layout, members).items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        with (folder / "group_vars" / "all.yml").open("a") as common:
            common.writelines(f"{key}: {value}\n" for key, value in variables.items())
        return folder

    def socket(self, host: str) -> str:
        """The path of a host's engine socket on this machine."""
        state = load_whole(Layout.of(self.lab.folder))
        return socket_path(state.member(host), state.hosts[host])

    def connect(self, host: str) -> Connect:
        """Opens connections to a host's engine, past its network."""
        path = self.socket(host)

        def opened(timeout_s: float) -> socket.socket:
            line = socket.socket(socket.AF_UNIX)
            line.settimeout(timeout_s)
            line.connect(path)
            return line

        return opened

    def settle(self, replicas: int) -> None:
        """Waits until only that many containers run: tools may stop the last old ones after they report."""
        engines = [Engine(self.connect(host)) for host in self.hosts]

        def running() -> int:
            return sum(each["State"] == "running" for engine in engines for each in engine.containers())

        until(lambda: running() == replicas, f"{replicas} running containers")
        for engine in engines:
            engine.close()

    def clear(self) -> None:
        """Removes every container of every host; a tool may still be at the same."""

        def empty(host: str) -> bool:
            self.lab.on(host, "sh", "-c", "docker ps -aq | xargs -r docker rm -f", check=False)
            return not self.lab.on(host, "docker", "ps", "-aq")

        self.each(lambda host: until(lambda: empty(host), f"no container on {host}"))

    @contextmanager
    def verdicts(self) -> Iterator[list[float]]:
        """Collects when the engines call a container unhealthy, in seconds since the epoch."""
        found: list[float] = []

        def follow(engine: Engine, ready: threading.Event) -> None:
            events = engine.events({"event": ["health_status"]})
            stack.callback(events.close)
            ready.set()
            found.extend(each["timeNano"] / 1e9 for each in events if each["Action"].endswith(": unhealthy"))

        with ExitStack() as stack:
            for host in self.hosts:
                ready = threading.Event()
                threading.Thread(target=follow, args=(Engine(self.connect(host)), ready), daemon=True).start()
                ready.wait(10)
            yield found


def first(verdicts: list[float], own: float) -> float:
    """When a version counts as failed: as the engine says or the tool itself, whichever is sooner.

    Raises:
        RuntimeError: neither has said so.
    """
    found = min([*verdicts, own])
    if math.isinf(found):
        raise RuntimeError("nothing has failed")
    return found


def _pull(lab: Lab, image: str, host: str) -> None:
    lab.on(host, "docker", "pull", "-q", image)


def until(look: Callable[[], bool], what: str) -> None:
    """Looks every 30 ms until it is so.

    Raises:
        RuntimeError: it is not so in time.
    """
    deadline = time.monotonic() + PATIENCE_S
    while not look():
        if time.monotonic() > deadline:
            raise RuntimeError(f"not within {PATIENCE_S:g} s: {what}")
        time.sleep(_POLL_S)
