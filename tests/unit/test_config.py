"""gitops.yaml: what it means, and everything wrong with it at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.planning import fleet_of

from gitops.config import DEFAULT_STATE_DIR, AppSettings, Settings, load
from gitops.errors import InvalidInputError, PermanentError
from gitops.model.fleet import CONTAINER_HOSTS, LOAD_BALANCERS
from gitops.model.placement import Scheduler
from gitops.model.size import Size
from gitops.model.tolerance import Tolerance

MINIMAL = """
apps:
  shop:
    source: {repo: git@git.example.com:ops/shop.git}
    inventory: inventory/prod
"""


def _load(folder: Path, text: str) -> Settings:
    path = folder / "gitops.yaml"
    path.write_text(text)
    return load(path)


def _problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(InvalidInputError) as refused:
        _load(folder, text)
    return [str(problem).removeprefix(f"{folder}/gitops.yaml:") for problem in refused.value.problems]


def test_the_defaults_are_those_of_the_documentation(tmp_path: Path) -> None:
    settings = _load(tmp_path, MINIMAL)
    assert settings.store == "sqlite:////var/lib/gitops/gitops.db"
    assert settings.state_dir == Path("/var/lib/gitops")
    app = settings.app("shop")
    assert app == AppSettings(name="shop", source=app.source, inventory="inventory/prod")
    assert app.source.ref == "refs/heads/main"
    assert app.source.local_repo is None
    assert (app.poll_s, app.timeout_s) == (30, 900)
    assert (app.sync, app.self_heal, app.prune, app.on_failure) == ("auto", True, True, "rollback")
    assert app.inventory_in_repo
    assert app.tolerate_unreachable == Tolerance(0)


@pytest.mark.parametrize("text", ["-1", "101%", "1.5", "true", "some", "5 %", "[1]"])
def test_a_tolerance_is_a_count_or_a_percentage(tmp_path: Path, text: str) -> None:
    found = _problems(
        tmp_path,
        f"apps: {{shop: {{source: {{repo: /r}}, inventory: i, tolerate_unreachable: {text}}}}}\n",
    )
    assert [problem.partition(": ")[2] for problem in found] == [
        "expected a number of hosts or a percentage of them (such as 1 or 25%)"
    ]


@pytest.mark.parametrize(
    ("said", "hosts"),
    [("0", 0), ("3", 3), ("25%", 1), ("24%", 0), ("49%", 1), ("100%", 4)],
)
def test_a_percentage_of_the_fleet_is_rounded_down(tmp_path: Path, said: str, hosts: int) -> None:
    text = f"apps: {{shop: {{source: {{repo: /r}}, inventory: i, tolerate_unreachable: {said}}}}}\n"
    fleet = fleet_of(
        {
            "h1": CONTAINER_HOSTS,
            "h2": CONTAINER_HOSTS,
            "h3": CONTAINER_HOSTS,
            "lb1": LOAD_BALANCERS,
            "old": [],
        }
    )
    assert _load(tmp_path, text).app("shop").tolerate_unreachable.of(fleet) == hosts


def test_every_key_is_read(tmp_path: Path) -> None:
    settings = _load(
        tmp_path,
        """
