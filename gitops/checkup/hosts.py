"""Checks of one host, through its channel, as the controller would use it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network

from gitops.channel import Channel, Facts
from gitops.channel.facts import Socket
from gitops.channel.failures import (
    AuthenticationError,
    ForwardingRefusedError,
    HostKeyError,
    HostSetupError,
    LoginShellError,
    SessionLimitError,
    UnreachableError,
)
from gitops.channel.slots import SLOTS
from gitops.channel.ssh import SESSIONS
from gitops.checkup.check import CONTROLLER, Check, bad, good, low, number
from gitops.checkup.serving import difference
from gitops.errors import GitopsError
from gitops.model.fleet import Host
from gitops.observe.files import FOLDER
from gitops.observe.room import MISSING, PROGRAMS, PROXY_FOLDER, free_bytes, try_to_write

DOCKER = (20, 10)
PODMAN = (4,)
HAPROXY = (2, 6)
STATE = FOLDER
CONFIG = PROXY_FOLDER  # the folder: the file is replaced, so the right to the file is not enough
DEFAULT_SESSIONS = 10  # of sshd
LOW, FULL = 2 << 30, 64 << 20  # bytes free for images and containers: soon too few, and too few
LOW_SMALL = 32 << 20  # the same for the few small files of a deployment
_READ_ONLY = "ead-only file system"

# $1 is a Unix socket: who may open it.
OWNER = 'stat -c "%G %a" "$1"'
# $1 is an address: whether the host takes it for its own.
OWN = 'PATH="$PATH:/usr/sbin:/sbin"; case $(ip route get "$1") in local*) exit 0 ;; esac; exit 1'

_KNOWN_HOSTS = re.compile(r"UserKnownHostsFile[= ]\"?([^\s\"]+)")


def examine_host(host: Host, channel: Channel, network: str = "") -> list[Check]:
    """Every check of one host; where it cannot be reached, that alone.

    Args:
        host: the host.
        channel: to it.
        network: the service network, where its containers find services of others in it; or empty.
    """
    try:
        facts = channel.connect()
    except GitopsError as problem:
        return [_unreached(host, problem)]
    found = [good(host.name, "connection", f"{facts.user}@{host.address}")]
    found += _Examination(host, channel, facts, network if host.runs_containers else "").checks()
    return found


def _unreached(host: Host, problem: GitopsError) -> Check:
    variables = {name: str(value) for name, value in host.variables}
    address = variables.get("ansible_host") or variables.get("ansible_ssh_host") or host.name
    user = variables.get("ansible_user") or variables.get("ansible_ssh_user")
    port = variables.get("ansible_port") or variables.get("ansible_ssh_port")
    target = shlex.quote(f"{user}@{address}" if user else address)
    name = "connection"
    match problem:
        case HostKeyError():
            name = "host key"
            options = " ".join(text for key, text in variables.items() if key.endswith("_args"))
            file = _KNOWN_HOSTS.search(options)
            entry = f"[{address}]:{port}" if port and port != "22" else address
            of = f" -f {shlex.quote(file[1])}" if file else ""
            known = shlex.quote(file[1]) if file else "~/.ssh/known_hosts"
            scan = f"ssh-keyscan{f' -p {port}' if port else ''} {shlex.quote(address)}"
            fix = (
                f"ssh-keygen -R {shlex.quote(entry)}{of}; {scan} >> {known}"
                "   # only after comparing the key with the host's own"
            )
        case LoginShellError():
            name = "login shell"
            fix = f"ssh{f' -p {port}' if port else ''} {target} true   # shows it; {problem.hint}"
        case SessionLimitError():
            name, fix = "sessions", _more_sessions(SESSIONS)
            return bad(host.name, name, problem.message, fix)
        case AuthenticationError():
            fix = f"ssh-copy-id{f' -p {port}' if port else ''} {target}"
        case _:
            fix = f"ssh -v{f' -p {port}' if port else ''} {target} true"
    return bad(host.name, name, problem.message, fix, on=CONTROLLER)


@dataclass(frozen=True)
class _Examination:
    """The checks of a host that answers."""

    host: Host
    channel: Channel
    facts: Facts
    network: str

    def checks(self) -> Iterator[Check]:
        """One after the other."""
        yield self._guarded("sessions", self._sessions)
        yield self._guarded("programs", self._programs)
        if self.host.runs_containers:
            engine = self._guarded("engine", self._engine)
            yield engine
            if engine.ok:
                yield self._guarded("disk space", self._space)
        yield self._guarded("state folder", self._folder)
        yield self._guarded("lock", self._lock)
        if self.network:
            yield self._guarded("service network", self._service_network)
        if self.host.balances or self.network:
            answers = self._guarded("haproxy", self._haproxy)
            yield answers
            yield self._guarded("haproxy master", self._master)
            yield self._guarded("haproxy.cfg", self._config)
            if answers.ok:
                yield self._guarded("haproxy serves", self._serving)

    def _guarded(self, name: str, check: Callable[[], Check]) -> Check:
        """A check; a host that fails in the middle of it is what it found."""
        try:
            return check()
        except (ForwardingRefusedError, SessionLimitError) as problem:
            return self._bad(name, problem.message, problem.hint)
        except GitopsError as problem:
            return bad(self.host.name, name, problem.message, problem.hint or "gitops doctor", on=CONTROLLER)

    def _good(self, check: str, message: str) -> Check:
        return good(self.host.name, check, message)

    def _bad(self, check: str, message: str, fix: str) -> Check:
        return bad(self.host.name, check, message, fix)

    @property
    def _sudo(self) -> bool:
        return str(dict(self.host.variables).get("ansible_become", "")).lower() in {"true", "yes", "on", "1"}

    def _engine(self) -> Check:
        socket = self.facts.engine
        if not socket.path:
            return self._bad("engine", "no engine's socket is there", self._start_engine())
        if not self._permitted(socket):
            return self._bad("engine", self._denied(socket), self._permit(socket))
        try:
            about = self.channel.engine().about
        except (ForwardingRefusedError, SessionLimitError):
            raise
        except GitopsError as problem:
            return self._bad("engine", f"{socket.path}: {problem.message}", self._start_engine())
        least = PODMAN if about.kind == "podman" else DOCKER
        if number(about.version) < least:
            wanted, fix = ".".join(map(str, least)), self._install(about.kind)
            return self._bad("engine", f"{about.kind} {about.version}, needs {wanted}", fix)
        return self._good("engine", f"{about.kind} {about.version} at {socket.path}")

    def _start_engine(self) -> str:
        """What starts the engine that is installed, or installs one."""
        programs = self.facts.programs
        if "podman" in self.facts.engine.path or ("podman" in programs and "docker" not in programs):
            return "sudo systemctl enable --now podman.socket"
        if "docker" in programs or self.facts.engine.path:
            return "sudo systemctl enable --now docker"
        return self._install("docker")

    def _install(self, engine: str) -> str:
        return f"sudo apt-get install {'docker.io' if engine == 'docker' else engine}"

    def _permitted(self, socket: Socket) -> bool:
        return socket.direct or self._sudo

    def _denied(self, socket: Socket) -> str:
        return f"user {self.facts.user} may not open {socket.path}"

    def _permit(self, socket: Socket) -> str:
        """What lets the user open a socket: its group where that has the right, else a rule of its own."""
        user = shlex.quote(self.facts.user)
        group, _, mode = (
            self.channel.run(OWNER, args=(socket.path,)).stdout.decode(errors="replace").partition(" ")
        )
        shared = len(mode.strip()) >= 3 and int(mode.strip()[-2]) & 6 == 6  # noqa: PLR2004 - rw of the group's octal digit
        if shared and group != "root":
            return f"sudo usermod -aG {shlex.quote(group)} {user}"
        return f"sudo setfacl -m u:{user}:rw {shlex.quote(socket.path)}"

    def _sessions(self) -> Check:
        """Opens as many sessions at once as a deployment may need."""
        sockets = [self.facts.engine] if self.host.runs_containers else []
        sockets += [self.facts.stats, self.facts.master] if self.host.balances or self.network else []
        closed = [socket.path for socket in sockets if socket.path and not socket.direct]
        needed = SESSIONS + (SLOTS if closed and self._sudo else 0)
        why = f" ({closed[0]} is reached by sessions: the user may not open it)" if needed > SESSIONS else ""
        allowed = self.channel.sessions_allowed(needed)
        if allowed >= needed:
            return self._good("sessions", f"sshd allows the {needed} that are needed{why}")
        message = f"sshd allows {allowed} sessions on a connection, {needed} are needed{why}"
        return self._bad("sessions", message, _more_sessions(needed))

    def _programs(self) -> Check:
        missing = self.channel.run(MISSING, args=PROGRAMS).stdout.decode(errors="replace").split()
        if not missing:
            return self._good("programs", f"{', '.join(PROGRAMS)} are there")
        fix = "sudo apt-get install tar coreutils diffutils"
        return self._bad("programs", f"there is no {', '.join(missing)}", fix)

    def _space(self) -> Check:
        root = str(self.channel.engine().info().get("DockerRootDir") or "/")
        free = free_bytes(self.channel, root)
        found = f"{_size(free)} free at {root}, where the engine has images and containers"
        if free < FULL:
            return self._bad("disk space", found, _prune(self.facts.engine))
        if free < LOW:
            return low(self.host.name, "disk space", found, _prune(self.facts.engine))
        return self._good("disk space", found)

    def _folder(self) -> Check:
        fix = f"sudo install -d -o {shlex.quote(self.facts.user)} -m 0755 {STATE}"
        return self._takes("state folder", STATE, fix)

    def _takes(self, check: str, folder: str, allow: str) -> Check:
        """Whether a folder takes a file, written as a deployment does."""
        (trial,) = try_to_write(self.channel, [folder])
        see = f"df -h {folder}; sudo du -xh --max-depth=2 {folder} | sort -h | tail   # then free some space"
        if trial.problem:
            fix = see
            if _READ_ONLY in trial.problem:
                fix = f"sudo mount -o remount,rw $(df -P {folder} | awk 'END {{print $6}}')"
            elif trial.problem.startswith("/"):
                fix = f"sudo chown -R {shlex.quote(self.facts.user)} {folder}"
            elif "ermission denied" in trial.problem or "o such file" in trial.problem:
                fix = allow
            return self._bad(check, f"user {self.facts.user} cannot write to {folder}: {trial.problem}", fix)
        found = f"{folder} is writable, {_size(trial.free)} free"
        if trial.free < LOW_SMALL:
            return low(self.host.name, check, found, see)
        return self._good(check, found)

    def _lock(self) -> Check:
        if "flock" not in self.facts.programs:
            return self._bad("lock", "there is no flock", "sudo apt-get install util-linux")
        try:
            found = self.channel.holder()
        except HostSetupError as problem:
            return self._bad("lock", problem.message, f"sudo {problem.hint}")
        return self._good("lock", f"held by {found.holder}" if found.held else "free")

    def _service_network(self) -> Check:
        if self.channel.run(OWN, args=(str(IPv4Network(self.network)[1]),)).code == 0:
            return self._good("service network", f"{self.network} is the host's own")
        fix = f"sudo ip route replace local {self.network} dev lo   # gitops bootstrap: at every boot"
        return self._bad("service network", f"{self.network} is not the host's own", fix)

    def _haproxy(self) -> Check:
        socket = self.facts.stats
        if not socket.path:
            return self._bad("haproxy", "no stats socket is there", self._start_haproxy())
        if not self._permitted(socket):
            return self._bad("haproxy", self._denied(socket), self._permit(socket))
        try:
            self.channel.proxy().stats()
            text = self.channel.proxy().info().get("Version", "")
        except (ForwardingRefusedError, SessionLimitError):
            raise
        except GitopsError as problem:
            return self._bad("haproxy", f"{socket.path}: {problem.message}", self._start_haproxy())
        if number(text) < HAPROXY:
            return self._bad("haproxy", f"{text}, needs 2.6", "sudo apt-get install haproxy")
        return self._good("haproxy", f"{text} at {socket.path}")

    def _master(self) -> Check:
        socket = self.facts.master
        if not socket.path:
            return self._bad(
                "haproxy master",
                "no socket of its master process is there",
                "sudo systemctl restart haproxy   # by its package's unit: -S /run/haproxy-master.sock",
            )
        if not self._permitted(socket):
            return self._bad("haproxy master", self._denied(socket), self._permit(socket))
        proxy = self.channel.proxy()
        try:
            processes = proxy.processes()
        except UnreachableError:
            proxy.stats()  # where sshd does not forward, this says so
            raise
        workers = sum(process.kind == "worker" and not process.old for process in processes)
        if not workers:
            return self._bad("haproxy master", "it has no worker", "sudo systemctl restart haproxy")
        return self._good("haproxy master", f"answers at {socket.path}")

    def _serving(self) -> Check:
        differs, serves = difference(self.channel, edge=self.host.balances)
        if differs:
            fix = "gitops sync APP, of an application that it serves"
            return bad(self.host.name, "haproxy serves", differs, fix, on=CONTROLLER)
        return self._good("haproxy serves", serves)

    def _start_haproxy(self) -> str:
        return "sudo apt-get install haproxy && sudo systemctl enable --now haproxy"

    def _config(self) -> Check:
        fix = (
            f"sudo install -d -g haproxy -m 0775 {CONFIG}"
            f" && sudo usermod -aG haproxy {shlex.quote(self.facts.user)}"
        )
        return self._takes("haproxy.cfg", CONFIG, fix)


def _more_sessions(needed: int) -> str:
    """The command that lets sshd allow so many sessions: of a setting given twice it takes the first."""
    wanted = max(needed, DEFAULT_SESSIONS)
    return (
        f"sudo sed -i -E '/^[[:space:]]*MaxSessions[[:space:]=]/d; 1i MaxSessions {wanted}'"
        " /etc/ssh/sshd_config && sudo systemctl reload ssh"
    )


def _prune(engine: Socket) -> str:
    program = "podman" if "podman" in engine.path else "docker"
    return f"sudo {program} system prune   # asks first; removes what nothing uses"


def _size(count: int) -> str:
    """Bytes for a person."""
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count >> 10} KiB"
