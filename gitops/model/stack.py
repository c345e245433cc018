"""Desired state: what one commit says, fully resolved and validated."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Literal

Order = Literal["start-first", "stop-first"]
FailureAction = Literal["rollback", "pause", "continue"]
Mode = Literal["replicated", "global"]


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
    expose: tuple[int, ...] = ()  # container ports, TCP
    target_ports: tuple[int, ...] = ()  # container ports that the edge balances over (ingress and ports)
    host_ports: tuple[tuple[int, int, str], ...] = ()  # (host port, container port, tcp|udp): `mode: host`

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of the whole spec: the label `gitops.spec`. Same spec, same digest."""
        canonical = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
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
    """`deploy.update_config` with Swarm's meaning."""

    parallelism: int = 1  # replicas a batch; 0 means all at once
    order: Order = "start-first"
    monitor_s: float = 5.0  # a new replica that fails within this time fails the deployment
    failure_action: FailureAction = "rollback"


@dataclass(frozen=True)
class Service:
    """One service of an application."""

    name: str
    container: ContainerSpec
    mode: Mode = "replicated"
    replicas: int = 1  # of mode replicated
    update: UpdateConfig = UpdateConfig()
    ingress: tuple[Ingress, ...] = ()
    publish: tuple[Publish, ...] = ()
    depends_on: tuple[str, ...] = ()  # names of services that start before this one

    @property
    def served(self) -> bool:
        """Whether the edge HAProxy balances over this service's replicas."""
        return bool(self.container.target_ports)


@dataclass(frozen=True)
class Stack:
    """All services of an application at one commit, sorted so that each follows what it depends on."""

    app: str
    commit: str  # full SHA
    services: tuple[Service, ...] = ()
    volumes: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = field(default=())
    """Named volumes: (name, driver options)."""

    def service(self, name: str) -> Service | None:
        """The service of that name, or None."""
        return next((service for service in self.services if service.name == name), None)

    def emptied(self) -> Stack:
        """The same application with nothing in it: what a failed first deployment returns to."""
        return replace(self, services=(), volumes=())
