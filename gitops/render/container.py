"""A container spec as the body of the Engine API's `POST /containers/create`."""

from __future__ import annotations

import json
from typing import Any

from gitops.model.observed import (
    LABEL_APP,
    LABEL_COMMIT,
    LABEL_CPUS,
    LABEL_FENCE,
    LABEL_MEMORY,
    LABEL_SERVICE,
    LABEL_SPEC,
    LABEL_TIMEOUT,
)
from gitops.model.stack import ContainerSpec, Healthcheck, Mount, Service, Stack

_NANO = 1_000_000_000


def service_file(stack: Stack, service: Service) -> bytes:
    """The file `services/NAME.json`: all that is equal for every replica of the service.

    The plugins read it from disk, so that no text of a user's repository passes
    through Ansible's templating. Name, slot and ports of a container come from its task.
    """
    volumes = dict(stack.volumes)
    named = sorted({m.source for m in service.container.mounts if m.kind == "volume" and m.source})
    content = {
        "service": service.name,
        "spec": service.container.digest,
        "network": f"gitops-{stack.app}",
        "volumes": {f"{stack.app}_{name}": dict(volumes.get(name, ())) for name in named},
        "body": body(stack, service),
    }
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()


def body(stack: Stack, service: Service) -> dict[str, Any]:
    """What the engine is asked to create, but for the slot's own name, label and ports."""
    spec = service.container
    labels = {
        **dict(spec.labels),
        LABEL_APP: stack.app,
        LABEL_SERVICE: service.name,
        LABEL_SPEC: spec.digest,
        LABEL_COMMIT: stack.commit,
        **_size_labels(spec),
        **_job_labels(service),
    }
    ports: dict[str, dict[str, str]] = {f"{port}/tcp": {} for port in (*spec.expose, *spec.target_ports)}
    ports |= {f"{port}/{protocol}": {} for _, port, protocol in spec.host_ports}
    network = f"gitops-{stack.app}"
    whole: dict[str, Any] = {
        "Image": spec.image,
        "Cmd": _list(spec.command),
        "Entrypoint": _list(spec.entrypoint),
        "Env": [f"{key}={value}" for key, value in spec.environment],
        "Labels": labels,
        "User": spec.user,
        "WorkingDir": spec.working_dir,
        "Hostname": spec.hostname,
        "StopSignal": spec.stop_signal,
        "StopTimeout": max(1, round(spec.stop_grace_period_s)),
        "ExposedPorts": ports,
        "Volumes": {m.target: {} for m in spec.mounts if m.kind == "volume" and not m.source},
        "Healthcheck": _healthcheck(spec.healthcheck),
        "HostConfig": _host_config(stack.app, spec, network),
        "NetworkingConfig": {"EndpointsConfig": {network: {"Aliases": [service.name]}}},
    }
    return _said(whole)


def _size_labels(spec: ContainerSpec) -> dict[str, str]:
    """What is reserved: whoever plans another application beside it knows nothing of this one's commit."""
    reserved = ((LABEL_CPUS, spec.reserved.cpus), (LABEL_MEMORY, spec.reserved.memory))
    return {label: str(number) for label, number in reserved if number}


def _job_labels(service: Service) -> dict[str, str]:
    """What whoever finds a job's container must know of it: the commit may not be at hand any more."""
    if service.job is None:
        return {}
    fence = {LABEL_FENCE: "true"} if service.job.fence else {}
    return {LABEL_TIMEOUT: f"{service.job.timeout_s:g}", **fence}


def _host_config(app: str, spec: ContainerSpec, network: str) -> dict[str, Any]:
    binds = [_bind(app, mount) for mount in spec.mounts if mount.kind != "tmpfs" and mount.source]
    return _said(
        {
            "NetworkMode": network,
            "Binds": binds,
            "Tmpfs": {mount.target: _tmpfs(mount) for mount in spec.mounts if mount.kind == "tmpfs"},
            "PortBindings": {
                f"{port}/{protocol}": [{"HostPort": str(published)}]
                for published, port, protocol in spec.host_ports
            },
            "RestartPolicy": _said(
                {"Name": spec.restart.name, "MaximumRetryCount": spec.restart.max_attempts}
            ),
            "ReadonlyRootfs": spec.read_only,
            "Init": spec.init,
            "CapAdd": list(spec.cap_add),
            "CapDrop": list(spec.cap_drop),
            "SecurityOpt": list(spec.security_opt),
            "Ulimits": [{"Name": u.name, "Soft": u.soft, "Hard": u.hard} for u in spec.ulimits],
            "Sysctls": dict(spec.sysctls),
            "ShmSize": spec.shm_size,
            "ExtraHosts": [f"{name}:{address}" for name, address in spec.extra_hosts],
            "Dns": list(spec.dns),
            "LogConfig": _said({"Type": spec.logging.driver, "Config": dict(spec.logging.options)}),
            "NanoCpus": round(spec.cpu_limit * _NANO),
            "Memory": spec.memory_limit,
            "PidsLimit": spec.pids_limit,
        }
    )


def _bind(app: str, mount: Mount) -> str:
    """`source:target:options`."""
    source = f"{app}_{mount.source}" if mount.kind == "volume" else mount.source
    options = [*(["ro"] if mount.read_only else []), *mount.options]
    return ":".join([source, mount.target, *([",".join(options)] if options else [])])


def _tmpfs(mount: Mount) -> str:
    size = [f"size={mount.tmpfs_size}"] if mount.tmpfs_size else []
    mode = [f"mode={mount.tmpfs_mode:o}"] if mount.tmpfs_mode else []
    return ",".join([*size, *mode, *(["ro"] if mount.read_only else []), *mount.options])


def _healthcheck(check: Healthcheck | None) -> dict[str, Any]:
    """What is left out is inherited from the image, by the engine's own rule."""
    if check is None:
        return {}
    return _said(
        {
            "Test": _list(check.test),
            "Interval": _nanoseconds(check.interval_s),
            "Timeout": _nanoseconds(check.timeout_s),
            "StartPeriod": _nanoseconds(check.start_period_s),
            "Retries": check.retries,
        }
    )


def _nanoseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * _NANO)


def _list(words: tuple[str, ...] | None) -> list[str] | None:
    return None if words is None else list(words)


def _said(fields: dict[str, Any]) -> dict[str, Any]:
    """Only what the desired state says; the rest is the engine's or the image's default.

    An empty list stays where None would mean the image's own: `command: []` takes it away, and
    whoever creates the container says it so that the engine understands it.
    """
    keep_empty = ("Cmd", "Entrypoint")
    return {key: value for key, value in fields.items() if value or (key in keep_empty and value is not None)}
