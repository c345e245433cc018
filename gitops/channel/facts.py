"""What a host is, learned by one POSIX script when its connection is made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from gitops.model.machine import go_name

ENGINE_SOCKETS = (
    "/var/run/docker.sock",
    "/run/podman/podman.sock",
    "/run/user/$uid/docker.sock",
    "/run/user/$uid/podman/podman.sock",
)
STATS_SOCKETS = ("/run/haproxy/admin.sock", "/var/lib/haproxy/stats")
MASTER_SOCKETS = ("/run/haproxy-master.sock", "/run/haproxy/master.sock")


@dataclass(frozen=True)
class Settings:
    """What the inventory says of a host beyond how to connect.

    Attributes:
        become: whether commands and sockets may be reached through sudo.
        engine_socket: `gitops_engine_socket`, or empty to look for it.
        stats_socket: `gitops_haproxy_socket`, or empty to look for it.
        master_socket: `gitops_haproxy_master`, or empty to look for it.
    """

    become: bool = False
    engine_socket: str = ""
    stats_socket: str = ""
    master_socket: str = ""


@dataclass(frozen=True)
class Socket:
    """One Unix socket of the host.

    Attributes:
        path: empty where there is none.
        direct: whether the user may open it without sudo.
    """

    path: str = ""
    direct: bool = True


@dataclass(frozen=True)
class Facts:
    """What the first script found."""

    user: str = ""
    architecture: str = ""  # as uname says: x86_64, aarch64
    cpus: int = 0
    memory: int = 0  # bytes
    engine: Socket = Socket()
    stats: Socket = Socket()
    master: Socket = Socket()
    sudo: bool = False  # whether the user may become root without a password; asked only where it matters
    programs: tuple[str, ...] = ()  # of sudo, docker, podman, socat, flock: those that are there

    @property
    def machine(self) -> str:
        """The kind of machine as images name it: amd64, arm64."""
        return go_name(self.architecture)

    def dump(self) -> str:
        """As JSON, for the workers of a playbook."""
        return json.dumps(asdict(self))


def load_facts(text: str) -> Facts:
    """The facts of `Facts.dump`."""
    data: dict[str, Any] = json.loads(text)
    sockets = {name: Socket(**data.pop(name)) for name in ("engine", "stats", "master")}
    return Facts(**{**data, **sockets, "programs": tuple(data["programs"])})


SCRIPT = r"""
become=$1 engine=$2 stats=$3 master=$4
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
uid=$(id -u)
echo "user=$(id -un)"
echo "architecture=$(uname -m)"
echo "cpus=$(getconf _NPROCESSORS_ONLN 2>/dev/null || nproc)"
while read -r key value unit; do
  if [ "$key" = MemTotal: ]; then echo "memory=$value"; break; fi
done < /proc/meminfo
for program in sudo docker podman socat flock; do
  command -v "$program" >/dev/null 2>&1 && echo "program=$program"
done
if [ "$become" = yes ] && { [ "$uid" = 0 ] || sudo -n true 2>/dev/null; }; then echo sudo=yes; fi
there() { [ -S "$1" ] || { [ "$become" = yes ] && sudo -n test -S "$1" 2>/dev/null; }; }
find_socket() {
  name=$1 hidden=; shift
  for path in "$@"; do
    if [ -S "$path" ] && [ -r "$path" ] && [ -w "$path" ]; then echo "$name=$path"; return; fi
    if [ -z "$hidden" ] && there "$path"; then hidden=$path; fi
    # With sudo the machine's own engine comes before a user's.
    if [ -n "$hidden" ] && [ "$become" = yes ]; then break; fi
  done
  if [ -n "$hidden" ]; then echo "$name-closed=$hidden"; fi
}
find_socket engine ${engine:-ENGINE_SOCKETS}
find_socket stats ${stats:-STATS_SOCKETS}
find_socket master ${master:-MASTER_SOCKETS}
"""


def probe(settings: Settings) -> tuple[str, tuple[str, ...]]:
    """The script and its arguments."""
    text = SCRIPT
    for word, paths in (
        ("ENGINE_SOCKETS", ENGINE_SOCKETS),
        ("STATS_SOCKETS", STATS_SOCKETS),
        ("MASTER_SOCKETS", MASTER_SOCKETS),
    ):
        text = text.replace(word, " ".join(paths))
    become = "yes" if settings.become else "no"
    return text, (become, settings.engine_socket, settings.stats_socket, settings.master_socket)


def parse(output: str) -> Facts:
    """The facts in what the script printed."""
    values: dict[str, str] = {}
    programs = []
    for line in output.splitlines():
        key, _, value = line.partition("=")
        if key == "program":
            programs.append(value)
        else:
            values[key] = value
    return Facts(
        user=values.get("user", ""),
        architecture=values.get("architecture", ""),
        cpus=_number(values, "cpus"),
        memory=_number(values, "memory") * 1024,
        engine=_socket(values, "engine"),
        stats=_socket(values, "stats"),
        master=_socket(values, "master"),
        sudo=values.get("sudo") == "yes",
        programs=tuple(programs),
    )


def _socket(values: Mapping[str, str], name: str) -> Socket:
    if name in values:
        return Socket(values[name])
    return Socket(values.get(f"{name}-closed", ""), direct=False)


def _number(values: Mapping[str, str], name: str) -> int:
    text = values.get(name, "")
    return int(text) if text.isdigit() else 0
