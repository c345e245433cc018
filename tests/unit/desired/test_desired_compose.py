"""The whole file: several problems at once, files and overlays, profiles, order."""

from __future__ import annotations

import pytest
from support.trees import COMMIT, MemoryTree, problems, stack

from gitops.desired import load
from gitops.errors import InvalidInputError, PermanentError
from gitops.model.stack import Dependency, Logging, Mount, Stack, Ulimit

WEB = "services: {web: {image: web}}"


def _load(files: dict[str, str | bytes], **options: object) -> Stack:
    return load(MemoryTree(files), app="shop", commit=COMMIT, **options)  # type: ignore[arg-type] # by name


def _problems(files: dict[str, str | bytes], **options: object) -> list[str]:
    with pytest.raises(InvalidInputError) as refused:
        _load(files, **options)
    return [str(problem) for problem in refused.value.problems]


def test_all_problems_are_told_at_once_in_their_order() -> None:
    found = problems(
        "services:\n"
        "  web:\n"
        "    image: a\n"
        "    image: b\n"
        '    ports: "80"\n'
        "    deploy:\n"
        "      replcas: 3\n"
        "  api: {}\n"
        "volume: {}\n"
    )
    assert found == [
        "compose.yaml:4:5: duplicate key `image` (the first is at line 3)",
        "compose.yaml:5:12: services.web.ports: expected a list, found a string (write `- 80` below it)",
        "compose.yaml:7:7: unknown key `replcas` in services.web.deploy (did you mean `replicas`?)",
        "compose.yaml:8:3: services.api: `image` is missing",
        "compose.yaml:9:1: unknown key `volume` in the file (did you mean `volumes`?)",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "1:1: the file is empty (an empty file never means: remove everything)"),
        ("services:", "1:1: no services (write `services: {}` to mean none)"),
        ("volumes: {}", "1:1: no services (write `services: {}` to mean none)"),
        ("services: [web]", "1:11: services: expected a mapping, found a list"),
        ("services: {web: }", "1:12: services.web: expected a mapping, found nothing"),
        ("- services", "1:1: the file: expected a mapping, found a list"),
        ("web: {image: x}", "1:1: unknown key `web` in the file"),
        ("services: {}\nsecrets: {}", "2:1: secrets is not supported"),
        ("services: {}\nnetworks: {a: {driver: overlay}}", "2:16: networks.a.driver is not supported"),
        ("services: {}\nvolumes: {a: {external: true}}", "2:15: volumes.a.external is not supported"),
        ("services: {}\nvolumes: {a: {driver: nfs}}", "2:23: volumes.a.driver: only the driver `local`"),
        ("services: {}\nvolumes: {'a b': }", "2:11: `a b` is no volume name"),
        ("services: {}\nname: [a]", "2:7: name: expected a string, found a list"),
    ],
)
def test_what_is_refused_of_the_file(text: str, problem: str) -> None:
    assert any(found.startswith(f"compose.yaml:{problem}") for found in problems(text))


def test_no_services_must_be_said() -> None:
    assert stack("services: {}") == Stack("shop", COMMIT)


def test_what_means_nothing_here_is_accepted() -> None:
    assert stack(f"version: '3.8'\nname: shop\nx-any: {{a: 1}}\nnetworks: {{front: }}\n{WEB}").services


def test_volumes_keep_their_options() -> None:
    found = stack(f"{WEB}\nvolumes:\n  b: {{driver_opts: {{type: nfs, o: 'addr=1'}}}}\n  a:\n")
    assert found.volumes == (("a", ()), ("b", (("o", "addr=1"), ("type", "nfs"))))


def test_services_follow_what_they_depend_on_and_else_their_names() -> None:
    found = stack(
        "services:\n"
        "  a: {image: x, depends_on: {z: {condition: service_healthy}}}\n"
        "  b: {image: x}\n"
        "  z: {image: x, depends_on: [m]}\n"
        "  m: {image: x, depends_on: {gone: {condition: service_started, required: false}}}\n"
        "  gone: {image: x, profiles: [debug]}\n"
    )
    assert [service.name for service in found.services] == ["b", "m", "z", "a"]
    assert [service.depends_on for service in found.services] == [
        (),
        (),
        (Dependency("m"),),
        (Dependency("z", "service_healthy"),),
    ]


def test_a_cycle_is_told_from_its_first_name() -> None:
    found = problems(
        "services:\n"
        "  c: {image: x, depends_on: [b]}\n"
        "  b: {image: x, depends_on: [a]}\n"
        "  a: {image: x, depends_on: [c]}\n"
        "  w: {image: x, depends_on: [a]}\n"
    )
    assert found == ["compose.yaml:4:17: services.a.depends_on: a cycle: a -> c -> b -> a"]


