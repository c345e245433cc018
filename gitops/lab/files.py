"""The configuration files of one lab host (pure)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from gitops.lab.layout import DEPLOY_USER, OPS_USER, SEARCH_PATH, Member

ACCOUNTS = {DEPLOY_USER: 15001, OPS_USER: 15002}  # ids above what adduser hands out by itself
AUTHORIZED_KEYS = "/etc/ssh/lab_authorized_keys"

# Folders of /etc that a host shall not share with the machine, which may be in real use itself.
OWN_FOLDERS = ("cni", "docker", "haproxy", "ssh")


@dataclass(frozen=True)
class HostFile:
    """One file below a host's /etc.

    Attributes:
        path: relative to /etc.
        content: its text.
        mode: permission bits.
        owner: user name as in the host's own passwd.
        group: group name as in the host's own group file.
    """

    path: str
    content: str
    mode: int = 0o644
    owner: str = "root"
    group: str = "root"


@dataclass(frozen=True)
class Machine:
    """What a host takes over from the machine that it runs on.

    Attributes:
        passwd: text of /etc/passwd.
        group: text of /etc/group.
        shadow: text of /etc/shadow.
        open_files: the hard limit of open files.
        processes: the hard limit of processes.
    """

    passwd: str
    group: str
    shadow: str
    open_files: int
    processes: int


@dataclass(frozen=True)
class Keys:
    """SSH keys in OpenSSH's text formats: who may log in, and what the host proves itself with."""

    authorized: str
    host_private: str
    host_public: str


def host_files(
    member: Member, members: Sequence[Member], registry: str, machine: Machine, keys: Keys
) -> list[HostFile]:
    """Every file below /etc in which `member` differs from the machine."""
    names = "".join(f"{other.address}\t{other.name}\n" for other in members)
    files = [
        HostFile("hostname", f"{member.name}\n"),
        HostFile("hosts", f"127.0.0.1\tlocalhost\n::1\tlocalhost\n{names}"),
        HostFile("resolv.conf", "# a lab has no name server\n"),
        HostFile("passwd", _passwd(machine.passwd)),
        HostFile("group", _group(machine.group, member)),
        HostFile("shadow", _shadow(machine.shadow), mode=0o640, group="shadow"),
        HostFile("sudoers", _sudoers(), mode=0o440),
        HostFile("ssh/sshd_config", _sshd_config()),
        HostFile("ssh/ssh_host_ed25519_key", keys.host_private, mode=0o600),
        HostFile("ssh/ssh_host_ed25519_key.pub", keys.host_public),
        HostFile(AUTHORIZED_KEYS.removeprefix("/etc/"), keys.authorized),
    ]
    if member.kind == "docker":
        files.append(HostFile("docker/daemon.json", _daemon_json(member, registry)))
    if member.kind == "podman":
        files.append(HostFile("containers/containers.conf", _containers_conf(member, machine)))
        files.append(HostFile("containers/registries.conf", _registries_conf(registry)))
    proxy = HAPROXY_CFG if member.has_engine else HAPROXY_CFG + EDGE_CFG
    files.append(HostFile("haproxy/haproxy.cfg", proxy, owner=DEPLOY_USER, group="haproxy"))
    return files


def _without(text: str, names: Sequence[str]) -> list[str]:
    """The lines of a colon-separated table but those of `names`."""
    return [line for line in text.splitlines() if line and line.split(":")[0] not in names]


def _passwd(text: str) -> str:
    own = [f"{name}:x:{number}:{number}::/home/{name}:/bin/bash" for name, number in ACCOUNTS.items()]
    return "\n".join([*_without(text, list(ACCOUNTS)), *own, ""])


def _group(text: str, member: Member) -> str:
    """Adds the two users' groups, and `deploy` to the groups that own the host's sockets."""
    lines = _without(text, list(ACCOUNTS))
    if not any(line.startswith("docker:") for line in lines):
        lines.append("docker:x:15000:")  # a machine with Podman alone has no such group
    groups = {"haproxy", "docker"} if member.has_engine else {"haproxy"}
    lines = [_with_deploy(line) if line.split(":")[0] in groups else line for line in lines]
    return "\n".join([*lines, *(f"{name}:x:{number}:" for name, number in ACCOUNTS.items()), ""])


def _with_deploy(line: str) -> str:
    head, _, users = line.rpartition(":")
    return f"{head}:{','.join([*filter(None, users.split(',')), DEPLOY_USER])}"


def _shadow(text: str) -> str:
    """No password opens anything on a host; not a single hash of the machine's own users gets there."""
    names = [line.split(":")[0] for line in _without(text, list(ACCOUNTS))]
    return "".join(f"{name}:*:19000:0:99999:7:::\n" for name in [*names, *ACCOUNTS])


def _sudoers() -> str:
    return f"""\
Defaults secure_path={SEARCH_PATH}
root ALL=(ALL:ALL) ALL
{OPS_USER} ALL=(ALL:ALL) NOPASSWD: ALL
"""


def _sshd_config() -> str:
    return f"""\
Port 22
HostKey /etc/ssh/ssh_host_ed25519_key
AuthorizedKeysFile {AUTHORIZED_KEYS}
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
# Many connections at once are what a lab is for, and both ends share its processors: the hybrid
# exchange that OpenSSH prefers takes 0.08 s of processor time, this one a tenth of that.
MaxStartups 200
KexAlgorithms curve25519-sha256
Subsystem sftp internal-sftp
"""


def _daemon_json(member: Member, registry: str) -> str:
    address, _, _ = registry.partition(":")
    settings = {
        "bip": member.bridge_address,
        "default-address-pools": [{"base": member.network_pool, "size": 24}],
        "exec-opts": ["native.cgroupdriver=cgroupfs"],
        "group": "docker",
        # Every port of that address, so that a second registry can be tried beside the lab's own.
        "insecure-registries": [f"{address}/32"],
        "shutdown-timeout": 5,
    }
    return json.dumps(settings, indent=2, sort_keys=True) + "\n"


def _containers_conf(member: Member, machine: Machine) -> str:
    files, processes = min(20000, machine.open_files), min(10000, machine.processes)
    return f"""\
[containers]
default_ulimits = ["nofile={files}:{files}", "nproc={processes}:{processes}"]
log_driver = "k8s-file"

[network]
default_subnet = "{member.bridge_subnet}"
default_subnet_pools = [{{"base" = "{member.network_pool}", "size" = 24}}]

[engine]
# crun refuses a hybrid tree of control groups; a lab host has no systemd and no journal
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""


def _registries_conf(registry: str) -> str:
    address, _, _ = registry.partition(":")  # every port of it, as with Docker
    return f"""\
unqualified-search-registries = ["{registry}"]

[[registry]]
location = "{address}"
insecure = true
"""


HAPROXY_CFG = """\
# managed by ansible-gitops
global
    log stdout format raw local0 notice
    chroot /var/lib/haproxy
    user haproxy
    group haproxy
    stats socket /run/haproxy/admin.sock mode 660 user root group haproxy level admin expose-fd listeners
    stats timeout 30s
    hard-stop-after 60s

defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
"""

EDGE_CFG = """
frontend http
    bind :80
    http-request return status 503 content-type text/plain string "no application is deployed here yet\\n"
"""
