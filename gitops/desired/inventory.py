"""The fleet of an inventory, read by Ansible's own inventory manager.

Any inventory a user has works: INI, YAML, folders with group_vars, scripts and
plugins. One that lies in an application's repo is not trusted with the
controller: no script, no plugin and no template beyond `{{ name }}` is run, and
no variable that makes ssh run something here is taken.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

from gitops.desired import vault
from gitops.desired.machines import check_machines
from gitops.desired.problems import Problems, quoted
from gitops.desired.variables import HOST_NAME, check_kept, check_untrusted, expand, is_secret
from gitops.desired.yaml import check_limits, syntax_error
from gitops.errors import PermanentError, Where
from gitops.model.fleet import CONTAINER_HOSTS, LOAD_BALANCERS, Fleet, Host
from gitops.model.routes import ADDRESS

Variable = str | int | float | bool

_LABELS = "gitops_labels"
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_./-]{0,61}[A-Za-z0-9])?")
_KEPT = re.compile(r"(?:ansible|gitops)_\w+")
# Ansible's own additions, which say nothing of the connection.
_MAGIC = frozenset({"ansible_playbook_python", "ansible_version", "ansible_config_file", "ansible_facts"})
_UNTRUSTED_PLUGINS = ("ini", "yaml")
_RANGE = re.compile(r"\[([0-9]{1,18}):([0-9]{1,18})(?::([0-9]{1,18}))?\]")
_MOST_HOSTS = 10_000
_SOURCE = re.compile(r"source '([^']+)'")  # in Ansible's description of a failed plugin
_SCRIPT = b"#!"
_PLUGIN = re.compile(rb"^plugin\s*:", re.MULTILINE)

# Ansible's display and plugin loaders belong to the whole process: one inventory is read at a time.
_ANSIBLE = threading.Lock()


def load(path: Path, *, trusted: bool) -> Fleet:
    """The hosts of an inventory that this project acts on.

    Args:
        path: an inventory file or folder.
        trusted: whether its author may run programs on this machine: not so in an application's repo.

    Raises:
        InvalidInputError: what is wrong with it, with places.
        PermanentError: there is no such inventory.
    """
    if not path.exists():
        raise PermanentError(f"no inventory {quoted(str(path))}", hint="name an inventory file or folder")
    problems = Problems()
    places = _Places(path, path if trusted else Path(path.name))
    if not trusted:
        _check_files(places, problems)
        problems.raise_if_any()
    with _ANSIBLE:
        hosts = _read(places, problems, trusted=trusted)
    check_machines(hosts, places.of(), problems)
    problems.raise_if_any()
    return Fleet(tuple(hosts))


@dataclass(frozen=True)
class _Places:
    """Names places in the inventory as the user knows them."""

    root: Path
    shown: Path  # instead of the root: one from a repo is read from a copy

    def of(self, file: Path | None = None) -> Where:
        """The place of a file, or of the inventory as a whole."""
        if file is None:
            return Where(str(self.shown))
        inside = file.absolute().is_relative_to(self.root.absolute())
        return Where(str(self.shown / file.absolute().relative_to(self.root.absolute()) if inside else file))


def _check_files(places: _Places, problems: Problems) -> None:
    """Limits that Ansible's own readers lack: nested or aliased YAML, and ranges of hosts."""
    files = sorted(places.root.rglob("*")) if places.root.is_dir() else [places.root]
    for file in files:
        if file.is_symlink():
            problems.report("a symlink is not followed", places.of(file))
        elif file.is_file():
            name = places.of(file).file
            content = file.read_bytes()
            if content.startswith(_SCRIPT) or _PLUGIN.search(content):
                kind = "a script" if content.startswith(_SCRIPT) else "an inventory plugin"
                hint = "keep the inventory outside the repo and name it by its absolute path"
                problems.report(f"{kind} is not run from an inventory in a repo", Where(name, 1), hint)
            check_limits(content, name, problems)
            for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
                sizes = [
                    (int(last) - int(first)) // (int(step or 1) or 1) + 1
                    for first, last, step in _RANGE.findall(line)
                ]
                if prod(max(size, 1) for size in sizes) > _MOST_HOSTS:
                    problems.report(f"a range of more than {_MOST_HOSTS:,} hosts", Where(name, number))


@dataclass
class _Ansible:
    """One inventory as Ansible holds it."""

    loader: Any
    inventory: Any
    variables: Any