def test_a_dependency_without_its_profile_is_told_to_be_one() -> None:
    text = "services:\n  a: {image: x, depends_on: [b]}\n  b: {image: x, profiles: [debug, test]}\n"
    files: dict[str, str | bytes] = {"compose.yaml": text}
    assert _problems(files) == [
        "compose.yaml:2:30: services.a.depends_on: no service `b` (its profile is not selected)"
    ]
    assert [service.name for service in _load(files, profiles=["test"]).services] == ["b", "a"]


def test_what_the_edge_would_serve_twice_is_refused() -> None:
    found = problems(
        "services:\n"
        "  a: {image: x, ports: ['8080:80'], x-ingress: {host: A.com, path: /x, port: 1}}\n"
        "  b: {image: x, ports: ['8080:90'], x-ingress: [{host: a.com, path: /x/, port: 2}, {port: 2}]}\n"
    )
    assert found == [
        "compose.yaml:3:24: services.b.ports: port 8080 of the edge is published twice (also by services.a)",
        "compose.yaml:3:48: services.b.x-ingress: `a.com/x` is routed twice (also by services.a)",
    ]


def test_a_folder_of_the_repo_and_the_other_names_of_the_file() -> None:
    for name in ("compose.yml", "docker-compose.yml", "docker-compose.yaml"):
        found = _load(
            {f"deploy/{name}": "services: {web: {image: $I}}", "deploy/.env": "I=x"}, path="deploy/"
        )
        assert found.services[0].container.image == "x"
    assert _problems({"deploy/compose.yaml": "{}"}, path="deploy") == [
        "deploy/compose.yaml:1:1: no services (write `services: {}` to mean none)"
    ]


def test_files_that_are_missing_or_ambiguous() -> None:
    assert _problems({"README": ""}) == ["compose.yaml: no Compose file (expected compose.yaml in `.`)"]
    assert _problems({"a": ""}, path="deploy") == ["deploy: there is no such folder"]
    assert _problems({"compose.yaml": WEB, "docker-compose.yml": WEB}) == [
        "docker-compose.yml: more than one Compose file (keep one of compose.yaml and docker-compose.yml)"
    ]
    assert _problems({"compose.yaml": WEB}, overlays=["more.yaml"]) == ["more.yaml: there is no such file"]
    assert _problems({"compose.yaml": WEB}, env="prod") == [
        "compose.yaml: nothing is there for the environment prod (add .env.prod or compose.prod.yaml)"
    ]


@pytest.mark.parametrize("options", [{"app": "a b"}, {"app": "A"}, {"app": "x\n"}, {"env": "../x"}])
def test_names_of_the_application_and_the_environment_are_of_an_allow_list(options: dict[str, str]) -> None:
    with pytest.raises(PermanentError, match="is no"):
        load(MemoryTree({"compose.yaml": WEB}), **{"app": "shop", "commit": COMMIT, **options})


def test_an_environment_selects_its_values_and_its_overlay() -> None:
    files: dict[str, str | bytes] = {
        "compose.yaml": "services: {web: {image: 'web:$TAG', hostname: $NAME}}",
        ".env": "TAG=1\nNAME=base\n",
        ".env.prod": "TAG=2-$NAME\n",
        "compose.override.yaml": "services: {web: {deploy: {replicas: 2}}}",
        "compose.prod.yaml": "services: {web: {deploy: {replicas: 4}}}",
    }
    base, prod = _load(files).services[0], _load(files, env="prod").services[0]
    assert (base.container.image, base.replicas) == ("web:1", 2)
    assert (prod.container.image, prod.container.hostname, prod.replicas) == ("web:2-base", "base", 4)


def _merged(base: str, over: str) -> Stack:
    return _load(
        {"compose.yaml": f"services:\n  web:\n    image: a\n{base}volumes: {{d: , e: }}\n", "o.yaml": over},
        overlays=["o.yaml"],
    )


