"""`x-rollout`: how the edge goes over to a new version."""

from __future__ import annotations

from typing import Literal, cast

from gitops.desired import units
from gitops.desired.fields import Fields
from gitops.desired.problems import quoted
from gitops.desired.yaml import Node
from gitops.model.stack import Judge, Rollout, Service, Strategy

_STRATEGIES = ("rolling", "canary", "blue-green")
_OF: dict[str, tuple[str, ...]] = {
    "steps": ("canary",),
    "pause": ("canary",),
    "judge": ("canary", "blue-green", "rolling"),
    "keep": ("blue-green",),
}
_STEPS = (5, 25, 50)  # percent
_ALL = 100  # percent
_HTTP_ONLY = ("max_5xx", "max_mean_ms")


def parse_rollout(service: Fields) -> Rollout:
    """Reads `x-rollout`."""
    fields = service.child("x-rollout", "x-rollout")
    if fields is None:
        return Rollout()
    strategy = fields.choice("strategy", _STRATEGIES)
    if not strategy and fields.get("strategy"):
        return Rollout()  # which of the other keys it may have cannot be said
    strategy = strategy or "rolling"
    for key, strategies in _OF.items():
        if fields.get(key) and strategy not in strategies:
            message = f"{fields.at(key)}: a {strategy} rollout has none"
            hint = f"it is for `strategy: {'` or `'.join(strategies)}`"
            fields.problems.report(message, fields.place(key), hint)
    pause, manual = _pause(fields)
    keep = fields.seconds("keep")
    default = Rollout()
    return Rollout(
        cast("Strategy", strategy),
        _steps(fields) if strategy == "canary" else (),
        pause,
        manual,
        _judge(fields, strategy),
        judged=not _unjudged(fields, strategy),
        keep_s=default.keep_s if keep is None else keep,
    )


def _unjudged(rollout: Fields, strategy: str) -> bool:
    """Whether `judge: false` says that an update is not judged."""
    node = rollout.get("judge")
    if node is None or isinstance(node.value, dict):
        return False
    if strategy == "rolling":
        return rollout.boolean("judge") is False
    if isinstance(node.value, bool):
        message = f"a {strategy} rollout is there to be judged"
        rollout.wrong("judge", message, "use `strategy: rolling`")
    return False


def _pause(fields: Fields) -> tuple[float, bool]:
    """Seconds of each step, and whether a person ends it instead."""
    node = fields.get("pause")
    default = Rollout().pause_s
    if node is None or node.value == "manual":
        return default, node is not None
    found = units.seconds(node.text)
    if found is None:
        what = quoted(node.text) if node.text else node.kind
        fields.wrong("pause", f"expected `manual` or a duration such as `30s`, found {what}")
    elif found == 0:
        fields.wrong("pause", "a step needs time to be judged", "leave it out for 30s, or `manual`")
    return default if found is None else found, False


def _steps(fields: Fields) -> tuple[int, ...]:
    """Whole percents between 0 and 100, each above the one before."""
    if fields.get("steps") is None:
        return _STEPS
    items = fields.items("steps")
    if not items and isinstance(fields.node.entries["steps"].value, tuple):
        fields.wrong("steps", "no steps", "leave it out for 5%, 25%, 50%")
    found: list[int] = []
    for index, item in enumerate(items):
        path = f"{fields.at('steps')}[{index}]"
        share = _percent(fields, path, item)
        if share is None:
            continue
        if share != int(share) or not 0 < share < _ALL:
            hint = "100% follows the last step by itself" if share == _ALL else ""
            message = f"{path}: expected a whole percentage of 1% to 99%, found {quoted(item.text)}"
            fields.problems.report(message, item.where, hint)
        elif found and share <= found[-1]:
            fields.problems.report(f"{path}: {quoted(item.text)} is not above the step before", item.where)
        else:
            found.append(int(share))
    return tuple(found)


def _percent(fields: Fields, path: str, node: Node) -> float | None:
    share = units.percent(node.text)
    if share is None:
        found = quoted(node.text) if node.text else node.kind
        hint = f"write `{node.text}%`" if node.text.isdecimal() else ""
        message = f"{path}: expected a percentage such as `5%`, found {found}"
        fields.problems.report(message, node.where, hint)
    return share


def _judge(rollout: Fields, strategy: str) -> Judge:
    default = Judge()
    node = rollout.get("judge")
    if (
        node is not None
        and (isinstance(node.value, bool) or strategy == "rolling")
        and node.kind != "a mapping"
    ):
        return default  # whether it is judged at all
    fields = rollout.child("judge", "judge")
    if fields is None:
        return default
    against = fields.choice("against", ("absolute", "old")) or default.against
    if against == "old" and strategy == "blue-green":
        message = "after the switch the old servers get no requests to compare with"
        fields.wrong("against", message, "leave it out, or `strategy: canary`")
    if fields.get("against") and against == "absolute" and strategy == "rolling":
        fields.wrong("against", "a rolling update is always compared with the old version", "leave it out")
    fewest = fields.integer("min_requests", minimum=1)
    mean = fields.integer("max_mean_ms", minimum=1)
    return Judge(
        _share(fields, "max_5xx", default.max_5xx),
        _share(fields, "max_errors", default.max_errors),
        None if mean is None else float(mean),
        cast('Literal["absolute", "old"]', against),
        default.min_requests if fewest is None else fewest,
    )


def _share(fields: Fields, key: str, default: float) -> float:
    node = fields.get(key)
    found = None if node is None else _percent(fields, fields.at(key), node)
    return default if found is None else round(found / _ALL, 8)


def check_rollout(fields: Fields, service: Service) -> None:
    """Reports where a service cannot have two versions side by side at the edge, or be judged by it."""
    rollout = fields.child("x-rollout", "x-rollout")
    if rollout is None or service.job:
        return
    if service.rollout.strategy == "rolling":
        _check_judge(rollout, service)
        return
    wrong: list[tuple[str, str]] = []
    if not service.served:
        wrong.append(("the edge does not serve it", "it needs `x-ingress` or `ports`"))
    if service.mode == "global":
        wrong.append(("a global service has one container on each host", "`mode: replicated`"))
    if service.container.host_ports:
        wrong.append(("two containers cannot hold one port of a host", "publish it without `mode: host`"))
    elif service.update.order == "stop-first":
        hint = "`update_config.order: start-first`, where two containers may run at once"
        wrong.append(("its containers stop before new ones start", hint))
    for why, hint in wrong:
        message = f"{rollout.path}: {service.rollout.strategy} needs both versions at once: {why}"
        rollout.problems.report(message, fields.place("x-rollout"), hint)
    _check_judge(rollout, service)


def _check_judge(rollout: Fields, service: Service) -> None:
    """Reports limits on what the edge does not count of the service."""
    node = rollout.get("judge")
    judge = rollout.child("judge", "judge") if node and isinstance(node.value, dict) else None
    if judge and service.rollout.strategy == "rolling" and not service.http_targets:
        message = f"{judge.path}: the edge serves nothing of it over HTTP"
        rollout.problems.report(message, rollout.place("judge"), "it needs `x-ingress`")
        return
    for key in _HTTP_ONLY if judge and service.served and not service.ingress else ():
        if judge and judge.get(key):
            message = f"{judge.at(key)}: the edge reads no answers of what it serves as TCP"
            judge.problems.report(message, judge.place(key), "`max_errors` counts connections")
