"""Services find each other by name on whatever hosts they run: examples/vote, and two applications."""

from __future__ import annotations

import json
import re
import urllib.request
from collections import defaultdict
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
import yaml
from support.labs import Lab
from support.load import Load
from support.shop import MakeShop, Shop, until

pytestmark = pytest.mark.lab

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "vote"
NETWORK = "198.19.0.0/16"
SLEEPS = ["sh", "-c", "trap 'exit 0' TERM; while true; do sleep 0.2; done"]


def image(lab: Lab, version: str) -> str:
    argument = ("--build-arg", f"VERSION={version}")
    return lab.run("image", f"vote:{version}", str(EXAMPLE / "image"), *argument).splitlines()[-1]


def vote(make_shop: MakeShop, **settings: Any) -> Shop:
    """The example as a user has it."""
    shop = make_shop("vote", service_network=NETWORK, **settings)
    shop.compose = yaml.safe_load((EXAMPLE / "compose.yaml").read_text())
    first = image(shop.lab, "1")
    (shop.checkout / ".env").write_text(f"REGISTRY={first.rpartition('/')[0]}\n")
    return shop


def get(shop: Shop, path: str, method: str = "GET") -> str:
    asked = urllib.request.Request(f"http://{shop.lab.address('e1')}{path}", method=method)
    with urllib.request.urlopen(asked, timeout=10) as answer:  # noqa: S310 - the lab's own address
        return str(answer.read().decode())


def totals_after_a_vote(shop: Shop) -> str:
    """Votes, and returns the totals that are shown then; empty while something does not answer."""
    try:
        get(shop, "/cgi-bin/vote?dogs", "POST")
        found = re.search(r"cats \d+, dogs \d+", get(shop, "/result/"))
    except OSError:
        return ""
    return found[0] if found else ""


def where(shop: Shop) -> dict[str, set[str]]:
    """Service -> hosts that run it."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for place in shop.containers():
        host, _, container = place.partition("/")
        found[re.sub(rf"^{shop.name}-(.*)-\d+-[0-9a-f]{{8}}(-\d+)?$", r"\1", container)].add(host)
    return dict(found)


def fragment(shop: Shop, host: str) -> str:
    return shop.lab.on(host, "sh", "-c", f"cat /var/lib/gitops/{shop.name}/haproxy.cfg 2>/dev/null || :")


def heard(shop: Shop, host: str) -> set[str]:
    """The services whose addresses a host serves."""
    found = re.findall(
        rf"^frontend {shop.name}\.(\w+)\.at\d+\n    bind 198\.19\.", fragment(shop, host), re.MULTILINE
    )
    return set(found)


def sync(shop: Shop) -> dict[str, Any]:
    result = shop.sync()
    assert (result["exit"], result["outcome"]) == (0, "succeeded"), result
    return result


def ask(shop: Shop, container: str, url: str) -> tuple[int, str]:
    """What a container gets at a URL: exit code and answer of wget."""
    host, _, name = container.partition("/")
    engine = next(each["engine"] for each in shop.lab.data["hosts"] if each["name"] == host)
    line = f"{engine} exec {name} timeout 5 wget -q -O - {url} 2>/dev/null; echo $?"
    *answer, code = shop.lab.on(host, "sh", "-c", line).splitlines()
    return int(code), "\n".join(answer)


def test_five_services_on_different_hosts_find_each_other_by_name(make_shop: MakeShop) -> None:
    shop = vote(make_shop)
    shop.push("first")
    sync(shop)
    there = where(shop)
    assert len(set.union(*there.values())) == 5, "on all hosts, the one with Podman too"
    assert len({*there["queue"], *there["worker"], *there["db"]}) > 1

    for choice in ("cats", "dogs", "cats"):
        get(shop, f"/cgi-bin/vote?{choice}", "POST")
    until(lambda: "cats 2, dogs 1" in get(shop, "/"), 20, "the votes are counted")
    assert "cats 2, dogs 1" in get(shop, "/result/")

    services = {"page", "queue", "db", "result"}  # the worker listens on nothing
    for host in set.union(*there.values()):
        runs = {name for name, hosts in there.items() if host in hosts}
        assert heard(shop, host) == {name for name in services if runs - {name}}, (host, runs)
    assert shop.read("plan", shop.name)["changes"] == 0

    # The service in the middle is replaced while the page asks it.
    second = image(shop.lab, "2")
    shop.compose["services"]["result"]["image"] = second
    before = shop.containers()
    shop.push("a new result")
    with Load(shop.lab.address("e1"), clients=2, pause_s=0.1) as load:
        sync(shop)
    assert load.report.requests > 0
    assert not load.report.failures, load.report
    assert "result 2 on" in get(shop, "/result/")
    replaced = {place for place, what in shop.containers().items() if before.get(place) != what}
    assert all("vote-result-" in place for place in replaced), replaced
    assert len(replaced) == 2

    # More of it: every consumer has the new ones.
    shop.compose["services"]["result"]["deploy"]["replicas"] = 4
    shop.push("more results")
    sync(shop)
    for host in set.union(*(hosts for name, hosts in where(shop).items() if name != "result")):
        assert fragment(shop, host).count("    server vote-result-") == 4

    # A host that reboots finds and is found again, with no controller at work.
    rebooted = min(there["queue"])
    shop.lab.run("stop", rebooted)
    shop.lab.run("start", rebooted)
    first = until(lambda: totals_after_a_vote(shop), 60, "all answer again")
    until(lambda: totals_after_a_vote(shop) not in {"", first}, 60, "votes are counted again")

    # A host that has lost its route is told of, and nothing is touched.
    host, route = min(there["page"]), ("local", NETWORK, "dev", "lo")
    shop.lab.on(host, "ip", "route", "delete", *route)
    refused = shop.gitops("sync", shop.name)
    assert refused.returncode == 1
    assert f"ip route replace {' '.join(route)}" in refused.stderr
    faults = [
        check for check in json.loads(shop.gitops("doctor", "-o", "json").stdout)["checks"] if not check["ok"]
    ]
    assert [(fault["host"], fault["check"]) for fault in faults] == [(host, "service network")]
    shop.lab.on(host, "ip", "route", "replace", *route)
    assert shop.sync()["outcome"] == "nothing"

    # An application without anything leaves nothing.
    shop.compose = {"services": {}}
    shop.push("nothing")
    done = shop.gitops("sync", shop.name, "--confirm", "-o", "json")
    assert done.returncode == 0, done.stderr
    assert not shop.containers()
    for host in ("e1", *there["page"], *there["db"]):
        assert fragment(shop, host) == ""
        assert "vote" not in shop.haproxy_cfg(host)


def down(shop: Shop, servers: set[str]) -> bool:
    """Whether the load balancer's own check has found all of these servers down."""
    states = {words[1]: words[17] for words in shop.servers()}
    return all(states.get(server) == "DOWN" for server in servers)


