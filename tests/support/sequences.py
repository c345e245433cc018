"""Sequences of commits of one application on a real load balancer, with a fault in the middle of some.

Planner, renderer, graph of steps and what they do at HAProxy are the project's own; only containers are
programs of this process. So a deployment takes a tenth of a second, and hundreds can be drawn.
"""

from __future__ import annotations

import http.client
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self, cast

from support.controllers import machine, opened
from support.labs import Lab
from support.programs import Programs
from support.shop import until

from gitops.channel import Channel, Proxy
from gitops.channel.failures import UnreachableError
from gitops.errors import GitopsError
from gitops.execute import runner
from gitops.model.edge import CONFIG, PORTS_MAP, ROUTES_MAP
from gitops.model.fleet import CONTAINER_HOSTS, LOAD_BALANCERS, Fleet, Host
from gitops.model.observed import Container, Observed, ObservedHost, Release
from gitops.model.plan import Plan, Start
from gitops.model.stack import ContainerSpec, Ingress, Publish, Service, Stack, UpdateConfig
from gitops.observe.hosts import observe
from gitops.plan import make_plan
from gitops.render.deployment import deployment
from gitops.render.edge import assemble, assembled
from gitops.render.haproxy import fragment
from gitops.render.playbook import plays
from gitops.tasks.edge import Target, apply
from gitops.tasks.outcome import Outcome
from gitops.tasks.rollout import Rollout, roll_out
from gitops.tasks.walk import Step
from gitops.verify import difference

APP, NEIGHBOUR = "seq", "seqother"
PORTS = (8080, 9090)
HTTP, PUBLISHED = 80, 7001
WAIT_S = 0.7  # for HAProxy's check of what never listens; its checks come each 0.1 s
SETTLE_S = 20.0
Where = tuple[str, str, int]
"""Host, path and port of the edge."""

FAULTS = ("before", "after", "checks", "killed", "restarted", "stopped", "cut")
EXPLAIN = frozenset({"killed", "restarted", "stopped", "cut"})
"""Faults by which connections break: only an answer with a wrong status counts then."""


@dataclass
class Fault:
    """One fault, at one of the things that are done to the load balancer.

    Attributes:
        kind: of FAULTS.
        at: how many of those things are done before it.
        act: what it does to the machine; for the kinds that do something.
        done: things so far.
        struck: whether it has happened.
    """

    kind: str
    at: int
    act: Callable[[], None]
    done: int = 0
    struck: bool = False

    def around(self, work: Callable[[], Any]) -> Any:
        """Does one thing, unless the fault has cut the way to the load balancer."""
        self.done += 1
        if self.struck and self.kind in {"before", "after"}:
            raise UnreachableError("cut off by the test")
        if self.done <= self.at or self.struck or self.kind == "checks":
            return work()
        self.struck = True
        if self.kind == "before":
            raise UnreachableError("cut off by the test")
        if self.kind == "after":
            work()
            raise UnreachableError("cut off by the test")
        self.act()
        return work()


class _Proxy(Proxy):
    """HAProxy's sockets, of which each command that changes something may meet the fault."""

    def __init__(self, real: Proxy, fault: Fault) -> None:
        super().__init__(real._stats, real._master)
        self._fault = fault

    def command(self, text: str, **options: Any) -> str:
        do = super().command
        return str(
            do(text, **options)
            if text.startswith("show ")
            else self._fault.around(lambda: do(text, **options))
        )

    def reload(self, **options: Any) -> None:
        do = super().reload
        self._fault.around(lambda: do(**options))


class _Channel:
    """The way to a load balancer on which the fault waits."""

    def __init__(self, real: Channel, fault: Fault) -> None:
        self._real, self._fault = real, fault

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def ask(self, script: str, **options: Any) -> Any:
        do = self._real.ask
        if not options.get("text"):
            return do(script, **options)
        return self._fault.around(lambda: do(script, **options))

    def proxy(self) -> Proxy:
        return _Proxy(self._real.proxy(), self._fault)