@pytest.mark.parametrize(
    ("base", "over", "attribute", "value"),
    [
        ("hostname: a", "hostname: b", "hostname", "b"),
        ("command: [a, b]", "command: [c]", "command", ("c",)),
        ("command: [a, b]", "command: c d", "command", ("c", "d")),
        ("environment: {A: 1, B: 1}", "environment: [B=2, C=2]", "environment",
         (("A", "1"), ("B", "2"), ("C", "2"))),
        ("labels: [a=1]", "labels: {a: 2, b: 2}", "labels", (("a", "2"), ("b", "2"))),
        ("expose: [1]", "expose: [2, 1]", "expose", (1, 2)),
        ("dns: 10.0.0.1", "dns: [10.0.0.2]", "dns", ("10.0.0.1", "10.0.0.2")),
        ("cap_add: [A]", "cap_add: [B, A]", "cap_add", ("A", "B")),
        ("volumes: [d:/x, e:/y]", "volumes: [e:/x:ro]", "mounts",
         (Mount("volume", "/x", "e", read_only=True), Mount("volume", "/y", "e"))),
        ("ulimits: {nofile: 1}", "ulimits: {nofile: {soft: 1, hard: 2}}", "ulimits",
         (Ulimit("nofile", 1, 2),)),
        ("logging: {driver: a, options: {x: 1}}", "logging: {options: {y: 2}}", "logging",
         Logging("a", (("x", "1"), ("y", "2")))),
        ("logging: {driver: a, options: {x: 1}}", "logging: {driver: b}", "logging", Logging("b")),
        ("hostname: a", "hostname: !reset null", "hostname", ""),
        ("environment: {A: 1, B: 1}", "environment: {A: !reset null}", "environment", (("B", "1"),)),
        ("environment: {A: 1}", "environment: !override {B: 2}", "environment", (("B", "2"),)),
        ("environment: {A: 1}", "environment:", "environment", (("A", "1"),)),
        ("expose: [1, 2]", "expose: !override [3]", "expose", (3,)),
        ("expose: [1, 2]", "expose: !reset []", "expose", ()),
    ],
)  # fmt: skip
def test_overlays_merge_by_the_rules_of_compose(base: str, over: str, attribute: str, value: object) -> None:
    merged = _merged(f"    {base}\n", f"services:\n  web:\n    {over}\n")
    assert getattr(merged.services[0].container, attribute) == value


def test_overlays_merge_ports_by_what_they_publish() -> None:
    merged = _merged(
        "    ports: ['81:80', '82:80']\n",
        "services: {web: {ports: ['81:80/tcp', {target: 80, published: 83}]}}",
    )
    assert [port.published for port in merged.services[0].publish] == [81, 82, 83]


def test_overlays_add_services_and_replace_routes() -> None:
    merged = _merged(
        "    x-ingress: [{port: 1}, {port: 1, path: /a}]\n    depends_on: [db]\n  db: {image: db}\n",
        "services: {web: {x-ingress: [{port: 2}], depends_on: {api: {condition: service_healthy}}},"
        " api: {image: b}}",
    )
    assert [service.name for service in merged.services] == ["api", "db", "web"]
    web = merged.services[2]
    assert [route.port for route in web.ingress] == [2]
    assert web.depends_on == (Dependency("api", "service_healthy"), Dependency("db"))


def test_a_problem_of_an_overlay_is_in_its_file() -> None:
    files: dict[str, str | bytes] = {
        "compose.yaml": "services: {web: {image: a, ports: [a]}}",
        "o.yaml": "services: {web: {expose: {a: b}, ports: [b]}}",
    }
    assert [problem.split(",")[0] for problem in _problems(files, overlays=["o.yaml"])] == [
        "compose.yaml:1:36: services.web.ports[0]: expected a port such as `8080:80`",
        "o.yaml:1:26: services.web.expose: expected a list",
        "o.yaml:1:42: services.web.ports[1]: expected a port such as `8080:80`",
    ]


def test_kinds_that_do_not_merge_are_told_with_both_places() -> None:
    files: dict[str, str | bytes] = {
        "compose.yaml": "services: {web: {image: a, expose: [1]}}",
        "o.yaml": "services: {web: {expose: {a: b}}}",
    }
    (problem,) = _problems(files, overlays=["o.yaml"])
    assert problem.startswith(
        "o.yaml:1:26: services.web.expose: a mapping cannot be merged into a list (at compose.yaml:1:36)"
    )


def test_one_large_env_file_for_many_services_is_refused() -> None:
    text = "services:\n" + "".join(f"  s{n}: {{image: x, env_file: a.env}}\n" for n in range(30))
    (problem,) = problems(text, a__env="".join(f"A{n}=\n" for n in range(4000)))
    assert (
        problem == "compose.yaml:27:3: services.s25.environment: more than 100,000 variables of all services"
    )


def test_a_file_with_nothing_but_problems_is_told_in_bounds() -> None:
    assert len(problems("services: {}\n" + "".join(f"k{n}: 1\n" for n in range(5000)))) == 1000


def test_a_wide_range_of_ports_is_refused() -> None:
    (problem,) = problems("services: {web: {image: x, expose: [1-65535]}}")
    assert problem.startswith("compose.yaml:1:37: services.web.expose[0]: a range of more than 1000 ports")
