"""A service in the words of `docker compose config`, so that facts about Compose can be compared."""

from __future__ import annotations

from typing import Any

from gitops.model.stack import Logging, Mount, Stack


def composed(stack: Stack) -> dict[str, Any]:
    """The one service of a stack: what it says, without what it leaves to defaults."""
    service = stack.services[0]
    spec = service.container
    check = spec.healthcheck
    said = {
        "command": list(spec.command or ()),
        "entrypoint": list(spec.entrypoint or ()),
        "environment": dict(spec.environment),
        "labels": dict(spec.labels),
        "sysctls": dict(spec.sysctls),
        "cap_add": list(spec.cap_add),
        "dns": list(spec.dns),
        "user": spec.user,
        "hostname": spec.hostname,
        "working_dir": spec.working_dir,
        "init": spec.init,
        "read_only": spec.read_only,
        "extra_hosts": [f"{name}={address}" for name, address in spec.extra_hosts],
        "tmpfs": [mount.target for mount in spec.mounts if mount.kind == "tmpfs"],
        "expose": list(spec.expose),
        "ports": sorted(
            [f"{port.published}:{port.target}" for port in service.publish]
            + [f"{published}:{target}" for published, target, _ in spec.host_ports]
        ),
        "volumes": [_volume(mount) for mount in spec.mounts if mount.kind != "tmpfs"],
        "healthcheck": list(check.test) if check and check.test else None,
        "logging": [spec.logging.driver, dict(spec.logging.options)] if spec.logging != Logging() else None,
        "ulimits": {limit.name: [limit.soft, limit.hard] for limit in spec.ulimits},
        "memory": spec.memory_limit,
        "shm_size": spec.shm_size,
    }
    found = {key: value for key, value in said.items() if value}
    if service.replicas != 1:
        found["replicas"] = service.replicas
    return found


def _volume(mount: Mount) -> str:
    return f"{mount.source}:{mount.target}" + (":ro" if mount.read_only else "")