def _read(places: _Places, problems: Problems, *, trusted: bool) -> list[Host]:
    from ansible.errors import AnsibleError  # noqa: PLC0415 - importing Ansible takes half a second
    from ansible.parsing.dataloader import DataLoader  # noqa: PLC0415 - as above

    with _quiet() as failures, ExitStack() as opened:
        try:
            loader = DataLoader()
            opened.enter_context(vault.passwords(loader, trusted=trusted))
            ansible = _open(loader, places.root, trusted=trusted)
            _report_failures(failures, places, problems)
            hosts: list[Host] = []
            for host in sorted(ansible.inventory.get_hosts(), key=lambda host: str(host.name)):
                groups = tuple(sorted({str.__str__(group.name) for group in host.get_groups()} - {"all"}))
                if CONTAINER_HOSTS in groups or LOAD_BALANCERS in groups:
                    hosts += _host(ansible, host, groups, places, problems, trusted=trusted)
        except AnsibleError as error:
            file = vault.encrypted_file(error, places.root)
            where = places.of(file) if file else _syntax_error(places) or _origin(error, places)
            problems.report(_message(error), where, vault.hint(error, trusted=trusted))
            return []
        except PermanentError as error:
            problems.report(error.message, places.of(), error.hint)
            return []
        except Exception as error:  # noqa: BLE001 - inventory plugins raise anything for malformed input
            problems.report(f"the inventory cannot be read: {type(error).__name__}: {error}", places.of())
            return []
    return hosts


def _open(loader: Any, path: Path, *, trusted: bool) -> _Ansible:
    from ansible.inventory.manager import InventoryManager  # noqa: PLC0415 - as above
    from ansible.plugins.loader import inventory_loader  # noqa: PLC0415 - as above
    from ansible.vars.manager import VariableManager  # noqa: PLC0415 - as above

    class PlainInventory(InventoryManager):  # type: ignore[misc] # Ansible ships no types
        """Reads data alone: no script and no plugin of the inventory's choice."""

        def _fetch_inventory_plugins(self) -> list[Any]:
            return [inventory_loader.get(name) for name in _UNTRUSTED_PLUGINS]

    manager = InventoryManager if trusted else PlainInventory
    inventory = manager(loader=loader, sources=[str(path.absolute())])
    return _Ansible(loader, inventory, VariableManager(loader=loader, inventory=inventory))


@contextmanager
def _quiet() -> Iterator[list[Exception]]:
    """Keeps Ansible from printing; gives what it would have warned of while it parsed."""
    from ansible.utils.display import Display  # noqa: PLC0415 - as above

    failures: list[Exception] = []

    def collect(msg: str | None, exception: Exception, *_: object, **__: object) -> None:
        del msg
        failures.append(exception)

    display = Display()
    silenced = {"display": lambda *_, **__: None, "error_as_warning": collect}
    for name, replacement in silenced.items():
        setattr(display, name, replacement)
    try:
        yield failures
    finally:
        for name in silenced:
            delattr(display, name)


def _report_failures(failures: list[Exception], places: _Places, problems: Problems) -> None:
    """Of each file the failure that says most: several plugins tried it, the one for its kind knows."""
    best: dict[str, tuple[int, Exception]] = {}
    for error in failures:
        where = _origin(error, places)
        weight = where.line * 2 + ("'plugin' key" not in str(error))
        if where.file not in best or weight > best[where.file][0]:
            best[where.file] = (weight, error)
    for _, error in best.values():
        problems.report(_message(error), _origin(error, places))


def _syntax_error(places: _Places) -> Where | None:
    """The first YAML file that is none: of files with variables Ansible's errors name no place."""
    files = sorted(places.root.rglob("*.y*ml")) if places.root.is_dir() else []
    found = (syntax_error(file.read_bytes(), places.of(file).file) for file in files if file.is_file())
    return next((where for where in found if where), None)


def _message(error: Exception) -> str:
    text = str(getattr(error, "message", "") or error).splitlines()
    first = text[0].rstrip(".: ") if text else type(error).__name__
    return f"the inventory cannot be read: {first}"


def _origin(tagged: object, places: _Places) -> Where:
    """The place that Ansible knows of an error or a value."""
    from ansible._internal._datatag._tags import Origin  # noqa: PLC0415 - as above; it has no public name

    tags: list[object] = [] if isinstance(tagged, BaseException) else [Origin.get_tag(tagged)]
    seen = tagged if isinstance(tagged, BaseException) else None
    while seen is not None:  # the last cause knows best
        found = getattr(seen, "obj", None)
        tags.insert(0, found if isinstance(found, Origin) or found is None else Origin.get_tag(found))
        seen = seen.__cause__
    for origin in tags:
        if isinstance(origin, Origin) and origin.path:
            return replace(
                places.of(Path(origin.path)), line=origin.line_num or 0, column=origin.col_num or 0
            )
        if isinstance(origin, Origin) and (match := _SOURCE.search(origin.description or "")):
            return places.of(Path(match[1]))
    return places.of()


