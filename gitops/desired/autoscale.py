"""`x-autoscale`: the bounds within which the controller chooses the count of replicas by load."""

from __future__ import annotations

import re
from typing import get_args

from gitops.desired import units
from gitops.desired.deploy import MOST_REPLICAS, Deploy
from gitops.desired.fields import Fields
from gitops.desired.problems import quoted
from gitops.model.stack import Autoscale, Metric, Service

_NUMBER = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,6})?")
_PERCENT = re.compile(r"([0-9]{1,5}(?:\.[0-9]{1,6})?)%")
_SHARES: frozenset[Metric] = frozenset({"cpu", "memory"})  # written as percents
OF_HAPROXY: frozenset[Metric] = frozenset(
    {"sessions_per_replica", "requests_per_replica", "queue_per_replica", "response_ms"}
)
_ALL = 100  # percent
_SAMPLE = "such as `target: {sessions_per_replica: 50}`"


def parse_autoscale(service: Fields) -> Autoscale | None:
    """Reads `x-autoscale`; None where the count of replicas is the commit's alone."""
    # A bare `x-autoscale:` is told to be no mapping: as an absent one it would leave the count as it is.
    node = service.node.entries.get("x-autoscale")
    if node is None:
        return None
    fields = Fields(node, "x-autoscale", service.at("x-autoscale"), service.problems)
    if not isinstance(node.value, dict):
        return None
    least = fields.integer("min", minimum=1, maximum=MOST_REPLICAS) or 1
    most = fields.integer("max", minimum=1, maximum=MOST_REPLICAS)
    if fields.get("max") is None:
        fields.problems.report(f"{fields.at('max')} is missing", fields.place("max"), "such as `max: 10`")
    elif most is not None and most < least:
        fields.wrong("max", f"{most} is below `min`, which is {least}")
    out, back = fields.child("scale_out", "scale_out"), fields.child("scale_in", "scale_in")
    cooldown = out.seconds("cooldown") if out else None
    window = back.seconds("stabilization_window") if back else None
    default = Autoscale(1, 1, ())
    return Autoscale(
        least,
        max(least, most or 0),
        _targets(fields),
        default.cooldown_s if cooldown is None else cooldown,
        default.window_s if window is None else window,
        _tolerance(fields, default.tolerance),
        fields.integer("max_sessions", minimum=1) or 0,
    )


def _targets(fields: Fields) -> tuple[tuple[Metric, float], ...]:
    targets = fields.child("target", "target")
    if targets is None:
        fields.problems.report(f"{fields.at('target')} is missing", fields.place("target"), _SAMPLE)
        return ()
    metrics: tuple[Metric, ...] = get_args(Metric)
    named = [metric for metric in metrics if targets.get(metric)]
    if not named and targets.node.value == {}:
        fields.wrong("target", "no target", _SAMPLE)
    found = ((metric, _target(targets, metric)) for metric in sorted(named))
    return tuple((metric, value) for metric, value in found if value)


def _target(targets: Fields, metric: Metric) -> float | None:
    """What one metric is to be, above 0; reports anything else."""
    node = targets.node.entries[metric]
    pattern = _PERCENT if metric in _SHARES else _NUMBER
    match = None if isinstance(node.value, bool) else pattern.fullmatch(node.text)
    if match is None:
        found = quoted(node.text) if node.text else node.kind
        expected = "a percentage such as `70%`" if metric in _SHARES else "a number such as `50`"
        hint = f"write `{node.text}%`" if metric in _SHARES and node.text.isdecimal() else ""
        targets.wrong(metric, f"expected {expected}, found {found}", hint)
        return None
    value = float(match[match.lastindex or 0])
    if value == 0:
        targets.wrong(metric, "a target is above 0")
    elif metric == "memory" and value > _ALL:
        targets.wrong(metric, f"{quoted(node.text)} is above the limit of the container")
        return None
    return value


def _tolerance(fields: Fields, default: float) -> float:
    node = fields.get("tolerance")
    if node is None:
        return default
    share = units.percent(node.text)
    if share is None or share == _ALL:
        found = quoted(node.text) if node.text else node.kind
        fields.wrong("tolerance", f"expected a percentage below 100 such as `10%`, found {found}")
        return default
    return round(share / _ALL, 8)


def first_count(deploy: Deploy, autoscale: Autoscale | None) -> int:
    """The count of replicas that a service begins with."""
    return autoscale.min if autoscale and not deploy.counted else deploy.replicas


def check_autoscale(fields: Fields, deploy: Deploy, service: Service) -> None:
    """Reports bounds and targets that this service cannot have."""
    bounds = service.autoscale
    if bounds is None:
        return
    where, path = fields.place("x-autoscale"), fields.at("x-autoscale")
    if service.job:
        fields.problems.report(f"{path}: a job is run as often as `replicas` says", where, "leave it out")
        return
    if service.mode == "global":
        message = f"{path}: a global service has one replica on each host"
        fields.problems.report(message, where, "`mode: replicated`")
    if deploy.counted and not bounds.min <= service.replicas <= bounds.max:
        message = f"{path}: it begins with {service.replicas} replicas, outside {bounds.min} to {bounds.max}"
        fields.problems.report(message, where, "leave `deploy.replicas` out to begin with `min`")
    _check_targets(fields, service, bounds)


def _check_targets(fields: Fields, service: Service, bounds: Autoscale) -> None:
    """Each target needs something that can be read."""
    node = fields.node.entries["x-autoscale"].entries
    targets = node["target"].entries if "target" in node else {}
    named = {metric for metric, _ in bounds.targets}
    wrong: list[tuple[Metric, str, str]] = []
    if not service.listens:
        why, hint = "it listens on nothing that HAProxy could balance over", "`expose`, or `cpu`, `memory`"
        wrong += [(metric, why, hint) for metric in sorted(named & OF_HAPROXY)]
    elif "response_ms" in named and not service.ingress:
        wrong.append(("response_ms", "HAProxy reads no answers of what it serves as TCP", "`x-ingress`"))
    elif "queue_per_replica" in named and not bounds.max_sessions:
        hint = "`max_sessions` says how many a replica gets at once"
        wrong.append(("queue_per_replica", "nothing waits at HAProxy without a limit", hint))
    if bounds.max_sessions and not service.listens:
        message = f"{fields.at('x-autoscale')}.max_sessions: it listens on nothing"
        fields.problems.report(message, node["max_sessions"].place, "leave it out")
    if "memory" in named and not service.container.memory_limit:
        wrong.append(("memory", "it is a share of a limit", "set `deploy.resources.limits.memory`"))
    for metric, why, hint in wrong:
        path = f"{fields.at('x-autoscale')}.target.{metric}"
        fields.problems.report(f"{path}: {why}", targets[metric].place, hint)
