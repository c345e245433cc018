"""One service of a Compose file."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from difflib import get_close_matches

from gitops.desired.autoscale import check_autoscale, first_count, parse_autoscale
from gitops.desired.dependencies import Entry, parse_depends_on
from gitops.desired.deploy import parse_deploy, parse_healthcheck
from gitops.desired.environment import Environment
from gitops.desired.fields import Fields, integer, string
from gitops.desired.mounts import parse_mounts
from gitops.desired.ports import parse_expose, parse_ingress, parse_ports
from gitops.desired.problems import Problems, quoted
from gitops.desired.strategy import check_rollout, parse_rollout
from gitops.desired.words import split
from gitops.desired.yaml import Node
from gitops.errors import PermanentError, Where
from gitops.model.stack import ContainerSpec, Logging, Mount, Service, Ulimit

SERVICE_NAME = re.compile(r"[a-z0-9](?:[a-z0-9_.-]{0,61}[a-z0-9])?")
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
# The reference grammar of registries: [domain[:port]/]path[:tag][@digest].
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
# What has neither a dot nor a port is no registry, but the first part of a path.
_DOMAIN = rf"(?:{_LABEL}(?:\.{_LABEL})*:[0-9]{{1,5}}|{_LABEL}(?:\.{_LABEL})+|localhost)/"
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
IMAGE = re.compile(
    rf"(?=.{{1,512}}$)(?:{_DOMAIN})?{_PART}(?:/{_PART})*(?::\w[\w.-]{{0,127}})?(?:@sha256:[0-9a-f]{{64}})?",
    re.ASCII,
)
_CAPABILITY = re.compile(r"[A-Za-z_]+")
# Those that engines know; they refuse others when the container is created.
_SIGNAL = re.compile(
    r"(?:SIG)?(?:ABRT|ALRM|BUS|CHLD|CLD|CONT|FPE|HUP|ILL|INT|IO|IOT|KILL|PIPE|POLL|PROF|PWR|QUIT|SEGV|STKFLT|STOP"
    r"|SYS|TERM|TRAP|TSTP|TTIN|TTOU|URG|USR1|USR2|VTALRM|WINCH|XCPU|XFSZ|RTMIN(?:\+(?:[1-9]|1[0-5]))?"
    r"|RTMAX(?:-(?:[1-9]|1[0-4]))?)|[1-9]|[1-5][0-9]|6[0-4]",
    re.IGNORECASE,
)
_ULIMITS = {
    *("core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc"),
    *("rss", "rtprio", "rttime", "sigpending", "stack"),
}
_HOST = re.compile(
    r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*"
)
_HOSTNAME = re.compile(rf"(?=.{{1,64}}$)(?:{_HOST.pattern})")  # Linux takes no longer one
_FOLDER = re.compile(r"/[^\0\n]*")
_SYSCTL = re.compile(r"[a-zA-Z0-9_.*/-]+")
_OURS = "gitops."  # prefix of the labels by which containers are recognised


@dataclass(frozen=True)
class Parsed:
    """A service with what only the whole file can judge."""

    service: Service
    node: Node
    profiles: tuple[str, ...] = ()
    depends_on: tuple[Entry, ...] = ()
    networks: tuple[tuple[str, Where], ...] = ()


def parse_service(
    name: str, node: Node, environment: Environment, volumes: frozenset[str], problems: Problems
) -> Parsed:
    """Reads one service; what is wrong is reported, and the result stands in for what could be read."""
    fields = Fields(node, "service", f"services.{name}", problems)
    if not SERVICE_NAME.fullmatch(name):
        problems.report(
            f"{quoted(name)} is no service name",
            node.place,
            "lower-case letters, digits, `-`, `_` and `.`, at most 63, a letter or digit at both ends",
        )
    mounts = parse_mounts(fields, volumes)
    deploy = parse_deploy(fields, "stop-first" if _writes_volume(mounts) else "start-first")
    ports = parse_ports(fields)
    expose = parse_expose(fields)
    known = tuple(sorted({*expose, *(entry.target for entry in ports.publish)}))
    ingress = parse_ingress(fields, known)
    image = fields.string("image", IMAGE, "an image such as `registry.example.com/shop/web:1.4`")
    if fields.get("image") is None and "build" not in node.entries and isinstance(node.value, dict):
        problems.report(f"{fields.path}: `image` is missing", node.place)
    grace = fields.seconds("stop_grace_period")
    spec = ContainerSpec(
        image=image,
        command=_command(fields, "command"),
        entrypoint=_command(fields, "entrypoint"),
        environment=environment.of(fields),
        mounts=mounts,
        healthcheck=parse_healthcheck(fields),
        restart=deploy.restart,
        stop_grace_period_s=10.0 if grace is None else grace,
        stop_signal=_optional(fields, "stop_signal", _SIGNAL, "a signal such as `SIGTERM`").upper(),
        user=fields.string("user"),
        working_dir=_optional(fields, "working_dir", _FOLDER, "an absolute path"),
        hostname=_optional(fields, "hostname", _HOSTNAME, "a host name"),
        read_only=bool(fields.boolean("read_only")),
        init=bool(fields.boolean("init")),
        cap_add=fields.strings("cap_add", _CAPABILITY, "a capability such as `NET_ADMIN`"),
        cap_drop=fields.strings("cap_drop", _CAPABILITY, "a capability such as `ALL`"),
        security_opt=fields.strings("security_opt"),
        ulimits=_ulimits(fields),
        sysctls=_sysctls(fields),
        shm_size=fields.size("shm_size"),
        extra_hosts=_extra_hosts(fields),
        dns=_dns(fields),
        labels=_labels(fields),
        logging=_logging(fields),
        cpu_limit=deploy.cpus,
        memory_limit=deploy.memory,
        pids_limit=deploy.pids,
        reserved=deploy.reserved,
        expose=expose,
        target_ports=tuple(sorted({*(i.port for i in ingress), *(p.target for p in ports.publish)})),
        host_ports=ports.host,
    )
    autoscale = parse_autoscale(fields)
    service = Service(
        name=name,
        container=spec,
        mode=deploy.mode,
        replicas=first_count(deploy, autoscale),
        autoscale=autoscale,
        update=deploy.update,
        rollback=deploy.rollback,
        rollout=parse_rollout(fields),
        placement=deploy.placement,
        job=deploy.job,
        ingress=ingress,
        publish=ports.publish,
        expose_to=_expose_to(fields, listens=bool(spec.expose or spec.target_ports)),
    )
    check_rollout(fields, service)
    check_autoscale(fields, deploy, service)
    profiles = fields.strings("profiles", _NAME, "a profile name")
    return Parsed(service, node, profiles, parse_depends_on(fields), _networks(fields))


def _optional(fields: Fields, key: str, pattern: re.Pattern[str], expected: str) -> str:
    """A string that may be empty, as `${NAME:-}` gives one: then the image or the engine says."""
    node = fields.get(key)
    return "" if node is not None and node.value == "" else fields.string(key, pattern, expected)


def _writes_volume(mounts: tuple[Mount, ...]) -> bool:
    """Two containers that write one named volume at once, as two databases would, destroy it."""
    return any(mount.kind == "volume" and not mount.read_only for mount in mounts)


def _command(fields: Fields, key: str) -> tuple[str, ...] | None:
    """A list, or a string that is split into words as a shell would, without one."""
    node = fields.get(key)
    if node is None:
        return None
    if isinstance(node.value, str):
        try:
            return split(node.value)
        except PermanentError as error:
            fields.wrong(key, error.message, error.hint)
            return None
    if not isinstance(node.value, tuple):
        fields.wrong(key, f"expected a string or a list of strings, found {node.kind}")
    words = [string(item, f"{fields.at(key)}[{i}]", fields.problems) for i, item in enumerate(node.items)]
    return tuple(word for word in words if word is not None)


def _labels(fields: Fields) -> tuple[tuple[str, str], ...]:
    found = fields.pairs("labels")
    for key, node in found.items():
        if key.startswith(_OURS) or not key:
            message = (
                "labels that begin with `gitops.` are kept for the deployment"
                if key
                else "a label needs a name"
            )
            fields.problems.report(f"{fields.at('labels')}: {message}", node.place)
    return tuple(sorted((key, node.text) for key, node in found.items()))


def _sysctls(fields: Fields) -> tuple[tuple[str, str], ...]:
    found = fields.pairs("sysctls")
    for key, node in found.items():
        if not _SYSCTL.fullmatch(key) or not node.text:
            fields.problems.report(
                f"{fields.at('sysctls')}: expected `name=value`, found {quoted(key)}", node.place
            )
    return tuple(sorted((key, node.text) for key, node in found.items()))


def _ulimits(fields: Fields) -> tuple[Ulimit, ...]:
    node = fields.get("ulimits")
    if node is None:
        return ()
    if not isinstance(node.value, dict):
        fields.wrong("ulimits", f"expected a mapping, found {node.kind}")
    found: list[Ulimit] = []
    for name, value in sorted(node.entries.items()):
        path = f"{fields.at('ulimits')}.{name}"
        if name not in _ULIMITS:
            close = get_close_matches(name, sorted(_ULIMITS), n=1)
            hint = f"did you mean `{close[0]}`?" if close else "such as `nofile`"
            fields.problems.report(f"{quoted(name)} is no limit", value.place, hint)
        if isinstance(value.value, dict):
            limit = Fields(value, "ulimit", path, fields.problems)
            soft, hard = (limit.integer(key, minimum=-1, maximum=2**63 - 1) for key in ("soft", "hard"))
            if soft is None or hard is None:
                if limit.get("soft") is None or limit.get("hard") is None:
                    fields.problems.report(f"{path}: needs both `soft` and `hard`", value.place)
                continue
        else:
            soft = hard = integer(value, path, fields.problems, -1, 2**63 - 1)
        if soft is not None and hard is not None:
            if hard != -1 and (soft > hard or soft == -1):
                fields.problems.report(f"{path}: `soft` is above `hard`", value.place)
            found.append(Ulimit(name, soft, hard))
    return tuple(found)


def _address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _extra_hosts(fields: Fields) -> tuple[tuple[str, str], ...]:
    node = fields.get("extra_hosts")
    if node is None:
        return ()
    entries: list[tuple[str, Node, str]] = []
    if isinstance(node.value, dict):
        for name, value in node.value.items():
            entries += [(name, item, item.text) for item in value.items or (value,)]
    else:
        for item in fields.items("extra_hosts"):
            name, _, address = item.text.partition("=" if "=" in item.text else ":")
            entries.append((name, item, address))
    found: list[tuple[str, str]] = []
    for name, item, text in entries:
        address = text.strip().removeprefix("[").removesuffix("]")
        if not _HOST.fullmatch(name) or not (_address(address) or address == "host-gateway"):
            fields.problems.report(
                f"{fields.at('extra_hosts')}: expected `NAME=ADDRESS`, found {quoted(item.text)}", item.where
            )
        else:
            found.append((name, address))
    return tuple(sorted(set(found)))


def _dns(fields: Fields) -> tuple[str, ...]:
    found = fields.string_or_strings("dns")
    for text in found:
        if not _address(text):
            fields.wrong("dns", f"expected an IP address, found {quoted(text)}")
    return found


def _logging(fields: Fields) -> Logging:
    child = fields.child("logging", "logging")
    if child is None:
        return Logging()
    options = child.pairs("options")
    return Logging(
        child.string("driver", _NAME, "a log driver such as `json-file`"),
        tuple(sorted((key, node.text) for key, node in options.items())),
    )


def _expose_to(fields: Fields, *, listens: bool) -> tuple[str, ...]:
    """The applications that may find the service, sorted."""
    found = fields.strings("x-expose-to", SERVICE_NAME, "the name of an application")
    if found and not listens:
        hint = "name the container ports that others use in `expose`"
        fields.wrong("x-expose-to", "the service listens on nothing that others could use", hint)
    return tuple(sorted(set(found)))


def _networks(fields: Fields) -> tuple[tuple[str, Where], ...]:
    node = fields.get("networks")
    if node is None:
        return ()
    if isinstance(node.value, dict):
        for name, value in node.value.items():
            if value.value is not None:
                Fields(value, "network", f"{fields.at('networks')}.{name}", fields.problems)
        return tuple((name, value.place) for name, value in node.value.items())
    return tuple((item.text, item.where) for item in fields.items("networks"))