store: sqlite:////srv/state/gitops.db
apps:
  shop:
    source: {repo: https://git.example.com/shop.git, tag: v1, path: ./deploy/}
    inventory: /etc/ansible/hosts
    env: prod
    overlays: [compose.extra.yaml]
    profiles: [debug]
    poll: 1m30s
    sync: manual
    self_heal: false
    tolerate_unreachable: 25%
    on_failure: revert
    timeout: 1h
""",
    )
    app = settings.app("shop")
    assert settings.state_dir == Path("/srv/state")
    assert (app.source.ref, app.source.path) == ("refs/tags/v1", "deploy")
    assert (app.inventory, app.inventory_in_repo) == ("/etc/ansible/hosts", False)
    assert (app.env, app.overlays, app.profiles) == ("prod", ("compose.extra.yaml",), ("debug",))
    assert (app.poll_s, app.timeout_s) == (90, 3600)
    assert app.tolerate_unreachable == Tolerance(25, percent=True)
    assert app.scheduler.rebalance == 0
    assert (app.sync, app.self_heal, app.prune, app.on_failure) == ("manual", False, True, "revert")


def test_relative_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    settings = _load(
        tmp_path / "etc",
        """
store: sqlite:///state/gitops.db
apps:
  shop: {source: {repo: ../git/shop.git, branch: next}, inventory: inventory}
""",
    )
    assert settings.app("shop").source.repo == f"file://{tmp_path}/git/shop.git"
    assert settings.app("shop").source.local_repo == tmp_path / "git" / "shop.git"
    assert settings.app("shop").source.ref == "refs/heads/next"
    assert settings.state_dir == tmp_path / "etc" / "state"


def test_a_store_elsewhere_leaves_the_state_at_its_usual_place(tmp_path: Path) -> None:
    settings = _load(tmp_path, f"store: postgresql+psycopg://db.example.com/gitops{MINIMAL}")
    assert settings.state_dir == DEFAULT_STATE_DIR


def test_what_is_said_for_all_holds_for_each_that_does_not_say_otherwise(tmp_path: Path) -> None:
    settings = _load(
        tmp_path,
        """
image_retention: 5
registries:
  reg.example.com:5000: {username: deploy, password_file: secrets/reg}
  docker.io: {auth_file: /etc/gitops/config.json}
apps:
  shop: {source: {repo: /srv/shop.git}, inventory: /etc/hosts.yml}
  blog:
    source: {repo: /srv/blog.git}
    inventory: /etc/hosts.yml
    image_retention: 2
    registries:
      docker.io: {username: blog, password_file: /etc/blog}
""",
    )
    shop, blog = settings.app("shop"), settings.app("blog")
    assert (shop.image_retention, blog.image_retention) == (5, 2)
    own = shop.registries["reg.example.com:5000"]
    assert (own.username, own.password_file) == ("deploy", f"{tmp_path}/secrets/reg")
    assert shop.registries["docker.io"].auth_file == "/etc/gitops/config.json"
    assert blog.registries["docker.io"].username == "blog"
    assert blog.registries["reg.example.com:5000"] == own


def test_the_service_network_is_one_for_all_unless_an_application_says_otherwise(tmp_path: Path) -> None:
    settings = _load(tmp_path, f"service_network: 10.1.0.0/16{MINIMAL}    service_network: 10.2.0.0/24\n")
    assert settings.service_network == "10.1.0.0/16"
    assert [app.service_network for app in settings.apps.values()] == ["10.2.0.0/24"]
    assert _load(tmp_path, MINIMAL).service_network == "10.96.0.0/16"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("ten", "expected an IPv4 network, found `ten`"),
        ("10.96.0.1/16", "expected an IPv4 network, found `10.96.0.1/16`"),
        ("fd00::/64", "expected an IPv4 network, found `fd00::/64`"),
        ("10.96.0.0/29", "10.96.0.0/29 has too few addresses"),
    ],
)
def test_a_service_network_is_an_ipv4_network_with_room(tmp_path: Path, value: str, message: str) -> None:
    (problem,) = _problems(tmp_path, f'service_network: "{value}"{MINIMAL}')
    assert message in problem


def test_wrong_registries_are_said_with_their_place(tmp_path: Path) -> None:
    text = f"""\
image_retention: 0
registries:
  "https://reg.example.com": {{auth_file: x}}
  a: {{username: ann}}
  b: {{auth_file: x, password_file: y}}
  c: {{auth_file: ""}}
  d: {{username: ann, pasword_file: y}}
  e: {{username: ann, auth_file: y}}
  f: {{}}
{MINIMAL}    image_retention: many
"""
    one_login = "expected `username` and `password_file`, or `auth_file`"
    assert _problems(tmp_path, text) == [
        "1:18: expected a number from 1 to 1000",
        (
            "3:3: `https://reg.example.com` is no registry"
            " (as images name it: registry.example.com:5000, or docker.io)"
        ),
        f"4:6: {one_login}",
        f"5:6: {one_login}",
        "6:18: expected the path of a file",
        "7:22: unknown key `pasword_file` (did you mean `password_file`?)",
        f"8:6: {one_login}",
        f"9:6: {one_login}",
        "15:22: expected a whole number, found a string",
    ]


def test_no_application_yet_is_no_error(tmp_path: Path) -> None:
    assert dict(_load(tmp_path, "apps: {}").apps) == {}


def test_everything_wrong_is_said_at_once_with_its_place(tmp_path: Path) -> None:
    text = """\
stor: sqlite:////x
store: mysql://db
apps:
  Shop:
    source: {repo: "ext::sh -c x", branch: -x, pth: deploy}
    name: other
    poll: 30
    sync: automatic
    self_heal: yes
    overlays: compose.prod.yaml
    profiles: ["{hint} {0}"]
    timout: 1m
    poll_s: 1
  blog: []
  wiki:
    source: {repo: "https://ann:hunter2@git.example.com/wiki.git"}
    inventory: ../inventory
    timeout: 1s
  docs:
    source: {repo: /srv/docs.git, branch: main, tag: v1}
    inventory: ""
"""
    found = _problems(tmp_path, text)
    assert found == [
        "1:1: unknown key `stor` (did you mean `store`?)",
        "2:8: expected the address of a store (such as sqlite:////var/lib/gitops/gitops.db)",
        (
            "4:3: `Shop` is not the name of an application"
            " (a small letter, then up to 30 small letters, digits and `-`)"
        ),
        "4:3: `inventory` is missing",
        (
            "5:20: the repository address has a space or a control character"
            " (use https://HOST/PATH, ssh://USER@HOST/PATH, USER@HOST:PATH, git://HOST/PATH or /PATH)"
        ),
        "5:44: '-x' is not the name of a branch or tag (such as main or v1.4)",
        "5:48: unknown key `pth` (did you mean `path`?)",
        "6:5: unknown key `name` (the key above is it)",
        "7:11: expected a duration (such as 30s, 1m30s or 2h)",
        "8:11: `sync` is one of 'auto' or 'manual'",
        "9:16: expected true or false, found a string",
        "10:15: expected a list, found a string",
        "11:16: '{hint} {0}' is not a name (letters, digits, `.`, `_` and `-`)",
        "12:5: unknown key `timout` (did you mean `timeout`?)",
        "13:5: unknown key `poll_s` (did you mean `poll`?)",
        "14:9: expected a mapping, found a list",
        (
            "16:20: the repository address has a password in it"
            " (use an SSH key or a Git credential helper, and take the password out)"
        ),
        "17:16: a path with `..` may lead out of the repository: '../inventory'",
        "18:14: expected a duration from 10s to 86400s",
        "20:13: both `branch` and `tag` are set (an application follows one of them)",
        "21:16: the inventory is empty (a path in the repository, or an absolute one)",
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "1:1: the file is empty"),
        ("- a", "1:1: expected a mapping, found a list"),
        ("apps: 1", "1:7: expected a mapping, found a number"),
        ("apps:\n\tshop: 1", "2:1: not valid YAML"),
        ("apps: {}\napps: {}", "2:1: duplicate key `apps`"),
        ("apps: {1: {}}", "1:8: a key must be a string"),
        ("[" * 100_000, "nested deeper"),
        ("store: [sqlite:///x]", "1:8: expected the address of a store"),
    ],
)
def test_what_is_no_configuration_at_all_is_one_clear_error(tmp_path: Path, text: str, told: str) -> None:
    assert told in _problems(tmp_path, text)[0]


def test_an_unknown_application_is_said_with_a_suggestion(tmp_path: Path) -> None:
    settings = _load(tmp_path, MINIMAL)
    with pytest.raises(PermanentError, match="did you mean `shop`"):
        settings.app("shp")
    with pytest.raises(PermanentError, match="known: shop"):
        settings.app("other")


def test_a_file_that_is_not_there_or_not_readable_is_said(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="there is no configuration file"):
        load(tmp_path / "nope.yaml")
    with pytest.raises(PermanentError, match="Is a directory"):
        load(tmp_path)


def test_the_scheduler_of_an_application_is_that_of_all_where_it_says_nothing(tmp_path: Path) -> None:
    text = """
scheduler: {strategy: binpack, reserve: {cpus: 0.5, memory: 1G}}
apps:
  one: {source: {repo: /r}, inventory: i}
  two: {source: {repo: /r}, inventory: i, scheduler: {strategy: spread}}
  three: {source: {repo: /r}, inventory: i, scheduler: {reserve: {cpus: 2}}}
"""
    settings = _load(tmp_path, text)
    reserve = Size(500, 1024**3)
    assert settings.app("one").placing == Scheduler("binpack", reserve)
    assert settings.app("two").placing == Scheduler("spread", reserve)
    assert settings.app("three").placing == Scheduler("binpack", Size(2000, 128 * 1024**2))
    assert _load(tmp_path, MINIMAL).app("shop").placing == Scheduler("spread", Size(100, 128 * 1024**2))


def test_what_is_wrong_with_a_scheduler(tmp_path: Path) -> None:
    text = """\
scheduler:
  strategy: random
  reserve: {cpus: -1, memory: 12 apples}
apps: {}
"""
    assert _problems(tmp_path, text) == [
        "2:13: `strategy` is one of 'spread' or 'binpack'",
        "3:19: expected a number of cores (such as 0.1 or 2)",
        "3:31: expected a size (such as 128M or 1G)",
    ]


@pytest.mark.parametrize(("said", "moves"), [("true", 1), ("false", 0), ("4", 4)])
def test_moves_are_a_number_or_a_switch(tmp_path: Path, said: str, moves: int) -> None:
    app = "apps: {shop: {source: {repo: /r}, inventory: i}}\n"
    assert (
        _load(tmp_path, f"scheduler: {{rebalance: {said}}}\n{app}").app("shop").scheduler.rebalance == moves
    )


def test_other_moves_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="expected true, false or a number up to 1000"):
        _load(tmp_path, "scheduler: {rebalance: -1}\n")
