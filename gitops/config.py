"""The controller's settings: gitops.yaml, read strictly, with every error at once and its place."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from gitops.desired.problems import Problems, quoted
from gitops.desired.units import seconds, size
from gitops.desired.yaml import Node, read
from gitops.errors import GitopsError, PermanentError, Where
from gitops.model.commit_settings import CommitSettings
from gitops.model.placement import PackStrategy, Scheduler
from gitops.model.size import CORE, Size
from gitops.model.stack import SERVICE_NETWORK
from gitops.model.tolerance import NONE, Tolerance
from gitops.source.address import check_ref, check_url
from gitops.source.tree import split_path

DEFAULT_STORE = "sqlite:////var/lib/gitops/gitops.db"
DEFAULT_STATE_DIR = Path("/var/lib/gitops")
MOST_RETAINED = 1000
DEFAULT_RETENTION = 3
MOST_MOVES = 1000
_SMALLEST_NETWORK = 28  # bits of its prefix
MOST_CORES = 100_000

APP_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_PERCENT = re.compile(r"(100|[0-9]{1,2})%")
_REGISTRY = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*(?::[0-9]{1,5})?")
_KINDS = {
    "string_type": "a string",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "tuple_type": "a list",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "dict_type": "a mapping",
    "mapping_type": "a mapping",
}


def _wrong(message: str, hint: str = "") -> PydanticCustomError:
    """Make an error of a value; its text is data, not a template."""
    return PydanticCustomError("gitops", "{message}", {"message": message, "hint": hint})


def _duration(value: object) -> float:
    """Return the seconds of a duration; a number without a unit is none."""
    found = seconds(value) if isinstance(value, str) else None
    if found is None:
        raise _wrong("expected a duration", "such as 30s, 1m30s or 2h")
    return found


def _tolerance(value: object) -> Tolerance:
    """Return what a count or a percentage says."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return Tolerance(value)
    found = _PERCENT.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise _wrong("expected a number of hosts or a percentage of them", "such as 1 or 25%")
    return Tolerance(int(found[1]), percent=True)


def _cores(value: object) -> int:
    """Return the thousandths of a core that a number of cores says."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 <= value <= MOST_CORES:  # type: ignore[operator] # a number by now
        raise _wrong("expected a number of cores", "such as 0.1 or 2")
    return round(float(value) * CORE)  # type: ignore[arg-type] # as above


def _bytes(value: object) -> int:
    """Return the bytes of a size."""
    found = size(value) if isinstance(value, str) else None
    if found is None:
        raise _wrong("expected a size", "such as 128M or 1G")
    return found


def _at_least(least_s: float, most_s: float) -> AfterValidator:
    """Bound a duration."""

    def check(value: float) -> float:
        if not least_s <= value <= most_s:
            raise _wrong(f"expected a duration from {least_s:g}s to {most_s:g}s")
        return value

    return AfterValidator(check)


def _repo(value: str, info: ValidationInfo) -> str:
    """Resolve a relative or `~` path against the file's folder, and refuse what Git is not given."""
    is_path = ":" not in value and not value.startswith("-")
    try:
        if is_path and value:
            folder: Path = (info.context or {}).get("folder", Path())
            return check_url(str((folder / Path(value).expanduser()).resolve()))
        return check_url(value)
    except GitopsError as error:
        raise _wrong(error.message, error.hint) from error


def _ref(value: str | None) -> str | None:
    """Refuse what is no name of a branch or tag."""
    try:
        return value if value is None else check_ref(value)
    except GitopsError as error:
        raise _wrong(error.message, error.hint) from error


def _in_repo(value: str) -> str:
    """Refuse a path that leads out of the repository; return it in its shortest form."""
    try:
        return "/".join(split_path(value))
    except GitopsError as error:
        raise _wrong(f"{error.message}: {value!r}") from error


def _inventory(value: str) -> str:
    """Keep an absolute path, else check one in the repository."""
    if not value:
        raise _wrong("the inventory is empty", "a path in the repository, or an absolute one")
    path = Path(value).expanduser()
    return str(path) if path.is_absolute() else _in_repo(value)


def _word(value: str) -> str:
    """Refuse what would not be a plain part of a file name."""
    if not _WORD.fullmatch(value):
        raise _wrong(f"{value!r} is not a name", "letters, digits, `.`, `_` and `-`")
    return value


def _unset_or_word(value: str) -> str:
    return value and _word(value)


def _file(value: str, info: ValidationInfo) -> str:
    """Make a path absolute; a relative one is relative to the file's folder."""
    if not value:
        raise _wrong("expected the path of a file")
    folder: Path = (info.context or {}).get("folder", Path())
    return str((folder / Path(value).expanduser()).absolute())


