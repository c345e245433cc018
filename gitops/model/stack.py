"""Desired state: what one commit says, fully resolved and validated."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Literal

from gitops.model.placement import ANYWHERE, Placement
from gitops.model.size import NOTHING, Size

SERVICE_NETWORK = "10.96.0.0/16"
"""Where services have their addresses, unless gitops.yaml says otherwise."""

HTTP_PORT = 80
"""The port of the edge that all applications share: what is published there is HTTP."""

Order = Literal["start-first", "stop-first"]
FailureAction = Literal["rollback", "pause", "continue"]
Mode = Literal["replicated", "global"]
Condition = Literal["service_started", "service_healthy", "service_completed_successfully"]
When = Literal["pre-deploy", "in-order", "post-deploy"]
Strategy = Literal["rolling", "canary", "blue-green"]
Metric = Literal[
    "sessions_per_replica", "requests_per_replica", "queue_per_replica", "response_ms", "cpu", "memory"
]


@dataclass(frozen=True)
class Mount:
    """One entry of `volumes` or `tmpfs`."""

    kind: Literal["volume", "bind", "tmpfs"]
    target: str  # absolute path in the container
    source: str = ""  # volume name as in the Compose file, or an absolute host path for a bind
    read_only: bool = False
    tmpfs_size: int = 0  # bytes; 0 means no limit
    tmpfs_mode: int = 0  # permission bits; 0 means the engine's default
    options: tuple[str, ...] = ()  # further mount options, such as `nosuid` or `rshared`


@dataclass(frozen=True)
class Healthcheck:
    """A health check as Compose states it; what is None is left to the image."""

    test: tuple[str, ...] | None = None  # ("CMD", ...), ("CMD-SHELL", "...") or ("NONE",)
    interval_s: float | None = None
    timeout_s: float | None = None
    start_period_s: float | None = None
    start_interval_s: float | None = None
    retries: int | None = None


@dataclass(frozen=True)
class Ulimit:
    """One entry of `ulimits`."""

    name: str
    soft: int
    hard: int


@dataclass(frozen=True)
class Logging:
    """The container's log driver; an empty driver is the engine's default."""

    driver: str = ""
    options: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class RestartPolicy:
    """The engine's restart policy.

    Without `restart` or `deploy.restart_policy` a service is restarted unless
    stopped, as a Swarm service is (condition `any`): it comes back after a reboot.
    """

    name: Literal["no", "always", "unless-stopped", "on-failure"] = "unless-stopped"
    max_attempts: int = 0  # for on-failure; 0 means no limit


@dataclass(frozen=True)
class ContainerSpec:
    """Everything the engine is told of a container; every replica of a service shares it.

    Tuples of pairs are sorted by key, so that equal specs are equal bytes.
    """

    image: str
    command: tuple[str, ...] | None = None  # None leaves the image's own
    entrypoint: tuple[str, ...] | None = None
    environment: tuple[tuple[str, str], ...] = ()
    mounts: tuple[Mount, ...] = ()
    healthcheck: Healthcheck | None = None
    restart: RestartPolicy = RestartPolicy()
    stop_grace_period_s: float = 10.0
    stop_signal: str = ""  # empty leaves the image's own
    user: str = ""
    working_dir: str = ""
    hostname: str = ""
    read_only: bool = False
    init: bool = False
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    security_opt: tuple[str, ...] = ()
    ulimits: tuple[Ulimit, ...] = ()
    sysctls: tuple[tuple[str, str], ...] = ()
    shm_size: int = 0  # bytes; 0 means the engine's default
    extra_hosts: tuple[tuple[str, str], ...] = ()  # (name, address)
    dns: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()  # the user's own; the gitops.* ones are added at render
    logging: Logging = Logging()
    cpu_limit: float = 0.0  # cores; 0 means no limit
    memory_limit: int = 0  # bytes; 0 means no limit
    pids_limit: int = 0  # processes; 0 means no limit
    reserved: Size = NOTHING  # of the host, for placing it; a label tells it of a container
    expose: tuple[int, ...] = ()  # container ports, TCP
    target_ports: tuple[int, ...] = ()  # container ports that the edge balances over (ingress and ports)
    host_ports: tuple[tuple[int, int, str], ...] = ()  # (host port, container port, tcp|udp): `mode: host`

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of the whole spec: the label `gitops.spec`. Same spec, same digest."""
        said = asdict(self)
        if self.reserved == NOTHING:  # the digest of before there were any: an upgrade replaces nothing
            del said["reserved"]
        canonical = json.dumps(said, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


@dataclass(frozen=True)
class Ingress:
    """`x-ingress`: HTTP routing at the edge, port 80."""

    port: int  # container port
    host: str = ""  # empty answers any host name
    path: str = "/"  # prefix, matched at path segment boundaries


@dataclass(frozen=True)
class Publish:
    """`ports: "8080:80"`: TCP at the edge, balanced over the replicas."""

    published: int  # port of the edge
    target: int  # container port


@dataclass(frozen=True)
class UpdateConfig:
    """`deploy.update_config` or `deploy.rollback_config` with Swarm's meaning."""

    parallelism: int = 1  # replicas a batch; 0 means all at once
    order: Order = "start-first"
    monitor_s: float = 5.0  # a new replica that fails within this time counts as failed
    failure_action: FailureAction = "rollback"
    delay_s: float = 0.0  # from the end of one batch to the start of the next
    max_failure_ratio: float = 0.0  # share of the replaced replicas that may fail before the action follows


@dataclass(frozen=True)
class Dependency:
    """One entry of `depends_on`: what must be so of another service before this one starts.

    A rollout waits for service_started as for service_healthy, until the replicas are
    up and healthy; service_completed_successfully is of jobs, and of nothing else.
    """

    service: str
    condition: Condition = "service_started"


@dataclass(frozen=True)
class Job:
    """A one-off job: each of its replicas runs to its end, and none is ever served.

    in-order is at its place among the services, as `depends_on` says.
    """

    when: When
    timeout_s: float = 600.0  # of one run of all its replicas; then it has failed
    fence: bool = False  # an automatic rollback may not cross a commit in which it has run


@dataclass(frozen=True)
class Judge:
    """What the edge's counters may say of the new servers, taken together, in one step.

    Shares are 0 to 1. Errors are connections that failed (`econ`), answers that
    failed (`eresp`) and requests that another server had to take over (`wredis`):
    the edge sends a request elsewhere before it counts it as failed.
    """

    max_5xx: float = 0.01  # share of the answers: hrsp_5xx of all hrsp_*
    max_errors: float = 0.01  # share of the requests: errors of stot
    max_mean_ms: float | None = None  # mean response time: rtime; None means no limit
    against: Literal["absolute", "old"] = "absolute"  # old: what the old servers have comes on top of each
    min_requests: int = 50  # with fewer of the new servers in a step nothing is said of it


@dataclass(frozen=True)
class Rollout:
    """`x-rollout`: how the edge goes over to a new version. Only rolling where it is not served."""

    strategy: Strategy = "rolling"
    steps: tuple[int, ...] = ()  # canary: percents of the requests for the new version, rising
    pause_s: float = 30.0  # canary: how long each step lasts, where it is not manual
    manual: bool = False  # canary: each step waits for a person
    judge: Judge = Judge()
    """Of each step of a canary, of the time that blue-green keeps the old set; of a rolling update, which is
    always held against the old version."""
    judged: bool = True  # rolling: whether the edge's counters decide on an update as well
    keep_s: float = 30.0  # blue-green: how long the old set stays ready for an instant way back


@dataclass(frozen=True)
class Autoscale:
    """`x-autoscale`: the bounds of the count of replicas; within them the controller chooses it by load."""

    min: int
    max: int
    targets: tuple[tuple[Metric, float], ...]  # sorted; cpu and memory in percent, response_ms in ms
    cooldown_s: float = 3.0  # after a change of the count, before the next
    window_s: float = 300.0  # before replicas go, none of them may have been wanted for so long
    tolerance: float = 0.1  # share of a target by which a reading may miss it and changes nothing
    max_sessions: int = 0  # that the edge gives a replica at once; more wait there. 0 means no limit


@dataclass(frozen=True)
class Service:
    """One service of an application."""

    name: str
    container: ContainerSpec
    mode: Mode = "replicated"  # of a job too
    replicas: int = 1  # of mode replicated; of a job how many runs must succeed
    autoscale: Autoscale | None = None  # where there is one, `replicas` is what it begins with
    update: UpdateConfig = UpdateConfig()
    rollback: UpdateConfig = UpdateConfig(parallelism=0, failure_action="pause")
    rollout: Rollout = Rollout()
    placement: Placement = ANYWHERE
    job: Job | None = None  # None for what stays up
    ingress: tuple[Ingress, ...] = ()
    publish: tuple[Publish, ...] = ()
    depends_on: tuple[Dependency, ...] = ()  # sorted by name
    expose_to: tuple[str, ...] = ()  # `x-expose-to`: applications that find it as APP.SERVICE, sorted
    address: str = ""
    """Where consumers on other hosts find it, in the service network; planned, empty where nobody looks."""

    def policy(self, *, rollback: bool) -> UpdateConfig:
        """How its replicas are replaced: on the way forward, or back."""
        return self.rollback if rollback else self.update

    @property
    def served(self) -> bool:
        """Whether the edge HAProxy balances over this service's replicas."""
        return bool(self.container.target_ports)

    @property
    def http_targets(self) -> tuple[int, ...]:
        """The container ports that the edge serves over HTTP, sorted."""
        published = (each.target for each in self.publish if each.published == HTTP_PORT)
        return tuple(sorted({*(each.port for each in self.ingress), *published}))

    @property
    def volumes(self) -> tuple[str, ...]:
        """The named volumes that its containers use: data that lies on one host, which they cannot leave."""
        mounts = self.container.mounts
        return tuple(sorted({mount.source for mount in mounts if mount.kind == "volume" and mount.source}))

    @property
    def listens(self) -> tuple[int, ...]:
        """The container ports, TCP, that it is said to listen on, sorted."""
        return tuple(sorted({*self.container.expose, *self.container.target_ports}))

    @property
    def balanced(self) -> tuple[int, ...]:
        """The container ports that some HAProxy balances over, the edge's or a container host's, sorted."""
        return self.listens if self.address else self.container.target_ports


@dataclass(frozen=True)
class Stack:
    """All services of an application at one commit.

    Each follows what it depends on; jobs before the deployment come first, those after it last.
    """

    app: str
    commit: str  # full SHA
    services: tuple[Service, ...] = ()
    volumes: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = field(default=())
    """Named volumes: (name, driver options)."""
    service_network: str = ""  # where its services have their addresses; empty where none has one

    def service(self, name: str) -> Service | None:
        """The service of that name, or None."""
        return self._by_name.get(name)

    @cached_property
    def _by_name(self) -> dict[str, Service]:
        return {service.name: service for service in reversed(self.services)}

    def emptied(self) -> Stack:
        """The same application with nothing in it: what a failed first deployment returns to."""
        return replace(self, services=(), volumes=())
