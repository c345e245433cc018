"""Somebody who changes things on a lab's hosts behind the service's back, and what the service says of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from time import time

from support.controllers import stopped
from support.shop import Shop

from gitops.model.edge import ROUTES_MAP

LOGGED = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d) ")


@dataclass
class Hand:
    """Somebody who changes things on hosts, and what the service says of it."""

    shop: Shop

    def where(self, replica: str) -> tuple[str, str]:
        """Host and container of a replica such as `web.1`."""
        service, slot = replica.split(".")
        return next(
            (host, container)
            for host, container in (name.split("/") for name in self.shop.containers())
            if f"-{service}-{slot}-" in container
        )

    def kind(self, host: str) -> str:
        """Its engine: docker or podman."""
        return next(str(each["engine"]) for each in self.shop.lab.data["hosts"] if each["name"] == host)

    def replicas(self, service: str) -> list[str]:
        """Those of a service, on Docker first: Podman checks no health in a lab."""
        found = sorted(
            (self.kind(host), container.split("-")[2])
            for host, container in (name.split("/") for name in self.shop.containers())
            if f"-{service}-" in container
        )
        return [f"{service}.{slot}" for _, slot in found]

    def engine(self, replica: str, *command: str) -> str:
        """Runs the engine's program on the replica's host; `{}` stands for its container."""
        host, container = self.where(replica)
        words = (word.replace("{}", container) for word in command)
        return self.shop.lab.on(host, self.kind(host), *words)

    def swap_image(self, replica: str, image: str, service: int) -> None:
        """Runs another image under the same name, labels and port, in one moment for the service."""
        host, container = self.where(replica)
        engine = self.kind(host)
        details = json.loads(self.shop.lab.on(host, engine, "inspect", container))[0]
        labels = [f"--label={key}={value}" for key, value in details["Config"]["Labels"].items()]
        port = details["HostConfig"]["PortBindings"]["80/tcp"][0]["HostPort"]
        run = (engine, "run", "-d", "--init", "--name", container, "-p", f"{port}:80")
        with stopped([service]):  # else it may notice that the first is gone before the second is there
            self.shop.lab.on(host, engine, "rm", "-f", container)
            self.shop.lab.on(host, *run, *labels, image)

    def on_edge(self, script: str) -> str:
        """Runs a script on the load balancer."""
        return self.shop.lab.on("e1", "sh", "-c", script)

    def up_since(self, replica: str, since: float) -> bool:
        """Whether HAProxy's own check has found a replica of the edge up, and another one than before."""
        service, slot = replica.split(".")
        place = (f"{self.shop.name}.{service}.80", f"{self.shop.name}-{service}-{slot}-")
        return any(
            # Columns 17, 23 and 36: the state, for how many seconds, and what the last check said.
            words[17].startswith("UP") and int(words[23]) <= time() - since and words[36].endswith("OK")
            for words in self.shop.servers()
            if words[0] == place[0] and words[1].startswith(place[1])
        )

    def noticed(self, reason: str, since: float, within_s: float = 30.0) -> float:
        """Waits until the service tells of a difference; seconds since then, by the service's own log."""

        def look() -> float | None:
            for line in self.shop.service_log.splitlines():
                logged = LOGGED.match(line)
                if logged and re.search(reason, line):
                    after_s = datetime.fromisoformat(logged[1]).astimezone().timestamp() - since
                    if after_s >= 0:
                        return max(after_s, 0.001)
            return None

        return self.shop.until(look, within_s, repr(reason))

    def killed_serves_s(self, replica: str, within_s: float = 30.0) -> float:
        """Kills a replica; seconds until HAProxy's own check finds it up again."""
        began = time()
        self.engine(replica, "kill", "{}")
        self.shop.until(lambda: self.up_since(replica, began), within_s, f"{replica} up")
        return time() - began

    def quiet(self) -> None:
        """Waits until what is under way has ended, well."""

        def ended() -> bool:
            last = self.shop.deployments()[0]
            return last.outcome != "running" and f"{last.commit[:12]} {last.outcome}" in self.shop.service_log

        self.shop.until(ended, 60, "the end of a heal")
        last = self.shop.deployments()[0]
        assert last.outcome == "succeeded", last