def _registry(value: str) -> str:
    """Refuse what is not how image references name a registry."""
    if not _REGISTRY.fullmatch(value):
        raise _wrong(
            f"{quoted(value)} is no registry", "as images name it: registry.example.com:5000, or docker.io"
        )
    return value


def _retention(value: int) -> int:
    """Bound a number of commits."""
    if not 1 <= value <= MOST_RETAINED:
        raise _wrong(f"expected a number from 1 to {MOST_RETAINED}")
    return value


def _network(value: str) -> str:
    """Refuse what is no IPv4 network with room for addresses."""
    try:
        network = IPv4Network(value)
    except ValueError as error:
        raise _wrong(
            f"expected an IPv4 network, found {quoted(value)}", f"such as {SERVICE_NETWORK}"
        ) from error
    if network.prefixlen > _SMALLEST_NETWORK:
        raise _wrong(f"{value} has too few addresses", f"at least a /{_SMALLEST_NETWORK}")
    return str(network)


def _moves(value: object) -> int:
    """Return how many may move; `true` is one."""
    if isinstance(value, int) and 0 <= value <= MOST_MOVES:
        return int(value)
    raise _wrong(f"expected true, false or a number up to {MOST_MOVES}")


Duration = Annotated[float, BeforeValidator(_duration)]
InRepo = Annotated[str, AfterValidator(_in_repo)]
Ref = Annotated[str | None, AfterValidator(_ref)]
File = Annotated[str, AfterValidator(_file)]
Registry = Annotated[str, AfterValidator(_registry)]
Retention = Annotated[int, AfterValidator(_retention)]
Moves = Annotated[int, BeforeValidator(_moves)]
Network = Annotated[str, AfterValidator(_network)]


class _Strict(BaseModel):
    """Unknown keys and wrong types are errors; what is read does not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class SourceSettings(_Strict):
    """Where an application's desired state comes from."""

    repo: Annotated[str, AfterValidator(_repo)]
    """The address, as Git is given it; a path on this machine has become a `file://` address."""
    branch: Ref = None
    tag: Ref = None
    path: InRepo = ""
    """The folder of the Compose file in the repository; empty for its top."""

    @model_validator(mode="after")
    def _one_ref(self) -> SourceSettings:
        if self.branch and self.tag:
            raise _wrong("both `branch` and `tag` are set", "an application follows one of them")
        return self

    @property
    def ref(self) -> str:
        """The full name of what is followed; the branch `main` where nothing is said."""
        return f"refs/tags/{self.tag}" if self.tag else f"refs/heads/{self.branch or 'main'}"

    @property
    def local_repo(self) -> Path | None:
        """The repository's folder where it is on this machine, else None."""
        path = self.repo.removeprefix("file://")
        return Path(path) if path != self.repo else None


class RegistrySettings(_Strict):
    """Where the login to one image registry is; the password itself is read when it is needed."""

    username: str = ""
    password_file: File = ""
    auth_file: File = ""
    """A `config.json` as `docker login` writes it."""

    @model_validator(mode="after")
    def _one_login(self) -> RegistrySettings:
        by_password = bool(self.username and self.password_file)
        if by_password == bool(self.auth_file) or bool(self.username or self.password_file) != by_password:
            raise _wrong("expected `username` and `password_file`, or `auth_file`")
        return self


class ReserveSettings(_Strict):
    """What of each host is not given to containers: the system needs it."""

    cpus: Annotated[int, BeforeValidator(_cores)] = 100
    """Thousandths of a core."""
    memory: Annotated[int, BeforeValidator(_bytes)] = 128 * 1024**2
    """Bytes."""


class SchedulerSettings(_Strict):
    """How the hosts are filled."""

    strategy: PackStrategy = "spread"
    reserve: ReserveSettings = ReserveSettings()
    rebalance: Moves = 0
    """Replicas that the service moves at a time to even out load."""


