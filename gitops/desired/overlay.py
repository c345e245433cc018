"""Overlays by Compose's merge rules.

Mappings are merged key by key, single values are replaced, lists are joined.
Exceptions: `command`, `entrypoint` and `healthcheck.test` are replaced as a
whole; entries of `environment`, `labels` and `sysctls` are joined by name,
`volumes` by their target, `ports` by what they publish; `logging` is merged
only for the same driver; `x-` keys merge as mappings, else they are replaced.
Null takes back `command`, `entrypoint` and an entry that is joined by name;
anywhere else it says nothing. `!reset` removes a value, `!override` replaces it
as a whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from gitops.desired.problems import Problems
from gitops.desired.yaml import Node

_Path = tuple[str, ...]
_TAKEN_BACK = {"services.*.command", "services.*.entrypoint"}  # by null
_REPLACED = {
    "services.*.command",
    "services.*.entrypoint",
    "services.*.healthcheck.test",
    "services.*.ulimits.*",
}
_BY_NAME = {"services.*.environment", "services.*.labels", "services.*.sysctls"}
_SETS = {"services.*.depends_on", "services.*.networks"}  # a list of names stands for a mapping of them
_STRING_OR_LIST = {"services.*.env_file", "services.*.dns", "services.*.tmpfs"}


def merge(base: Node, over: Node, problems: Problems, path: _Path = ()) -> Node:
    """The base with an overlay on top. Both are interpolated already."""
    if over.tag:
        return clean(replace(over, value=None if over.tag == "reset" else over.value))
    rule = _rule(path)
    if over.value is None:
        return over if rule in _TAKEN_BACK or _rule(path[:-1]) in _BY_NAME else base
    base, over = _same_form(base, over, rule)
    if base.value is None or _replaces(base, over, path, rule):
        return clean(over)
    match base.value, over.value:
        case dict(), dict():
            return _merge_mappings(base, over, problems, path)
        case tuple() as below, tuple():
            items = (*below, *clean(over).items)
            return replace(over, value=_unique(items, _INDEX.get(rule, _scalar_index)))
        case (tuple() | dict(), _) | (_, tuple() | dict()):
            message = f"{'.'.join(path)}: {over.kind} cannot be merged into {base.kind} (at {base.where})"
            problems.report(message, over.where, "write the same kind, or use `!override`")
            return base
        case _:
            return over


def _rule(path: _Path) -> str:
    """The path with the names that users choose as `*`."""
    names = {1, 3} if path[2:3] == ("ulimits",) else {1}
    return ".".join("*" if index in names else key for index, key in enumerate(path))


def clean(node: Node) -> Node:
    """The node without Compose's own tags, what they reset left out: for a file that has nothing below it."""
    match node.value:
        case dict() as entries:
            kept = {key: clean(value) for key, value in entries.items() if value.tag != "reset"}
            return replace(node, value=kept, tag="")
        case tuple() as items:
            return replace(node, value=tuple(clean(item) for item in items if item.tag != "reset"), tag="")
        case _:
            return replace(node, tag="") if node.tag else node


def _same_form(base: Node, over: Node, rule: str) -> tuple[Node, Node]:
    """Both in the form in which they merge, where Compose has a short and a long one."""
    if rule in _BY_NAME:
        return _named(base), _named(over)
    if rule == "services.*.extra_hosts":
        return _as_lines(base), _as_lines(over)
    if rule in _SETS:
        return _as_set(base), _as_set(over)
    if rule in _STRING_OR_LIST:
        return _as_list(base), _as_list(over)
    return base, over


def _replaces(base: Node, over: Node, path: _Path, rule: str) -> bool:
    if rule in _REPLACED:
        return True
    if rule == "services.*.logging":
        drivers = [node.entries["driver"].text for node in (base, over) if "driver" in node.entries]
        return len(set(drivers)) > 1
    if any(key.startswith("x-") for key in path):
        return not (isinstance(base.value, dict) and isinstance(over.value, dict))
    return False


def _merge_mappings(base: Node, over: Node, problems: Problems, path: _Path) -> Node:
    merged = dict(base.entries)
    for key, value in over.entries.items():
        if value.tag == "reset":
            merged.pop(key, None)
        elif key in merged:
            merged[key] = replace(merge(merged[key], value, problems, (*path, key)), key=value.key)
        else:
            merged[key] = clean(value)
    return replace(base, value=merged, tag="")


def _named(node: Node) -> Node:
    """A list of `KEY=value` as the mapping that it stands for."""
    if not isinstance(node.value, tuple):
        return node
    entries: dict[str, Node] = {}
    for item in node.value:
        key, found, value = item.text.partition("=")
        entries[key] = replace(item, value=value if found else None, key=item.where)
    return replace(node, value=entries)


def _as_set(node: Node) -> Node:
    if not isinstance(node.value, tuple):
        return node
    return replace(node, value={item.text: replace(item, value={}, key=item.where) for item in node.value})


def _as_lines(node: Node) -> Node:
    """A mapping of names to addresses as the list of `NAME=ADDRESS` that it stands for."""
    lines = [
        replace(address, value=f"{name}={address.text}", key=None)
        for name, entry in node.entries.items()
        for address in (entry.items or (entry,))
    ]
    return replace(node, value=tuple(lines)) if isinstance(node.value, dict) else node


def _as_list(node: Node) -> Node:
    return replace(node, value=(node,)) if isinstance(node.value, str) else node


def _unique(items: tuple[Node, ...], index: Callable[[Node], object]) -> tuple[Node, ...]:
    """Each entry once; a later one takes the place of an earlier one of the same index."""
    found: dict[object, Node] = {}
    for item in items:
        found[index(item)] = item
    return tuple(found.values())


def _scalar_index(item: Node) -> object:
    return id(item) if isinstance(item.value, dict | tuple) else item.text


def _port_index(item: Node) -> object:
    if isinstance(item.value, dict):
        entries = item.entries
        published, target = (entries[key].text if key in entries else "" for key in ("published", "target"))
        protocol = entries["protocol"].text if "protocol" in entries else "tcp"
        return f"{published}:{target}/{protocol}"
    return item.text if "/" in item.text else f"{item.text}/tcp"


def _mount_index(item: Node) -> object:
    if isinstance(item.value, dict):
        return item.entries["target"].text.rstrip("/") if "target" in item.entries else id(item)
    parts = item.text.split(":")
    return (parts[1] if len(parts) > 1 else parts[0]).rstrip("/")


def _env_file_index(item: Node) -> object:
    return item.entries["path"].text if "path" in item.entries else item.text


_INDEX: dict[str, Callable[[Node], object]] = {
    "services.*.ports": _port_index,
    "services.*.volumes": _mount_index,
    "services.*.env_file": _env_file_index,
}