class Asking:
    """Clients that keep asking for whatever must be answered at the moment."""

    def __init__(self, address: str, clients: int = 3) -> None:
        self._address = address
        self._mutex = threading.Condition()
        self._wanted: dict[Where, frozenset[str]] = {}
        self._busy = 0
        self._end = False
        self.requests = 0
        self.failures: Counter[str] = Counter()
        self.broken: Counter[str] = Counter()  # connections, not answers
        self._threads = [threading.Thread(target=self._go_on, args=(n,), daemon=True) for n in range(clients)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._mutex:
            self._end = True
        for thread in self._threads:
            thread.join(30)

    def now(self, wanted: Mapping[Where, frozenset[str]]) -> None:
        """From now on these are asked for; returns when nobody waits for an answer of before."""
        with self._mutex:
            self._wanted = {}
            self._mutex.wait_for(lambda: not self._busy, timeout=30)
            self._wanted = dict(wanted)

    def _go_on(self, number: int) -> None:
        draw = random.Random(number)  # noqa: S311 - which route is asked for
        while True:
            with self._mutex:
                if self._end:
                    return
                wanted = sorted(self._wanted.items())
                self._busy += bool(wanted)
            if wanted:
                where, bodies = draw.choice(wanted)
                self._count(where, bodies, ask(self._address, where))
            time.sleep(0.004)  # between two requests of a client

    def _count(self, where: Where, bodies: frozenset[str], answer: tuple[int, str]) -> None:
        status, body = answer
        with self._mutex:
            self._busy -= 1
            self._mutex.notify_all()
            self.requests += 1
            if status == 0:
                self.broken[f"{where}: {body}"] += 1
            elif status != http.client.OK or body not in bodies:
                self.failures[f"{where}: {status} {body[:60]!r}, wanted {sorted(bodies)}"] += 1


def ask(address: str, where: Where) -> tuple[int, str]:
    """Status and body that the edge answers; 0 and why where the connection broke."""
    host, path, port = where
    connection = http.client.HTTPConnection(address, port, timeout=20)
    try:
        connection.request("GET", path, headers={"Host": host, "Connection": "close"})
        response = connection.getresponse()
        return response.status, response.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return 0, f"{type(error).__name__}: {error}"
    finally:
        connection.close()


class _Played(Rollout):
    """A rollout whose containers are programs of this process."""

    world: World
    plan: Plan

    def perform(self, steps: Sequence[Step]) -> Outcome:
        step = steps[-1]
        match step["do"]:
            case "start":
                self.world.start(self.plan, next(s for s in self.plan.starts if s.container == step["name"]))
            case "remove":
                self.world.remove(step["name"])
            case "switch":
                return super().perform(steps)
        return Outcome(changed=True, message="played")


@dataclass
class World:
    """A container host that is played, a real load balancer, and what was deployed there.

    Attributes:
        lab: whose load balancer e1 is used.
        channel: the way to it.
        programs: what stands for containers.
        folder: for run folders.
        asking: clients.
        stack: what is deployed.
        containers: by name.
    """

    lab: Lab
    channel: Channel
    programs: Programs
    folder: Path
    asking: Asking
    stack: Stack = field(default_factory=lambda: Stack(APP, "0" * 40, ()))
    containers: dict[str, Container] = field(default_factory=dict)
    runs: int = 0

    @property
    def address(self) -> str:
        """Of the host that is played."""
        return self.lab.registry.partition(":")[0]

    @property
    def fleet(self) -> Fleet:
        """The host that is played and the load balancer."""
        return Fleet(
            (
                Host("e1", self.lab.address("e1"), (LOAD_BALANCERS,)),
                Host("h1", self.address, (CONTAINER_HOSTS,)),
            )
        )

    def observed(self) -> Observed:
        """What both report."""
        edge = observe({"e1": self.channel}, Fleet(self.fleet.load_balancers)).hosts[0]
        release = (Release(APP, self.stack.commit, "d"),)
        ports = tuple(sorted(port for c in self.containers.values() for _, port in c.ports))
        host = ObservedHost(
            "h1",
            reachable=True,
            engine="docker 26.1.0",
            containers=tuple(self.containers.values()),
            ports_used=ports,
            releases=release,
        )
        return Observed((replace(edge, releases=release), host))

    def start(self, plan: Plan, start: Start) -> None:
        """Starts one container: its program listens where its image does."""
        if start.container in self.containers:
            return  # of a rollout that broke off
        service = plan.stack.service(start.service)
        assert service is not None
        listens = listening(service)
        self.programs.start(
            start.container,
            {port: said(service) for target, port in start.ports if target in listens},
        )
        self.containers[start.container] = Container(
            id=start.container,
            name=start.container,
            host="h1",
            app=APP,
            service=start.service,
            slot=start.slot,
            spec=service.container.digest,
            commit=plan.commit,
            image=service.container.image,
            state="running",
            ports=tuple(sorted(start.ports)),
        )

    def remove(self, name: str) -> None:
        """Stops and removes one."""
        self.programs.stop(name)
        self.containers.pop(name, None)

    def plan(self, stack: Stack, previous: Stack, *, back: bool = False) -> Plan:
        """As `gitops.planning` makes it."""
        return make_plan(
            stack,
            self.fleet,
            self.observed(),
            previous=previous,
            rollback=back,
            fragment=fragment,
            config=assembled,
        )

    def carry_out(self, plan: Plan, fault: Fault | None = None) -> None:
        """Runs a plan's steps, and verifies what they have led to."""
        if not plan.empty:
            self.runs += 1
            folder = self.folder / str(self.runs)
            runner.write(deployment(plan, deployment_id="d"), folder)
            steps = [dict(row.data) for row in plays(plan)[1].tasks[0].arguments["steps"]]
            if fault and fault.kind == "checks":
                steps = [{**step, "wait_s": WAIT_S} if "wait_s" in step else step for step in steps]
            way = cast("Channel", _Channel(self.channel, fault)) if fault else self.channel
            rollout = _Played(folder, APP, "release.json", {"e1": way}, ["e1"], lambda *_: None)
            rollout.world, rollout.plan = self, plan
            roll_out(rollout, steps)
        self.verify(plan)

    def verify(self, plan: Plan) -> None:
        """Waits until hosts and load balancer are as the plan leads to."""
        deadline = time.monotonic() + SETTLE_S
        while problem := difference(plan, self.observed()):
            assert time.monotonic() < deadline, problem
            time.sleep(0.02)

    # --- what must hold ---

    def holds(self, stack: Stack) -> None:
        """File = running = plan = what is answered."""
        self.stack = stack
        again = self.plan(stack, stack)
        assert again.empty, (again.starts, again.retires, again.edge_changes)
        edge = self.observed().host("e1")
        assert edge is not None
        assert edge.running is not None
        files = assemble(dict(edge.fragments))
        on_disk = [self.channel.read(path) for path in (CONFIG, ROUTES_MAP, PORTS_MAP)]
        assert on_disk == [text.encode() for text in (files.config, files.routes, files.ports)]
        assert dict(edge.running.routing) == files.routing
        assert edge.running.mark == files.mark
        wanted = answers(stack)
        for where, bodies in EVERYWHERE.items():
            status, body = ask(self.lab.address("e1"), where)
            if where in wanted:
                assert (status, body) == (200, wanted[where][1]), where
            elif bodies:
                assert (status, body) == (200, *bodies), where
            else:
                assert status in {0, 503}, (where, status, body)

    def deploy(self, stack: Stack, fault: Fault | None) -> bool:
        """Goes to a stack, or back; whether it went forward."""
        before = self.stack
        self.asking.now(lasting(before, stack) | NEIGHBOURS)
        try:
            self.carry_out(self.plan(stack, before), fault)
        except (GitopsError, AssertionError):
            if fault is None:
                raise
            self.mended()
            self.carry_out(self.plan(before, stack, back=True))
            self.holds(before)
            return False
        self.holds(stack)
        return True

    def mended(self) -> None:
        """Waits until the load balancer answers again."""
        self.lab.run("mend", "e1")

        def answers_again() -> bool:
            with suppress(GitopsError):
                return bool(self.observed().hosts[0].running)
            return False

        until(answers_again, 60, "the load balancer")


def service(name: str, version: int, draw: random.Random) -> Service:
    """A service whose image listens on one port, and routes to it."""
    port = draw.choice(PORTS)
    hosts = draw.sample(["a.test", "b.test", ""], draw.randint(1, 3))
    path = "/" if name == "web" else draw.choice(["/api", "/api/v2"])
    ingress = tuple(Ingress(port, host, path) for host in sorted(hosts))
    publish = (Publish(PUBLISHED, port),) if name == "web" and draw.random() < 0.5 else ()
    spec = ContainerSpec(f"{name}:{version}-{port}", target_ports=(port,))
    update = UpdateConfig(parallelism=draw.choice((0, 1, 2)), monitor_s=0.0)
    return Service(name, spec, replicas=draw.randint(1, 3), update=update, ingress=ingress, publish=publish)


def broken(found: Service) -> Service:
    """The service with a port on which its image does not listen."""
    (port,) = found.container.target_ports
    other = next(each for each in PORTS if each != port)
    return replace(
        found,
        container=replace(found.container, target_ports=(other,)),
        ingress=tuple(replace(each, port=other) for each in found.ingress),
        publish=tuple(replace(each, target=other) for each in found.publish),
    )


def listening(found: Service) -> tuple[int, ...]:
    """The port on which its image listens."""
    return (int(found.container.image.rpartition("-")[2]),)


def said(found: Service) -> str:
    """What its containers answer."""
    return found.container.image


def answers(stack: Stack) -> dict[Where, tuple[str, str]]:
    """Which route answers, and what, of all that is ever asked for."""
    found: dict[Where, tuple[str, str]] = {}
    for host, path, port in EVERYWHERE.keys() - NEIGHBOURS.keys():
        fits = [
            ((bool(route.host), len(route.path)), f"{route.host}{route.path}", said(each))
            for each in stack.services
            for route in each.ingress
            if port == HTTP
            and route.host in {"", host}
            and f"{path}/".startswith(f"{route.path.rstrip('/')}/")
        ]
        fits += [
            ((True, 0), str(port), said(each))
            for each in stack.services
            for publish in each.publish
            if publish.published == port
        ]
        if fits:
            _, route_key, body = max(fits)
            found[host, path, port] = route_key, body
    return found


def lasting(before: Stack, after: Stack) -> dict[Where, frozenset[str]]:
    """What is answered by the same route under both commits, and by whom while one becomes the other.

    A route that moves to another service leads to whatever runs of that one.
    """
    then, now = answers(before), answers(after)
    return {
        where: frozenset(
            said(each)
            for body in (then[where][1], now[where][1])
            for each in (before.service(name_in(body)), after.service(name_in(body)))
            if each
        )
        for where in then.keys() & now.keys()
        if then[where][0] == now[where][0]
    }


def name_in(body: str) -> str:
    """The service that has answered."""
    return body.partition(":")[0]


ANY = ("c.test", "/")
EVERYWHERE: dict[Where, frozenset[str]] = {
    **{
        (host, path, 80): frozenset()
        for host in ("a.test", "b.test", "c.test")
        for path in ("/", "/api", "/api/v2/x")
    },
    (*ANY, PUBLISHED): frozenset(),
    ("other.test", "/", 80): frozenset({NEIGHBOUR}),
}
NEIGHBOURS: dict[Where, frozenset[str]] = {("other.test", "/", 80): frozenset({NEIGHBOUR})}


def drawn(draw: random.Random, version: int, before: Stack) -> Stack:
    """Another commit: some services as they were, some changed, some gone or new."""
    services: list[Service] = []
    for name in ("web", "api", "old"):
        there = before.service(name)
        if name != "web" and draw.random() < 0.35:
            continue
        kept = there is not None and draw.random() < 0.3
        services.append(there if kept and there is not None else service(name, version, draw))
    taken: set[tuple[str, str]] = set()
    unique = []
    for each in services:
        mine = tuple(i for i in each.ingress if (i.host, i.path) not in taken)
        taken |= {(i.host, i.path) for i in mine}
        unique.append(replace(each, ingress=mine) if mine else None)
    return Stack(APP, f"{version:040d}", tuple(each for each in unique if each))


@contextmanager
def world(lab: Lab, folder: Path) -> Iterator[World]:
    """The load balancer of a lab with another application beside, and clients."""
    with ExitStack() as ending:
        channel = ending.enter_context(opened(machine(lab, "e1")))["e1"]
        address = lab.registry.partition(":")[0]
        programs = ending.enter_context(Programs(address))
        asking = ending.enter_context(Asking(lab.address("e1")))
        it = World(lab, channel, programs, folder, asking)
        programs.start("neighbour", {19999: NEIGHBOUR})
        text = NEIGHBOUR_FRAGMENT.format(app=NEIGHBOUR, address=address)
        apply(channel, Target(NEIGHBOUR, text))
        try:
            yield it
        finally:
            asking.now({})
            it.mended()
            it.carry_out(it.plan(Stack(APP, "f" * 40, ()), it.stack))
            apply(channel, Target(NEIGHBOUR, ""))
            channel.run(f"rm -rf /var/lib/gitops/{APP} /var/lib/gitops/{NEIGHBOUR}")


NEIGHBOUR_FRAGMENT = """\
# managed by ansible-gitops: application {app}
route other.test / {app}.web.80

backend {app}.web.80
    mode http
    balance leastconn
    default-server check inter 500ms fastinter 100ms downinter 100ms fall 2 rise 1
    server neighbour {address}:19999
"""


def run(it: World, seed: int, commits: int = 3) -> str:
    """One sequence; what happened, in a line.

    Raises:
        AssertionError: something did not hold.
    """
    draw = random.Random(seed)  # noqa: S311 - a test that can be repeated
    happened = []
    for _ in range(commits):
        version = seed * 10 + len(happened)
        stack = drawn(draw, version, it.stack)
        fault = None
        if draw.random() < 0.7:
            kind = draw.choices(FAULTS, weights=(6, 6, 4, 3, 3, 2, 0.3))[0]
            fault = Fault(kind, draw.randint(0, 12), acts(it, kind))
            if kind == "checks":
                stack = replace(
                    stack, services=tuple(broken(s) if s.name == "web" else s for s in stack.services)
                )
        forward = it.deploy(stack, fault)
        assert forward or fault, stack
        assert not (forward and fault and fault.kind == "checks" and it.stack.service("web")), (
            "it cannot serve"
        )
        happened.append(f"{fault.kind}@{fault.at}{'' if fault.struck else '-'}" if fault else "well")
        happened[-1] += ">" if forward else "<"
        it.asking.now(NEIGHBOURS)
        explained = fault.kind if fault else ""
        # An edge that is cut reaches no server either.
        assert not it.asking.failures or explained == "cut", (happened, it.asking.failures)
        assert not it.asking.broken or explained in EXPLAIN, (happened, it.asking.broken)
        it.asking.failures.clear()
        it.asking.broken.clear()
    return " ".join(happened)


def acts(it: World, kind: str) -> Callable[[], None]:
    """What a fault does to the load balancer."""

    def signal(name: str) -> None:
        it.lab.on("e1", "sh", "-c", f"kill -{name} $(cat /run/haproxy.pid)", check=False)

    def stopped() -> None:
        it.lab.on("e1", "sh", "-c", "pkill -STOP -x haproxy")
        threading.Timer(0.5, lambda: it.lab.on("e1", "sh", "-c", "pkill -CONT -x haproxy")).start()

    return {
        "killed": lambda: it.lab.on("e1", "sh", "-c", "pkill -KILL -x haproxy", check=False) and None,
        "restarted": lambda: signal("TERM"),
        "stopped": stopped,
        "cut": lambda: it.lab.run("cut", "e1") and None,
    }.get(kind, lambda: None)