class AppSettings(_Strict):
    """One application."""

    name: str
    source: SourceSettings
    inventory: Annotated[str, AfterValidator(_inventory)]
    """A path in the repository, or an absolute one on this machine."""
    env: Annotated[str, AfterValidator(_unset_or_word)] = ""
    overlays: tuple[InRepo, ...] = ()
    profiles: tuple[Annotated[str, AfterValidator(_word)], ...] = ()
    poll_s: Annotated[Duration, _at_least(1, 86400), Field(alias="poll")] = 30.0
    """Seconds between two looks at the repository."""
    observe_s: Annotated[Duration, _at_least(1, 86400), Field(alias="observe")] = 30.0
    """Seconds between two full looks at the hosts; what happens there is told as it happens."""
    host_lost_after_s: Annotated[Duration, _at_least(5, 86400), Field(alias="host_lost_after")] = 30.0
    """Seconds without an answer after which a host's replicas are started elsewhere."""
    sync: Literal["auto", "manual"] = "auto"
    self_heal: bool = True
    prune: Literal[True] = True
    """Services that a commit no longer names go; keeping them is not supported yet."""
    prune_volumes: bool = False
    """Named volumes that no service has any more go, with their data."""
    tolerate_unreachable: Annotated[Tolerance, BeforeValidator(_tolerance)] = NONE
    """How many hosts a deployment goes on without when they cannot be used."""
    on_failure: Literal["rollback", "revert", "halt"] = "rollback"
    on_new_commit: Literal["supersede", "finish"] = "supersede"
    """Whether a rollout goes over to a newer commit at its next batch boundary, or ends first."""
    timeout_s: Annotated[Duration, _at_least(10, 86400), Field(alias="timeout")] = 900.0
    """Seconds that a whole deployment may take."""
    image_retention: Retention = DEFAULT_RETENTION
    """Good commits whose images stay on the hosts."""
    registries: Mapping[Registry, RegistrySettings] = Field(default_factory=dict)
    service_network: Network = SERVICE_NETWORK
    """Where its services have the addresses at which others find them."""
    scheduler: SchedulerSettings = SchedulerSettings()

    @property
    def placing(self) -> Scheduler:
        """How the scheduler fills the hosts with its containers."""
        reserve = self.scheduler.reserve
        return Scheduler(self.scheduler.strategy, Size(reserve.cpus, reserve.memory))

    @classmethod
    def as_recorded(cls, name: str, commit_settings: str) -> AppSettings:
        """Those of an application that is not in gitops.yaml any more, as far as its deployments tell.

        Args:
            name: of the application.
            commit_settings: the record of one of them.
        """
        known = CommitSettings().recorded(commit_settings)
        nowhere = SourceSettings(repo="file:///nowhere", path=known.path)  # nobody fetches
        return cls(
            name=name,
            source=nowhere,
            inventory=known.inventory,
            env=known.env,
            overlays=known.overlays,
            profiles=known.profiles,
            service_network=known.service_network,
        )

    @property
    def commit_settings(self) -> CommitSettings:
        """Those that decide what a commit says."""
        return CommitSettings(
            path=self.source.path,
            env=self.env,
            overlays=self.overlays,
            profiles=self.profiles,
            inventory=self.inventory,
            service_network=self.service_network,
        )

    @property
    def inventory_in_repo(self) -> bool:
        """Whether the inventory is part of the commit (and so no more trusted than that)."""
        return not self.inventory.startswith("/")


class Settings(_Strict):
    """All of gitops.yaml."""

    store: str = DEFAULT_STORE
    image_retention: Retention = DEFAULT_RETENTION
    registries: Mapping[Registry, RegistrySettings] = Field(default_factory=dict)
    service_network: Network = SERVICE_NETWORK
    scheduler: SchedulerSettings = SchedulerSettings()
    apps: Mapping[str, AppSettings] = Field(default_factory=dict)

    @property
    def state_dir(self) -> Path:
        """The folder of everything that the controller keeps: the one of the SQLite file."""
        path = self.store.removeprefix("sqlite:///")
        return Path(path).parent if path != self.store else DEFAULT_STATE_DIR

    @model_validator(mode="after")
    def _shared(self) -> Settings:
        """Give each application what is said for all of them, unless it says otherwise itself."""
        apps = {}
        for name, app in self.apps.items():
            shared: dict[str, Any] = {"registries": {**self.registries, **app.registries}}
            for key in {"image_retention", "service_network"} - app.model_fields_set:
                shared[key] = getattr(self, key)
            own = {name: getattr(app.scheduler, name) for name in app.scheduler.model_fields_set}
            shared["scheduler"] = self.scheduler.model_copy(update=own)
            apps[name] = app.model_copy(update=shared)
        return self.model_copy(update={"apps": apps})

    def app(self, name: str) -> AppSettings:
        """Return the settings of one application.

        Raises:
            PermanentError: there is none of that name.
        """
        if name in self.apps:
            return self.apps[name]
        known = ", ".join(sorted(self.apps)) or "none yet"
        raise PermanentError(
            f"there is no application {name!r}", hint=_meant(name, self.apps) or f"known: {known}"
        )


