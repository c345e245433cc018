"""What must hold whenever nothing is under way: hosts, HAProxy, plan, status and answers say the same."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass

from support.shop import Shop

from gitops.model.edge import CONFIG, DESCRIPTION, PORTS_MAP, ROUTES_MAP
from gitops.model.observed import LABEL_APP, LABEL_SERVICE, LABEL_SLOT
from gitops.render.edge import assemble
from gitops.render.fragment import parse

_MARK = "-- of the test --"
_FILES = f"""
cd /var/lib/gitops && ls */haproxy.cfg >/dev/null 2>&1 || exit 0
for file in */haproxy.cfg {CONFIG} {ROUTES_MAP} {PORTS_MAP}; do echo "{_MARK} $file"; cat "$file"; done
echo "{_MARK} running"
echo 'show map {ROUTES_MAP};show map {PORTS_MAP};show info;show stat' | socat -t 5 - /run/haproxy/admin.sock
"""


@dataclass(frozen=True)
class Edge:
    """A host whose HAProxy serves something.

    Attributes:
        fragments: application -> its part of haproxy.cfg.
        files: haproxy.cfg and its two maps.
        entries: of the maps, as HAProxy says.
        mark: of the file that it has loaded.
        servers: (backend, server) -> state, as HAProxy says.
    """

    fragments: dict[str, str]
    files: tuple[str, str, str]
    entries: dict[str, str]
    mark: str
    servers: dict[tuple[str, str], str]


def holds(shop: Shop) -> None:
    """File = running = plan = what is answered, and status says what a fresh look says.

    Raises:
        AssertionError: what does not hold.
    """
    for host in [*shop.lab.data["edges"], *shop.lab.data["hosts"]]:
        if shop.lab.up(host["name"]) and (edge := look(shop, host["name"])):
            _runs_its_file(shop, host["name"], edge, balances=host in shop.lab.data["edges"])
    _status_is_fresh(shop)


def look(shop: Shop, host: str) -> Edge | None:
    """What a host has and runs; None where no application has a part of haproxy.cfg there."""
    said = shop.lab.on(host, "sh", "-c", _FILES, check=False)
    parts = {
        head.strip(): text
        for part in f"\n{said}".split(f"\n{_MARK}")[1:]
        for head, _, text in [part.partition("\n")]
    }
    if not parts:
        return None
    lines = parts.pop("running").splitlines()
    files = [f"{parts.pop(path)}\n".lstrip("\n") for path in (CONFIG, ROUTES_MAP, PORTS_MAP)]
    table = [line.split(",") for line in lines if line.count(",") > 20]
    return Edge(
        {name.partition("/")[0]: f"{text}\n" for name, text in parts.items()},
        (files[0], files[1], files[2]),
        {words[1]: words[2] for line in lines if line.startswith("0x") for words in [line.split()]},
        next((line.partition(DESCRIPTION)[2] for line in lines if line.startswith("description:")), ""),
        {(row[0], row[1]): row[17] for row in table if row[1] not in {"FRONTEND", "BACKEND", "svname"}},
    )


def _runs_its_file(shop: Shop, host: str, edge: Edge, *, balances: bool) -> None:
    wanted = assemble(edge.fragments, edge=balances)
    assert edge.files == (wanted.config, wanted.routes, wanted.ports), (
        f"{host}: files are not of the fragments"
    )
    assert edge.mark == wanted.mark, f"{host}: HAProxy has loaded another file"
    assert edge.entries == wanted.routing, f"{host}: HAProxy has other routes than its files"
    own = parse(edge.fragments.get(shop.name, ""))
    places = {(backend, server) for backend, servers in own.servers.items() for server in servers}
    there = {
        place
        for place, state in edge.servers.items()
        if place[0].startswith(f"{shop.name}.") and not state.startswith("MAINT")
    }
    assert there == places, f"{host}: HAProxy has other servers than its file"
    if not balances:
        return
    for route in own.routes:
        alive = any(edge.servers[route.backend, name].startswith("UP") for name in own.servers[route.backend])
        if alive:
            name = "any.test" if route.host == "*" else route.host
            status = _status(shop.lab.address(host), name, route.path)
            assert status != http.client.SERVICE_UNAVAILABLE, f"{host}: {route} answers {status}"


def _status(address: str, host: str, path: str) -> int:
    connection = http.client.HTTPConnection(address, 80, timeout=10)
    try:
        connection.request("GET", path, headers={"Host": host, "Connection": "close"})
        return connection.getresponse().status
    finally:
        connection.close()


def _status_is_fresh(shop: Shop) -> None:
    """The plan to the good commit names every container; status tells whether it would change anything."""
    good = shop.records.good(shop.name)
    done = shop.gitops("plan", shop.name, "--commit", good, "-o", "json") if good else None
    if done is None or not done.stdout:
        return  # nothing has been good yet, or it cannot be planned, such as for a host that is away
    plan, status = json.loads(done.stdout), shop.read("status", shop.name)
    known = {(step["host"], step["service"], str(step["slot"])) for step in plan["steps"]}
    labels = [
        (host["name"], each["Labels"])
        for host in shop.lab.data["hosts"]
        if shop.lab.up(host["name"])
        for each in shop.lab.containers(host["name"], f"{LABEL_APP}={shop.name}")
    ]
    there = {(host, own.get(LABEL_SERVICE, ""), own.get(LABEL_SLOT, "")) for host, own in labels}
    assert there <= known, f"the plan does not know of {there - known}"
    assert bool(status["drift"]) == bool(plan["changes"]), (status["drift"], plan["steps"])
