"""`deploy.placement`, `deploy.resources.reservations`: where containers may run, and what they need there."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

from gitops.desired.fields import Fields
from gitops.desired.problems import Problems, quoted
from gitops.model.fleet import Fleet
from gitops.model.placement import Constraint, Placement
from gitops.model.size import CORE, Size, bytes_text, cores
from gitops.model.stack import Stack

LABEL = "node.labels."
GROUP = "node.group."
_KEYS = ("node.hostname", "node.engine", "node.platform.arch", "node.platform.os")
_KEY = re.compile(r"node\.(?:labels|group)\.[A-Za-z0-9][A-Za-z0-9_./-]*")
_CONSTRAINT = re.compile(r"\s*(?P<key>\S+?)\s*(?P<sign>==|!=)\s*(?P<value>\S(?:.*\S)?)\s*")
_ENGINES = ("docker", "podman")
_BOOLEANS = ("true", "false")
_CPUS = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,9})?|\.[0-9]{1,9}")
_MOST = 10_000
_KNOWN = "node.labels.NAME, node.group.NAME, " + ", ".join(_KEYS)
_NOT_HERE = {
    "node.id": "hosts have no ids here: use `node.hostname`, the name in the inventory",
    "node.ip": "use `node.hostname`, the name in the inventory",
    "node.role": "there are no managers: use `node.group.NAME == true`, a group of the inventory",
    "engine.labels": "give the host a label in the inventory: `gitops_labels`, and use `node.labels`",
}


def parse_placement(deploy: Fields | None) -> Placement:
    """Reads `placement`."""
    fields = deploy.child("placement", "placement") if deploy else None
    if deploy is None or fields is None:
        return Placement(where=deploy.node.place if deploy else None)
    constraints = (_constraint(fields, index) for index in range(len(fields.items("constraints"))))
    return Placement(
        tuple(found for found in constraints if found),
        _preferences(fields),
        fields.integer("max_replicas_per_node", maximum=_MOST) or 0,
        where=deploy.node.place,
    )


def _constraint(fields: Fields, index: int) -> Constraint | None:
    item = fields.items("constraints")[index]
    path = f"{fields.at('constraints')}[{index}]"
    match = _CONSTRAINT.fullmatch(item.text) if isinstance(item.value, str) else None
    if match is None:
        what = quoted(item.text) if item.text else item.kind
        message = f"{path}: expected `KEY == VALUE` or `KEY != VALUE`, found {what}"
        fields.problems.report(message, item.where, "such as `node.labels.zone == a`")
        return None
    key, value = match["key"], match["value"]
    if not _known(key):
        fields.problems.report(f"{path}: {quoted(key)} is not known", item.where, _hint(key))
        return None
    choices = _BOOLEANS if key.startswith(GROUP) else _ENGINES if key == "node.engine" else ()
    if choices and value.casefold() not in choices:
        message = f"{path}: expected {' or '.join(choices)}, found {quoted(value)}"
        fields.problems.report(message, item.where)
        return None
    return Constraint(key, match["sign"] == "==", value, item.where)


def _known(key: str) -> bool:
    return key in _KEYS or _KEY.fullmatch(key) is not None


def _hint(key: str) -> str:
    told = next((hint for prefix, hint in _NOT_HERE.items() if key.startswith(prefix)), "")
    close = get_close_matches(key, [*_KEYS, LABEL, GROUP], n=1)
    return told or (f"did you mean `{close[0]}`?" if close else f"known are {_KNOWN}")


def _preferences(fields: Fields) -> tuple[str, ...]:
    found: list[str] = []
    for index, item in enumerate(fields.items("preferences")):
        path = f"{fields.at('preferences')}[{index}]"
        preference = Fields(item, "preference", path, fields.problems)
        key = preference.string("spread")
        if key and not _known(key):
            preference.wrong("spread", f"{quoted(key)} is not known", _hint(key))
        elif key:
            found.append(key)
        elif isinstance(item.value, dict) and preference.get("spread") is None:
            fields.problems.report(f"{path}: `spread` is missing", item.place)
    return tuple(dict.fromkeys(found))


def parse_reservations(resources: Fields | None, limits: Size) -> Size:
    """Reads `reservations`.

    Args:
        resources: `deploy.resources`.
        limits: what the containers may use at most; 0 means no limit.
    """
    fields = resources.child("reservations", "reservations") if resources else None
    if fields is None:
        return Size()
    found = Size(cpus(fields, "cpus"), fields.size("memory"))
    if 0 < limits.cpus < found.cpus:
        fields.wrong("cpus", f"{cores(found.cpus)} reserved, but the limit is {cores(limits.cpus)}")
    if 0 < limits.memory < found.memory:
        reserved, limit = bytes_text(found.memory), bytes_text(limits.memory)
        fields.wrong("memory", f"{reserved} reserved, but the limit is {limit}")
    return found


def cpus(fields: Fields, key: str) -> int:
    """Thousandths of a core, rounded up; 0 where nothing is said."""
    node = fields.get(key)
    if node is None:
        return 0
    if isinstance(node.value, bool) or not _CPUS.fullmatch(node.text):
        what = quoted(node.text) if node.text else node.kind
        fields.wrong(key, f"expected a number of cores such as `0.5`, found {what}")
        return 0
    whole, _, fraction = node.text.partition(".")
    billionths = int(whole or 0) * 10**9 + int(fraction.ljust(9, "0"))
    return -(-billionths * CORE // 10**9)


def check_placement(stack: Stack, fleet: Fleet) -> None:
    """Refuses labels and groups that no host of the fleet has: a slip would fit nowhere, or everywhere.

    Raises:
        InvalidInputError: with all of them, at their places.
    """
    hosts = fleet.container_hosts
    labels = {f"{LABEL}{name}" for host in hosts for name, _ in host.labels}
    groups = {f"{GROUP}{group}" for host in fleet.hosts for group in host.groups}
    problems = Problems()
    for service in stack.services:
        said = [(c.key, c.where) for c in service.placement.constraints]
        said += [(key, service.placement.where) for key in service.placement.spread]
        for key, where in said:
            for prefix, known, kind in ((LABEL, labels, "label"), (GROUP, groups, "group")):
                if key.startswith(prefix) and key not in known:
                    name = quoted(key.removeprefix(prefix))
                    message = (
                        f"services.{service.name}.deploy.placement: no container host has the {kind} {name}"
                    )
                    problems.report(message, where, _there(kind, prefix, known))
    problems.raise_if_any()


def _there(kind: str, prefix: str, known: Iterable[str]) -> str:
    names = sorted(key.removeprefix(prefix) for key in known)
    if names:
        return f"the hosts have the {kind}s {', '.join(names)}"
    return "give hosts labels in the inventory: `gitops_labels: {zone: a}`"