def load(path: Path) -> Settings:
    """Read gitops.yaml.

    Args:
        path: the file; relative paths in it are relative to its folder.

    Raises:
        InvalidInputError: all that is wrong with it, each with its line and column.
        PermanentError: there is no such file, or it may not be read.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        hint = "name it with -c FILE; `gitops init` writes an example"
        raise PermanentError(f"there is no configuration file {path}", hint=hint) from error
    except OSError as error:
        raise PermanentError(error.strerror or "it cannot be read", where=Where(file=str(path))) from error
    problems = Problems()
    document = read(content, str(path), problems)
    settings = _validated(document, path.absolute().parent, problems) if document else None
    problems.raise_if_any()
    if settings is None:
        raise PermanentError("it says nothing", where=Where(file=str(path)))
    return settings


def _validated(document: Node, folder: Path, problems: Problems) -> Settings | None:
    """Return the settings that the document states, or report what is wrong with it."""
    plain = _plain(document)
    if isinstance(plain, dict):
        plain["store"] = _store(document, folder, problems)
        apps = plain.get("apps")
        if isinstance(apps, dict):
            _name_apps(document.entries["apps"], apps, problems)
    try:
        return Settings.model_validate(plain, context={"folder": folder})
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            _report(problem, document, problems)
        return None


def _name_apps(node: Node, apps: dict[str, Any], problems: Problems) -> None:
    """Give each application its own name, and refuse names that are not plain."""
    for name, app in apps.items():
        if not APP_NAME.fullmatch(name):
            hint = "a small letter, then up to 30 small letters, digits and `-`"
            problems.report(
                f"{quoted(name)} is not the name of an application", node.entries[name].place, hint
            )
        if isinstance(app, dict):
            if "name" in app:
                problems.report(
                    "unknown key `name`", node.entries[name].entries["name"].place, "the key above is it"
                )
            app["name"] = name


def _store(document: Node, folder: Path, problems: Problems) -> str:
    """Return the store's address; a relative SQLite file is relative to the configuration's folder."""
    node = document.entries.get("store")
    if node is None:
        return DEFAULT_STORE
    value = node.value
    if isinstance(value, str) and value.startswith("sqlite:///") and value != "sqlite:///":
        return f"sqlite:///{folder / value.removeprefix('sqlite:///')}"
    if isinstance(value, str) and re.match(r"postgresql(\+\w+)?://.", value):
        return value
    problems.report("expected the address of a store", node.where, f"such as {DEFAULT_STORE}")
    return DEFAULT_STORE


def _plain(node: Node) -> Any:
    """Return a node as pydantic reads it."""
    if isinstance(node.value, dict):
        return {name: _plain(each) for name, each in node.value.items()}
    if isinstance(node.value, tuple):
        return tuple(_plain(each) for each in node.value)
    return node.value


def _report(problem: ErrorDetails, document: Node, problems: Problems) -> None:
    """Report one of pydantic's errors in our words and at its place in the file."""
    node, missing = _find(document, problem["loc"])
    name = str(problem["loc"][-1]) if problem["loc"] else ""
    context = problem.get("ctx", {})
    match problem["type"]:
        case "missing":
            problems.report(f"{quoted(name)} is missing", node.place)
        case "extra_forbidden":
            known = _fields(problem["loc"][:-1])
            hint = _meant(name, known) or f"known: {', '.join(known)}"
            problems.report(f"unknown key {quoted(name)}", node.place, hint)
        case "literal_error":
            problems.report(f"{quoted(name)} is one of {context['expected']}", node.where)
        case "gitops":
            where = node.place if missing else node.where  # of a key that is wrong itself
            problems.report(str(context["message"]), where, str(context["hint"]))
        case kind:
            wanted = _KINDS.get(kind)
            message = f"expected {wanted}, found {node.kind}" if wanted else problem["msg"]
            problems.report(message, node.place if missing else node.where)


def _find(document: Node, path: Sequence[int | str]) -> tuple[Node, bool]:
    """Return the node at a path, or the last one on the way to it and True."""
    node = document
    for part in path:
        if isinstance(part, int) and part < len(node.items):
            node = node.items[part]
        elif part in node.entries:
            node = node.entries[str(part)]
        else:
            return node, True
    return node, False


def _fields(path: Sequence[int | str]) -> list[str]:
    """Return the keys that are known at a path of the file."""
    model: type[BaseModel] = Settings
    for part in path:
        if str(part) in model.model_fields:
            kind: Any = model.model_fields[str(part)].annotation
            model = next((each for each in (kind, *get_args(kind)) if _is_model(each)), model)
    return sorted({field.alias or name for name, field in model.model_fields.items()} - {"name"})


def _is_model(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _meant(name: str, known: Sequence[str] | Mapping[str, object]) -> str:
    """Return a suggestion for a name that is not known, or nothing."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean `{close[0]}`?" if close else ""