def test_the_vote_goes_on_without_a_host_that_is_cut_off_and_loses_its_power(make_shop: MakeShop) -> None:
    shop = vote(make_shop, host_lost_after="8s")
    shop.push("first")
    sync(shop)

    def placed(service: str) -> set[str]:
        return where(shop).get(service, set())

    def moved() -> bool:
        last = shop.deployments()[0]
        return last.heals and last.outcome == "succeeded"

    there = where(shop)
    bound = there["queue"] | there["db"]  # what has its data there waits
    gone = min((there["page"] | there["result"]) - bound)
    runs = {service for service, hosts in there.items() if gone in hosts}
    served = {
        name
        for host, _, name in (place.partition("/") for place in shop.containers())
        if host == gone and name.startswith(("vote-page-", "vote-result-"))
    }
    edge = shop.lab.address("e1")
    with shop.serving(), Load(edge, clients=2, pause_s=0.05) as load:
        until(lambda: load.report.requests > 50, 30, "load")
        cut_at = monotonic()
        shop.lab.run("cut", gone)
        try:
            until(lambda: down(shop, served), 20, f"the failed checks of {served}")
            detected = monotonic()
            with Load(edge, clients=2, pause_s=0.05) as since:
                first = until(lambda: totals_after_a_vote(shop), 5, "all answer again")
                served_s = monotonic() - detected
                shop.lab.run("stop", gone)
                off_at = monotonic()
                shop.until(moved, 45, "the move")
                moved_s = monotonic() - off_at
                until(lambda: totals_after_a_vote(shop) not in {"", first}, 30, "votes are counted again")
            assert not since.report.failures, since.report
            assert load.report.failed <= load.clients, "only what was on its way to the host is lost"
            assert all(gone not in placed(service) for service in runs)
            assert len(placed("page")) == len(placed("result")) == 2
        finally:
            shop.lab.run("mend", gone)
            shop.lab.run("start", gone)
        back_at = monotonic()
        shop.until(lambda: len(shop.containers()) == 7, 90, "leftovers go")
        print(  # noqa: T201 - a measurement, with pytest -s
            f"cut off: found out after {detected - cut_at:.1f} s, all served {served_s:.1f} s later; "
            f"moved {moved_s:.1f} s after the power went; leftovers gone {monotonic() - back_at:.1f} s after "
            f"the return; {load.report.failed} requests of {load.report.requests} failed, "
            f"{since.report.failed} of {since.report.requests} that began after it was found out"
        )
        assert load.report.failed <= load.clients, load.report
    assert totals_after_a_vote(shop)


def test_another_application_finds_only_what_is_exposed_to_it(make_shop: MakeShop) -> None:
    pub, sub = make_shop("pub", service_network=NETWORK), make_shop("sub", service_network=NETWORK)
    plain = {
        "image": pub.image("1"),
        "init": True,
        "expose": ["80"],
        "deploy": {"update_config": {"monitor": "500ms"}},
    }
    pub.compose = {"services": {"api": {**plain, "x-expose-to": ["sub"]}, "db": plain}}
    pub.push("first")
    sync(pub)
    sub.compose = {"services": {"web": {**plain, "expose": [], "command": SLEEPS}}}
    sub.push("first")
    sync(sub)
    (web,) = sub.containers()
    assert pub.sync()["outcome"] == "succeeded", "brings its address to the consumer's host"
    assert ask(sub, web, "http://pub.api/") == (0, "1")
    for name in ("pub.db", "api", "db"):
        assert ask(sub, web, f"http://{name}/")[0] != 0, name
    assert heard(pub, web.partition("/")[0]) >= {"api"}

    del pub.compose["services"]["api"]["x-expose-to"]
    pub.push("not for others any more")
    sync(pub)
    sync(sub)
    (web,) = sub.containers()
    assert ask(sub, web, "http://pub.api/")[0] != 0
