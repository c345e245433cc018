"""The lab's image registry: Debian's docker-registry on the bridge's own address."""

from __future__ import annotations

import socket

from gitops.lab import cgroups
from gitops.lab.layout import REGISTRY_PORT, Layout, gateway
from gitops.lab.state import Process
from gitops.lab.system import clean_environment, spawn, start_time, wait_until


def reference(subnet: int) -> str:
    """The registry as image references name it, e.g. `198.18.0.1:5000`."""
    return f"{gateway(subnet)}:{REGISTRY_PORT}"


def configuration(layout: Layout, subnet: int) -> str:
    """The registry's configuration (pure)."""
    return f"""\
version: 0.1
log:
  level: warn
storage:
  filesystem:
    rootdirectory: {layout.registry}/images
  delete:
    enabled: true
http:
  addr: {reference(subnet)}
"""


def start(layout: Layout, subnet: int) -> Process:
    """Starts the registry; `wait_for` tells when it answers."""
    layout.registry.mkdir(exist_ok=True)
    file = layout.registry / "config.yml"
    file.write_text(configuration(layout, subnet))
    groups = cgroups.make(f"{layout.group}/registry")
    # It takes its place in the lab's control group before it is anything that could be left over.
    join = "".join(f"echo $$ > {group}/cgroup.procs && " for group in groups)
    pid = spawn(
        ("sh", "-c", f"{join}exec docker-registry serve {file}"),
        log=layout.registry / "registry.log",
        environment=clean_environment(OTEL_TRACES_EXPORTER="none"),
    )
    return Process(pid, start_time(pid))


def wait_for(layout: Layout, subnet: int) -> None:
    """Waits until the registry takes connections.

    Raises:
        TransientError: it does not.
    """

    def listens() -> bool:
        try:
            socket.create_connection((gateway(subnet), REGISTRY_PORT), timeout=1).close()
        except OSError:
            return False
        return True

    wait_until("the registry starting", listens, seconds=20, hint=f"see {layout.registry}/registry.log")
