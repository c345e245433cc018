"""`deploy`, `restart` and `healthcheck` of a service: how it runs, is replaced and is judged."""

from __future__ import annotations

import re
from dataclasses import dataclass

from gitops.desired.fields import Fields
from gitops.desired.jobs import MODE, never_restarted, parse_job
from gitops.desired.placement import cpus as parse_cpus
from gitops.desired.placement import parse_placement, parse_reservations
from gitops.desired.problems import quoted
from gitops.desired.updates import parse_rollback, parse_update
from gitops.model.placement import ANYWHERE, Placement
from gitops.model.size import CORE, NOTHING, Size
from gitops.model.stack import Healthcheck, Job, Mode, Order, RestartPolicy, UpdateConfig

_ON_FAILURE = re.compile(r"on-failure(?::(?P<attempts>[0-9]{1,9}))?")
MOST_REPLICAS = 10_000
_LEAST_CHECK_TIME = 1e-3  # seconds; the engine refuses less
_LEAST_MEMORY = 6 * 1024**2  # bytes; the engine refuses less


@dataclass(frozen=True)
class Deploy:
    """What `deploy`, `scale` and `restart` say together."""

    mode: Mode
    replicas: int
    counted: bool  # whether the file says how many replicas
    job: Job | None
    update: UpdateConfig
    rollback: UpdateConfig
    restart: RestartPolicy
    cpus: float = 0.0  # cores
    memory: int = 0  # bytes
    pids: int = 0
    reserved: Size = NOTHING
    placement: Placement = ANYWHERE


def parse_deploy(service: Fields, default: Order) -> Deploy:
    """Reads `deploy`, `scale` and `restart`; `default` is the order where `update_config` states none."""
    deploy = service.child("deploy", "deploy")
    said = _mode(deploy)
    mode: Mode = "global" if said == "global" else "replicated"
    replicas: int | None = None
    cpus, memory, pids = 0.0, 0, 0
    resources: Fields | None = None
    if deploy:
        replicas = deploy.integer("replicas", maximum=MOST_REPLICAS)
        resources = deploy.child("resources", "resources")
        limits = resources.child("limits", "limits") if resources else None
        if limits:
            cpus, memory, pids = _limits(limits)
    scale = service.integer("scale", maximum=MOST_REPLICAS)
    if scale is not None and replicas is not None and scale != replicas:
        service.wrong("scale", f"{scale} here, but `deploy.replicas` is {replicas}", "leave one of them out")
    replicas = replicas if replicas is not None else scale
    if mode == "global" and replicas is not None:
        key, fields = ("replicas", deploy) if deploy and deploy.get("replicas") else ("scale", service)
        fields.wrong(key, "a global service has one replica on each host", "leave it out")
    update = parse_update(deploy, default)
    restart = _restart(service, deploy)
    job = parse_job(service, deploy, said)
    return Deploy(
        mode,
        1 if replicas is None or mode == "global" else replicas,
        replicas is not None,
        job,
        update,
        parse_rollback(deploy, update),
        never_restarted(service, deploy, restart) if job else restart,
        cpus,
        memory,
        pids,
        parse_reservations(resources, Size(round(cpus * CORE), memory)),
        _placement(deploy, mode),
    )


def _placement(deploy: Fields | None, mode: Mode) -> Placement:
    found = parse_placement(deploy)
    if deploy and mode == "global" and (found.most_per_host or found.spread):
        deploy.wrong("placement", "a global service has one replica on each host", "`constraints` alone")
    return found


def _mode(deploy: Fields | None) -> str:
    """What `mode` says, or empty."""
    if deploy and deploy.string("mode") == "global-job":
        deploy.wrong("mode", "`global-job` is not supported", f"`{MODE}` runs as often as `replicas` says")
        return MODE
    return deploy.choice("mode", ("replicated", "global", MODE)) if deploy else ""


def _limits(limits: Fields) -> tuple[float, int, int]:
    node = limits.get("cpus")
    cpus = float(node.text) if node and parse_cpus(limits, "cpus") else 0.0
    memory = limits.size("memory")
    if 0 < memory < _LEAST_MEMORY:
        limits.wrong("memory", f"{memory} bytes are too few for an engine", "`64m` means 64 megabytes")
    return cpus, memory, max(0, limits.integer("pids", minimum=-1) or 0)  # -1: no limit, like 0


def _restart(service: Fields, deploy: Fields | None) -> RestartPolicy:
    """`deploy.restart_policy` where it is given, as in Compose, else `restart`."""
    plain = _plain_restart(service)
    policy = deploy.child("restart_policy", "restart_policy") if deploy else None
    if policy is None:
        return plain
    attempts = policy.integer("max_attempts") or 0
    condition = policy.choice("condition", ("none", "on-failure", "any")) or "any"
    if attempts and condition != "on-failure":
        policy.wrong("max_attempts", "engines count attempts for `condition: on-failure` alone")
    match condition:
        case "none":
            return RestartPolicy("no")
        case "on-failure":
            return RestartPolicy("on-failure", attempts)
        case _:
            return RestartPolicy("unless-stopped")


def _plain_restart(service: Fields) -> RestartPolicy:
    node = service.get("restart")
    if node is None:
        return RestartPolicy()
    if node.value is False:
        service.wrong("restart", "expected a string, found a boolean", 'write `restart: "no"`')
        return RestartPolicy()
    match service.string("restart"):
        case "no":
            return RestartPolicy("no")
        case "always":
            return RestartPolicy("always")
        case "unless-stopped" | "":
            return RestartPolicy("unless-stopped")
        case text if match := _ON_FAILURE.fullmatch(text):
            return RestartPolicy("on-failure", int(match["attempts"] or 0))
        case text:
            choices = "no, always, unless-stopped, on-failure or on-failure:N"
            service.wrong("restart", f"expected {choices}, found {quoted(text)}")
            return RestartPolicy()


def parse_healthcheck(service: Fields) -> Healthcheck | None:
    """Reads `healthcheck`; what it leaves out is left to the image."""
    fields = service.child("healthcheck", "healthcheck")
    if fields is None:
        return None
    test = _test(fields)
    if fields.boolean("disable"):  # also beside a `test`: an overlay switches the check of its base off
        return Healthcheck(test=("NONE",))
    retries = fields.integer("retries")
    interval, timeout, start_period, start_interval = (
        _check_time(fields, key) for key in ("interval", "timeout", "start_period", "start_interval")
    )
    return Healthcheck(test, interval, timeout, start_period, start_interval, retries)


def _check_time(fields: Fields, key: str) -> float | None:
    found = fields.seconds(key)
    if found is not None and 0 < found < _LEAST_CHECK_TIME:
        fields.wrong(key, "engines take no less than 1ms", "`0s` leaves it to the image")
    return found


def _test(fields: Fields) -> tuple[str, ...] | None:
    node = fields.get("test")
    if node is None or node.value == ():
        return None
    if isinstance(node.value, str):
        text = fields.string("test")
        return ("NONE",) if text == "NONE" else ("CMD-SHELL", text)
    words = tuple(item.value for item in node.items if isinstance(item.value, str))
    if len(words) < len(node.items) or not isinstance(node.value, tuple):
        fields.wrong("test", "expected a string or a list of strings", "put numbers in quotes")
        return None
    match words:
        case ("NONE",):
            return words
        case ("CMD", _, *_) | ("CMD-SHELL", _):
            return words
        case _:
            fields.wrong(
                "test",
                "expected a list that begins with CMD, CMD-SHELL or NONE",
                'such as `["CMD", "curl", "-f", "http://localhost"]`',
            )
            return None
