"""`volumes` and `tmpfs` of a service."""

from __future__ import annotations

import re

from gitops.desired import units
from gitops.desired.fields import Fields, string
from gitops.desired.problems import Problems, quoted
from gitops.desired.yaml import Node
from gitops.model.stack import Mount

# With the application's name before it, it is the name of a folder on the host: at most 255 characters.
VOLUME_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,189}")
_ABSOLUTE = re.compile(r"/[^\0:\n]*")
_PROPAGATIONS = ("private", "rprivate", "shared", "rshared", "slave", "rslave")
_MODES = ("z", "Z", "nocopy", *_PROPAGATIONS)
_TMPFS_OPTIONS = re.compile(
    r"(?:ro|rw|(?:no)?(?:exec|suid|dev)|(?:no|rel|strict)?atime|uid=[0-9]+|gid=[0-9]+|nr_inodes=[0-9]+[kmg]?)"
)
_OCTAL = re.compile(r"0?o?[0-7]{1,4}")
_LARGEST_MODE = 0o7777
_HOST_FOLDER = "the hosts have no copy of the repo: name an absolute path of the hosts, or a volume"


def parse_mounts(fields: Fields, volumes: frozenset[str]) -> tuple[Mount, ...]:
    """Reads `volumes` and `tmpfs`, sorted by target.

    Args:
        fields: the service.
        volumes: the names that the file's `volumes` declares.
    """
    found: list[tuple[Mount, Node]] = []
    for index, item in enumerate(fields.items("volumes")):
        path = f"{fields.at('volumes')}[{index}]"
        if isinstance(item.value, dict):
            mount = _long(Fields(item, "mount", path, fields.problems))
        else:
            mount = _short(item, path, fields.problems)
        if mount and mount.kind == "volume" and mount.source not in volumes:
            hint = f"declare it: `volumes: {{{mount.source}: }}`"
            fields.problems.report(f"{path}: no volume {quoted(mount.source)} in `volumes`", item.where, hint)
        elif mount:
            found.append((mount, item))
    node = fields.get("tmpfs")
    for item in (node.items if isinstance(node.value, tuple) else (node,)) if node else ():
        mount = _tmpfs(item, fields.at("tmpfs"), fields.problems)
        if mount:
            found.append((mount, item))
    targets: set[str] = set()
    for mount, item in found:
        if mount.target in targets:
            fields.problems.report(f"{fields.path}: {quoted(mount.target)} is mounted twice", item.where)
        targets.add(mount.target)
    return tuple(sorted((mount for mount, _ in found), key=lambda mount: mount.target))


def _target(text: str, path: str, node: Node, problems: Problems) -> str:
    """A path in the container without a trailing slash; reports and returns an empty string for others."""
    if not _ABSOLUTE.fullmatch(text) or ".." in text.split("/"):
        problems.report(
            f"{path}: expected an absolute path in the container, found {quoted(text)}", node.where
        )
        return ""
    return text.rstrip("/") or "/"


def _source_of_bind(text: str, path: str, node: Node, problems: Problems) -> str:
    if not text.startswith("/"):
        problems.report(f"{path}: {quoted(text)} is no absolute path", node.where, _HOST_FOLDER)
        return ""
    if not _ABSOLUTE.fullmatch(text) or ".." in text.split("/"):
        problems.report(f"{path}: {quoted(text)} is no plain absolute path", node.where)
        return ""
    return text


def _short(item: Node, path: str, problems: Problems) -> Mount | None:
    text = string(item, path, problems, expected="`SOURCE:TARGET` or a mapping")
    if text is None:
        return None
    parts = text.split(":")
    if len(parts) == 1:
        problems.report(
            f"{path}: an anonymous volume is not supported", item.where, f"name it: `NAME:{text}`"
        )
        return None
    most = 3  # source, target, mode
    if len(parts) > most or not all(parts):
        problems.report(f"{path}: expected `SOURCE:TARGET[:MODE]`, found {quoted(text)}", item.where)
        return None
    source, target = parts[0], _target(parts[1], path, item, problems)
    modes = parts[2].split(",") if len(parts) == most else []
    for mode in modes:
        if mode not in {"ro", "rw", *_MODES}:
            problems.report(
                f"{path}: unknown mode {quoted(mode)}", item.where, f"ro, rw, {', '.join(_MODES)}"
            )
            return None
    options = tuple(sorted({mode for mode in modes if mode not in {"ro", "rw"}}))
    if source[0] in "./~":
        source = _source_of_bind(source, path, item, problems)
        return Mount("bind", target, source, "ro" in modes, options=options) if source and target else None
    return _volume(source, target, "ro" in modes, options, path, item, problems)