def kinds(hand: Hand, other: str, service: int) -> list[tuple[str, Callable[[], object], str]]:
    """Kind of drift, what somebody does, and what the service says of it.

    Args:
        hand: whose shop has four replicas of `web` and two of `api`.
        other: an image that is not of the commit.
        service: the process of `gitops serve`.
    """
    shop = hand.shop
    tell = shop.lab.haproxy
    edge = f"/var/lib/gitops/{shop.name}"
    stops, dies, pauses, goes = hand.replicas("web")
    (api, *_) = hand.replicas("api")

    def at(replica: str) -> str:
        return f"{shop.name}.web.80/{hand.where(replica)[1]}"

    def add_server() -> None:
        tell(f"add server {shop.name}.web.80/mine 127.0.0.1:9")
        tell(f"enable server {shop.name}.web.80/mine")

    def remove() -> None:
        with stopped([service]):  # an engine ends it first: a look in between would find it stopped
            hand.engine(goes, "rm", "-f", "{}")

    def load_another() -> None:
        config, told = "/etc/haproxy/haproxy.cfg", "echo 'show info' | socat - /run/haproxy/admin.sock"
        with stopped([service]):  # else it may find the file changed before it is back
            hand.on_edge(
                f"cp -p {config} /tmp/kept; sed -i 's/description .*/description mine/' {config};"
                " echo reload | socat -t 10 - /run/haproxy-master.sock;"
                f" timeout 20 sh -c \"until {told} | grep -q 'description: mine'; do :; done\";"
                f" mv /tmp/kept {config}"
            )

    def run_stray() -> None:
        label = f"--label=gitops.app={shop.name}"
        shop.lab.on("h1", "docker", "run", "-d", "--name", "stray", label, other)

    return [
        ("stopped", lambda: hand.engine(stops, "stop", "-t", "1", "{}"), f"{stops}: container exited"),
        ("killed", lambda: hand.engine(dies, "kill", "{}"), rf"{dies}: container exited \(137\)"),
        ("removed", remove, f"{goes}: replica missing"),
        ("paused", lambda: hand.engine(pauses, "pause", "{}"), f"{pauses}: container paused"),
        (
            "image",
            lambda: hand.swap_image(api, other, service),
            rf"{api}: image changed by hand: \S+ -> \S+:other",
        ),
        ("stray", run_stray, "stray: service removed"),
        (
            "config",
            lambda: hand.on_edge("echo >>/etc/haproxy/haproxy.cfg"),
            "haproxy.cfg was changed by hand",
        ),
        (
            "disabled",
            lambda: tell(f"disable server {at(stops)}"),
            r"disabled in HAProxy \(MAINT\)",
        ),
        ("drained", lambda: tell(f"set server {at(dies)} state drain"), r"in HAProxy \(DRAIN\)"),
        ("added", add_server, "server mine in HAProxy is not of the commit"),
        ("fragment", lambda: hand.on_edge(f"rm {edge}/haproxy.cfg"), "its part of haproxy.cfg is missing"),
        (
            "route",
            lambda: tell(f"del map {ROUTES_MAP} {shop.name}.test/api/"),
            f"route {shop.name}.test/api/ of HAProxy leads to nothing",
        ),
        (
            "map",
            lambda: hand.on_edge(f"echo 'a.test/ b.c.80' >>{ROUTES_MAP}"),
            "haproxy.cfg was changed by hand",
        ),
        ("reloaded", load_another, "HAProxy has not loaded haproxy.cfg"),
        ("release", lambda: shop.lab.on("h2", "rm", f"{edge}/release.json"), "h2: release file missing"),
    ]
