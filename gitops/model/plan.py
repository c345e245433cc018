"""The plan: ordered steps from observed to desired. It prints, renders and runs; nothing decides after it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gitops.model.fleet import Fleet, Host
from gitops.model.placement import SPREAD, Scheduler
from gitops.model.stack import Job, Judge, Stack, When

Action = Literal["pull", "run", "start", "keep", "switch", "judge", "drain", "stop", "remove", "record"]


@dataclass(frozen=True)
class Start:
    """One container to create, start and wait for: until it is healthy, or a job until its end."""

    service: str
    slot: int
    host: str
    container: str  # name; also the name of its HAProxy server
    ports: tuple[tuple[int, int], ...]  # (container port, allotted host port), sorted
    reason: str  # "image changed: a -> b", "replica missing", "scaled 2 -> 4", "container exited (1)" ...
    replaces: str = ""  # name of the container that it takes over from, else empty, as for a job
    job: Job | None = None  # what it is, if it is a job


@dataclass(frozen=True)
class Retire:
    """One container to drain, stop and remove."""

    service: str
    slot: int
    host: str
    container: str
    reason: str
    grace_s: float  # for running requests to end, then between the stop signal and the kill
    successor: str = ""
    """The container that must have stood its monitor window first: what takes over from this
    one, or with stop-first one of the batch before."""
    successor_host: str = ""
    served: bool = False  # whether it is in HAProxy


@dataclass(frozen=True)
class Keep:
    """One container that is left untouched."""

    service: str
    slot: int
    host: str
    container: str
    reason: str = "unchanged"
    bound: bool = False  # whether its host is to be empty, and its data keeps it there


@dataclass(frozen=True)
class Absent:
    """One host that the plan goes on without, because it cannot be reached."""

    host: Host
    reason: str  # why, as whoever asked it was told


@dataclass(frozen=True)
class Server:
    """One server of a backend, as a fragment prints it."""

    name: str  # container name
    address: str  # host address
    port: int  # host port
    weight: int | None = None  # 0 to 256, where two versions share the requests; None: all are alike


@dataclass(frozen=True)
class Backend:
    """One target port of one service with the servers that it has at that moment."""

    service: str
    target: int  # container port
    servers: tuple[Server, ...]  # sorted by name


@dataclass(frozen=True)
class Role:
    """What one HAProxy serves of an application."""

    edge: bool = True  # routes and published ports, for clients from outside
    services: tuple[str, ...] = ()  # those at whose addresses consumers on its host find them, sorted


@dataclass(frozen=True)
class HostChange:
    """What is put right on one host beside its containers: what the edge serves, or a file."""

    host: str
    reason: str  # "server shop-web-1-0a1b2c3d disabled (MAINT)", "release file missing" ...
    follows: bool = False  # whether it may come of what changes among the containers


@dataclass(frozen=True)
class Place:
    """Hosts whose HAProxy serves the same of an application: the edge, or hosts that run the same consumers.

    Attributes:
        folder: of its fragments, in the run folder.
        hosts: their names, sorted.
        role: what it serves during the rollout: for what runs before or after it.
        after: what it serves in the end.
        opens: whether a service's address is to be served there that is not yet.
        network: the service network, where it is not known that all of them take it for their own.
        changes: what of their fragments, files or running HAProxy is not as in the end.
    """

    folder: str
    hosts: tuple[str, ...]
    role: Role = Role()
    after: Role = Role()
    opens: bool = False
    network: str = ""
    changes: tuple[HostChange, ...] = ()

    @property
    def differs(self) -> bool:
        """Whether something of one of them is not as in the end."""
        return bool(self.changes)


@dataclass(frozen=True)
class Share:
    """What some containers of a service get of its requests; the others that are served get the rest."""

    percent: int
    containers: tuple[str, ...]  # names


@dataclass(frozen=True)
class Trial:
    """A new version with a share of the requests, judged by the edge's counters."""

    new: tuple[tuple[str, str], ...]  # (host, container), sorted
    old: tuple[str, ...]  # containers to compare with, sorted
    pause_s: float  # how long, where it is not manual
    manual: bool  # until a person lets it go on
    judge: Judge


@dataclass(frozen=True)
class StartPhase:
    """Part of a batch: start containers side by side, wait until each is healthy, then switch them in.

    Jobs are run to their ends instead. Everything waits for what is pre-deploy; what is
    post-deploy waits until all that serves has been switched in and stood its monitor window.
    """

    batch: int  # from 1
    starts: tuple[Start, ...]
    backends: tuple[Backend, ...] | None  # what the edge serves afterwards; None leaves it alone
    share: Share | None = None  # of the new containers from then on; None where all are alike
    when: When = "in-order"


@dataclass(frozen=True)
class ShiftPhase:
    """The edge shares a service's requests out anew; what gets them is then on trial, or known to be good."""

    batch: int  # from 1
    service: str
    share: Share
    backends: tuple[Backend, ...] | None  # what the edge serves from then on; None leaves it alone
    trial: Trial | None = None  # must end well before anything else is done
    undone: tuple[Backend, ...] = ()  # what the edge serves at once where it does not
    when: When = "in-order"


@dataclass(frozen=True)
class RetirePhase:
    """Part of a batch: wait for the monitor window, drain at the edge, stop and remove side by side."""

    batch: int  # from 1
    retires: tuple[Retire, ...]
    backends: tuple[Backend, ...] | None  # what the edge serves while they drain; None leaves it alone
    when: When = "in-order"


Phase = StartPhase | ShiftPhase | RetirePhase