def _host(
    ansible: _Ansible,
    host: Any,
    groups: tuple[str, ...],
    places: _Places,
    problems: Problems,
    *,
    trusted: bool,
) -> list[Host]:
    name = str.__str__(host.name)
    if not HOST_NAME.fullmatch(name):
        problems.report(
            f"{quoted(name)} is no host name", _origin(host.name, places), "letters, digits, `.`, `_` and `-`"
        )
        return []
    raw: Mapping[str, Any] = ansible.variables.get_vars(host=host, include_hostvars=trusted)
    found: dict[str, Variable] = {}
    for key in sorted(raw):
        if not _KEPT.fullmatch(key) or key in _MAGIC or key == _LABELS or raw[key] is None:
            continue
        where = _origin(raw[key], places)
        if is_secret(key):
            problems.report(
                f"host {name}: {key} is a password", where, "use keys for SSH, and sudo without a password"
            )
            continue
        try:
            value = _resolve(ansible, raw, key, trusted=trusted)
            check_kept(key, value)
            if not trusted:
                check_untrusted(key, value)
        except PermanentError as error:
            problems.report(f"host {name}: {error.message}", where, error.hint)
            continue
        found[str.__str__(key)] = value
    address = str(
        found.get("gitops_address") or found.get("ansible_host") or found.get("ansible_ssh_host") or name
    )
    address = address.removeprefix("[").removesuffix("]")
    if CONTAINER_HOSTS in groups and not ADDRESS.fullmatch(address):
        hint = "set `gitops_address` to a name, or to an address without a zone"
        problems.report(f"host {name}: no edge reaches {quoted(address)}", _origin(host.name, places), hint)
        return []
    labels = _labels(ansible, raw, f"host {name}", places, problems, trusted=trusted)
    return [Host(name, address, groups, tuple(sorted(found.items())), labels)]


def _labels(
    ansible: _Ansible,
    raw: Mapping[str, Any],
    path: str,
    places: _Places,
    problems: Problems,
    *,
    trusted: bool,
) -> tuple[tuple[str, str], ...]:
    """`gitops_labels`: a mapping of strings."""
    said = raw.get(_LABELS)
    if said is None:
        return ()
    where = _origin(said, places)
    if not isinstance(said, Mapping):
        problems.report(f"{path}: {_LABELS} must be a mapping", where, "such as `{zone: a}`")
        return ()
    found: dict[str, str] = {}
    for key, value in said.items():
        name = f"{_LABELS}.{key}"
        if not isinstance(key, str) or not _LABEL.fullmatch(key):
            problems.report(f"{path}: {quoted(str(key))} is no label", where, "letters, digits, `_./-`")
            continue
        try:
            text = _resolve(ansible, {**raw, name: value}, name, trusted=trusted)
        except PermanentError as error:
            problems.report(f"{path}: {error.message}", where, error.hint)
            continue
        if not isinstance(text, str) or not text or not text.isprintable():
            problems.report(f"{path}: {name} must be a string", where, "put it in quotes")
            continue
        found[str.__str__(key)] = text
    return tuple(sorted(found.items()))


def _resolve(ansible: _Ansible, raw: Mapping[str, Any], key: str, *, trusted: bool) -> Variable:
    """The plain value of a variable, its templates resolved."""
    value = vault.plain(raw[key]) if trusted else raw[key]
    if isinstance(value, str):
        value = _template(ansible, raw, key) if trusted else expand(raw, key)
    match value:
        case bool():
            return bool(value)
        case int():
            return int(value)
        case float():
            return float(value)
        case str():
            return str.__str__(value)  # without the tags that Ansible's strings carry
        case _:
            kind = (
                "a list"
                if isinstance(value, list)
                else "a mapping"
                if isinstance(value, dict)
                else "encrypted"
            )
            raise PermanentError(f"{key} must be a plain value, found {kind}")


def _template(ansible: _Ansible, raw: Mapping[str, Any], key: str) -> Any:
    from ansible.errors import AnsibleError  # noqa: PLC0415 - as above
    from ansible.template import Templar  # noqa: PLC0415 - as above

    try:
        return Templar(loader=ansible.loader, variables=dict(raw)).template(raw[key])
    except AnsibleError as error:
        reason = str(error).splitlines()[0]
        raise PermanentError(f"{key} cannot be resolved: {reason}") from error
