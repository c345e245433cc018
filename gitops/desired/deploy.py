"""`deploy`, `restart` and `healthcheck` of a service: how it runs, is replaced and is judged."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import cast

from gitops.desired.fields import Fields
from gitops.desired.problems import quoted
from gitops.model.stack import FailureAction, Healthcheck, Mode, Order, RestartPolicy, UpdateConfig

_CPUS = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,9})?|\.[0-9]{1,9}")
_ON_FAILURE = re.compile(r"on-failure(?::(?P<attempts>[0-9]{1,9}))?")
_MOST_REPLICAS = 10_000
_LEAST_MEMORY = 6 * 1024**2  # bytes; the engine refuses less


@dataclass(frozen=True)
class Deploy:
    """What `deploy`, `scale` and `restart` say together."""

    mode: Mode
    replicas: int
    update: UpdateConfig
    restart: RestartPolicy
    cpus: float = 0.0  # cores
    memory: int = 0  # bytes
    pids: int = 0


def parse_deploy(service: Fields, default: Order) -> Deploy:
    """Reads `deploy`, `scale` and `restart`; `default` is the order where `update_config` states none."""
    deploy = service.child("deploy", "deploy")
    mode: Mode = "replicated"
    replicas: int | None = None
    cpus, memory, pids = 0.0, 0, 0
    if deploy:
        if deploy.choice("mode", ("replicated", "global")) == "global":
            mode = "global"
        replicas = deploy.integer("replicas", maximum=_MOST_REPLICAS)
        resources = deploy.child("resources", "resources")
        limits = resources.child("limits", "limits") if resources else None
        if limits:
            cpus, memory, pids = _limits(limits)
    scale = service.integer("scale", maximum=_MOST_REPLICAS)
    if scale is not None and replicas is not None and scale != replicas:
        service.wrong("scale", f"{scale} here, but `deploy.replicas` is {replicas}", "leave one of them out")
    replicas = replicas if replicas is not None else scale
    if mode == "global" and replicas is not None:
        key, fields = ("replicas", deploy) if deploy and deploy.get("replicas") else ("scale", service)
        fields.wrong(key, "a global service has one replica on each host", "leave it out")
    update = deploy.child("update_config", "update_config") if deploy else None
    return Deploy(
        mode,
        1 if replicas is None or mode == "global" else replicas,
        _update(update, default) if update else UpdateConfig(order=default),
        _restart(service, deploy),
        cpus,
        memory,
        pids,
    )


def _limits(limits: Fields) -> tuple[float, int, int]:
    node = limits.get("cpus")
    cpus = 0.0
    if node is not None:
        if isinstance(node.value, bool) or not _CPUS.fullmatch(node.text):
            found = quoted(node.text) if node.text else node.kind
            limits.wrong("cpus", f"expected a number of cores such as `0.5`, found {found}")
        else:
            cpus = float(node.text)
    memory = limits.size("memory")
    if 0 < memory < _LEAST_MEMORY:
        limits.wrong("memory", f"{memory} bytes are too few for an engine", "`64m` means 64 megabytes")
    return cpus, memory, limits.integer("pids") or 0


def _update(fields: Fields, order: Order) -> UpdateConfig:
    default = UpdateConfig(order=order)
    parallelism = fields.integer("parallelism")
    monitor = fields.seconds("monitor")
    given = fields.choice("order", ("start-first", "stop-first")) or default.order
    action = fields.choice("failure_action", ("rollback", "pause", "continue")) or default.failure_action
    if action == "continue":
        fields.wrong("failure_action", "`continue` is not supported yet", "`rollback` or `pause`")
    return UpdateConfig(
        default.parallelism if parallelism is None else parallelism,
        cast("Order", given),
        default.monitor_s if monitor is None else monitor,
        cast("FailureAction", action),
    )


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
    if fields.boolean("disable"):
        if test is not None and test != ("NONE",):
            fields.wrong("disable", "disabled, but it has a `test`", "leave one of them out")
        return Healthcheck(test=("NONE",))
    retries = fields.integer("retries")
    return Healthcheck(
        test,
        fields.seconds("interval"),
        fields.seconds("timeout"),
        fields.seconds("start_period"),
        fields.seconds("start_interval"),
        retries,
    )


def _test(fields: Fields) -> tuple[str, ...] | None:
    node = fields.get("test")
    if node is None:
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