@dataclass(frozen=True)
class Spared:
    """One slot that stays on what it had: its new container failed, which is tolerated."""

    service: str
    slot: int
    reason: str


@dataclass(frozen=True)
class Relapse:
    """One slot that has been healed lately, perhaps again and again."""

    service: str
    slot: int
    rests: str = ""  # why it is left alone for now; empty: it is healed at once, by a new container


@dataclass(frozen=True)
class Pull:
    """One image that one host needs before the first container is touched."""

    host: str
    image: str


@dataclass(frozen=True)
class Plan:
    """The way from what runs to what one commit says.

    `phases` run strictly one after the other. A plan with no pulls, no phases
    and no edge change is empty: nothing to do.
    """

    app: str
    stack: Stack  # the desired state
    fleet: Fleet  # the hosts that take part
    from_commit: str  # last good commit, or empty
    pulls: tuple[Pull, ...] = ()
    keeps: tuple[Keep, ...] = ()
    phases: tuple[Phase, ...] = ()
    before: tuple[Backend, ...] = ()  # what the edge and the nodes serve before the first phase
    backends: tuple[Backend, ...] = ()  # and at the end
    places: tuple[Place, ...] = ()  # what has a HAProxy; the edge first
    edge_changes: tuple[HostChange, ...] = ()  # what of some HAProxy differs from its final state
    records: tuple[HostChange, ...] = ()  # hosts whose release file does not say what runs
    rollback: bool = False  # whether it leads back: the services' `rollback_config` holds
    previous: Stack | None = None  # what runs before, for the routes of services until they are removed
    absent: tuple[Absent, ...] = ()  # hosts of the fleet that take no part, by name
    spared: tuple[Spared, ...] = ()  # slots that stay on what they had
    out: tuple[tuple[str, str], ...] = ()  # hosts that are to be empty, with why, by name
    waiting: tuple[Spared, ...] = ()  # slots of such a host that is lost, for which there is no room
    scheduler: Scheduler = SPREAD  # how the hosts are filled
    relapses: tuple[Relapse, ...] = ()  # slots that have been healed lately
    resting: tuple[Relapse, ...] = ()  # those of them that need healing, and are left alone for now

    @property
    def commit(self) -> str:
        """The commit that the plan leads to."""
        return self.stack.commit

    @property
    def whole_fleet(self) -> Fleet:
        """The fleet with the hosts that are absent."""
        hosts = (*self.fleet.hosts, *(absent.host for absent in self.absent))
        return Fleet(tuple(sorted(hosts, key=lambda host: host.name)))

    @property
    def degraded(self) -> str:
        """Which hosts and slots it goes on without, and why, a line each; empty where all take part."""
        lines = [f"degraded, without {absent.host.name}: {absent.reason}" for absent in self.absent]
        lines += [
            f"degraded, {each.service}.{each.slot} stays as it was: {each.reason}" for each in self.spared
        ]
        lines += [
            f"degraded, {each.service}.{each.slot} finds no room: {each.reason}" for each in self.waiting
        ]
        lines += [f"degraded, {each.service}.{each.slot}: {each.rests}" for each in self.resting]
        return "\n".join(lines)

    @property
    def notes(self) -> str:
        """What is not as it might be: `degraded`, and what stays on a host that is to be empty."""
        stays = [f"{keep.service}.{keep.slot} {keep.reason}" for keep in self.bound]
        return "\n".join([*([self.degraded] if self.degraded else []), *stays, *self.volume_notes])

    @property
    def volume_notes(self) -> tuple[str, ...]:
        """What a service loses sight of where it names other volumes than before: no data is moved."""
        lines = []
        for service in self.stack.services:
            before = self.previous.service(service.name) if self.previous else None
            new = sorted(set(service.volumes) - set(before.volumes)) if before else []
            left = sorted(set(before.volumes) - set(service.volumes)) if before else []
            if new and left:
                hosts = sorted({retire.host for retire in self.retires if retire.service == service.name})
                stays = f"stays{' on ' + ', '.join(hosts) if hosts else ''}, unused by {service.name}"
                lines.append(
                    f"volume {', '.join(new)} of {service.name} is new and empty; {', '.join(left)} {stays}"
                )
        return tuple(lines)

    @property
    def missed(self) -> int:
        """How many of the absent hosts are tolerated: all but those that are to be empty anyway."""
        out = dict(self.out)
        return sum(absent.host.name not in out for absent in self.absent)

    @property
    def bound(self) -> tuple[Keep, ...]:
        """What waits on a host that is to be empty, because its data lies there."""
        return tuple(keep for keep in self.keeps if keep.bound)

    @property
    def starts(self) -> tuple[Start, ...]:
        """All containers to start, in order."""
        return tuple(s for phase in self.phases if isinstance(phase, StartPhase) for s in phase.starts)

    @property
    def retires(self) -> tuple[Retire, ...]:
        """All containers to remove, in order."""
        return tuple(r for phase in self.phases if isinstance(phase, RetirePhase) for r in phase.retires)

    @property
    def changes(self) -> int:
        """How many containers are started or removed; what is put right beside them counts as one."""
        return len(self.starts) + len(self.retires) or int(bool(self.edge_changes or self.records))

    @property
    def at_the_edge_alone(self) -> bool:
        """Whether nothing but what load balancers and nodes have or run is put right."""
        return bool(self.edge_changes) and not (self.starts or self.retires or self.records)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return self.changes == 0


@dataclass(frozen=True)
class Step:
    """One line of a plan as `gitops plan` prints it."""

    batch: int  # 0 for what happens before the first batch, and for what is kept
    action: Action
    service: str
    slot: int
    host: str
    reason: str