def _volume(
    source: str,
    target: str,
    read_only: bool,
    options: tuple[str, ...],
    path: str,
    node: Node,
    problems: Problems,
) -> Mount | None:
    if not VOLUME_NAME.fullmatch(source):
        problems.report(
            f"{path}: {quoted(source)} is no volume name", node.where, "letters, digits, `_`, `.` and `-`"
        )
        return None
    return Mount("volume", target, source, read_only, options=options) if target else None


def _long(fields: Fields) -> Mount | None:
    kind = fields.choice("type", ("volume", "bind", "tmpfs"))
    bind, volume = fields.child("bind", "bind"), fields.child("volume", "volume-options")
    tmpfs = fields.child("tmpfs", "tmpfs-options")
    for key, options in (("bind", bind), ("volume", volume), ("tmpfs", tmpfs)):
        if options and kind and kind != key:
            fields.wrong(key, f"options of a {key} for a mount of type {kind}")
    for key in ("type", "target"):
        if fields.get(key) is None:
            fields.problems.report(f"{fields.path}: `{key}` is missing", fields.node.where)
    source, target = fields.string("source"), fields.string("target")
    read_only = bool(fields.boolean("read_only"))
    target = _target(target, fields.at("target"), fields.node, fields.problems) if target else ""
    if kind == "tmpfs" and source:
        fields.wrong("source", "a tmpfs has no source")
    if kind in {"volume", "bind"} and not source:
        hint = "name a volume: an anonymous one is not supported" if kind == "volume" else ""
        fields.problems.report(f"{fields.path}: `source` is missing", fields.node.where, hint)
        return None
    match kind:
        case "tmpfs" if target:
            return _long_tmpfs(target, tmpfs, read_only=read_only)
        case "bind":
            return _long_bind(source, target, bind, fields, read_only=read_only)
        case "volume":
            nocopy = ("nocopy",) if volume and volume.boolean("nocopy") else ()
            return _volume(
                source, target, read_only, nocopy, fields.at("source"), fields.node, fields.problems
            )
        case _:
            return None


def _long_tmpfs(target: str, tmpfs: Fields | None, *, read_only: bool) -> Mount:
    size = tmpfs.size("size") if tmpfs else 0
    mode = (tmpfs.integer("mode", maximum=_LARGEST_MODE) or 0) if tmpfs else 0
    return Mount("tmpfs", target, read_only=read_only, tmpfs_size=size, tmpfs_mode=mode)


def _long_bind(
    source: str, target: str, bind: Fields | None, fields: Fields, *, read_only: bool
) -> Mount | None:
    source = _source_of_bind(source, fields.at("source"), fields.node, fields.problems)
    propagation = bind.choice("propagation", _PROPAGATIONS) if bind else ""
    selinux = bind.choice("selinux", ("z", "Z")) if bind else ""
    options = tuple(sorted(option for option in (propagation, selinux) if option))
    return Mount("bind", target, source, read_only, options=options) if source and target else None


def _tmpfs(item: Node, path: str, problems: Problems) -> Mount | None:
    text = string(item, path, problems, expected="a path such as `/tmp` or a list of them")
    if text is None:
        return None
    where, _, rest = text.partition(":")
    target = _target(where, path, item, problems)
    size = mode = 0
    options: list[str] = []
    for option in rest.split(",") if rest else ():
        key, _, value = option.partition("=")
        bytes_ = units.size(value) if key == "size" else None
        if bytes_ is not None:
            size = bytes_
        elif key == "mode" and _OCTAL.fullmatch(value):
            mode = int(value.removeprefix("0o"), 8)
        elif _TMPFS_OPTIONS.fullmatch(option):
            options.append(option)
        else:
            problems.report(
                f"{path}: unknown option {quoted(option)}",
                item.where,
                "such as `size=64m`, `mode=1777`, `noexec`",
            )
            return None
    read_only = "ro" in options
    others = tuple(sorted({option for option in options if option not in {"ro", "rw"}}))
    return Mount("tmpfs", target, "", read_only, size, mode, others) if target else None
