"""What Docker Compose makes of tricky inputs, as data: `docker compose config` 2.40.3 without environment.

Each file of `facts/` is a list of rows: the input, and what Compose gives; null where both refuse it.
What is refused here alone, and why, stands in docs/reference/compose.md.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.composed import composed
from support.trees import COMMIT, MemoryTree, problems, service, service_problems, stack

from gitops.desired import dotenv, load
from gitops.desired.interpolate import substitute
from gitops.desired.problems import Problems
from gitops.desired.units import seconds
from gitops.desired.words import split
from gitops.errors import InvalidInputError, PermanentError

FACTS = Path(__file__).parent / "facts"
VOLUMES = "volumes: {va: , wa: }\n"


def facts(name: str) -> list[Any]:
    return [
        pytest.param(*row, id=f"{row[0]!r}"[:60]) for row in json.loads((FACTS / f"{name}.json").read_text())
    ]


@pytest.mark.parametrize(("text", "variables", "expected"), facts("dotenv"))
def test_env_files(text: str, variables: dict[str, str], expected: dict[str, str] | None) -> None:
    found = Problems()
    parsed = dotenv.parse(text.encode(), "app.env", variables, found)
    assert (None if found else parsed) == expected


@pytest.mark.parametrize(("text", "expected"), facts("interpolation"))
def test_interpolation(text: str, expected: str | None) -> None:
    variables = {"B": "b", "E": "", "J": '{"jobs":2}'}
    if expected is None:
        with pytest.raises(PermanentError):
            substitute(text, variables)
    else:
        assert substitute(text, variables) == expected


@pytest.mark.parametrize(("text", "expected"), facts("words"))
def test_words_of_a_command(text: str, expected: list[str] | None) -> None:
    text = text.replace("$$", "$")
    if expected is None:
        with pytest.raises(PermanentError):
            split(text)
    else:
        assert split(text) == tuple(expected)


def _service(keys: str) -> str:
    return "services:\n  web:\n    image: a\n" + "".join(f"    {line}\n" for line in keys.split("\n"))


@pytest.mark.parametrize(("keys", "expected"), facts("values"))
def test_values(keys: str, expected: dict[str, Any] | None) -> None:
    files = {"compose.yaml": _service(keys) + VOLUMES, ".env": "T=real\nN=3\nY=yes\nM=64m\nEMPTY=\nP=81\n"}
    if expected is None:
        with pytest.raises(InvalidInputError):
            load(MemoryTree(files), app="app", commit=COMMIT)
    else:
        assert composed(load(MemoryTree(files), app="app", commit=COMMIT)) == expected


@pytest.mark.parametrize(("base", "over", "expected"), facts("overlays"))
def test_overlays(base: str, over: str, expected: dict[str, Any] | None) -> None:
    files = {
        "compose.yaml": _service(base) + VOLUMES,
        "o.yaml": _service(over),
        ".env": "T=real\nA=env\nB=b\n",
        "e1": "A=1\n",
        "e2": "A=2\n",
    }
    if expected is None:
        try:
            loaded = load(MemoryTree(files), app="app", commit=COMMIT, overlays=["o.yaml"])
        except InvalidInputError:
            return
        assert not loaded.services  # left out by its profile
    else:
        assert composed(load(MemoryTree(files), app="app", commit=COMMIT, overlays=["o.yaml"])) == expected


@pytest.mark.parametrize(
    ("first", "second", "dot", "expected"),
    [
        # The project's variables win over the lines above, these over the files before.
        ("B=a\nA=$B", "", "B=dot", {"A": "dot", "B": "a"}),
        ("B=a", "A=$B", "", {"A": "a", "B": "a"}),
        ("B=a", "A=$B", "B=dot", {"A": "dot", "B": "a"}),
        ("B=a", "B=b\nA=$B", "", {"A": "b", "B": "b"}),
        ("B=a", "A=$B\nB=b", "", {"A": "a", "B": "b"}),
        ("B=a\nC=$B", "B=b\nA=$C$B", "", {"A": "ab", "B": "b", "C": "a"}),
        ("B=a", "A=${B:+x}${C-y}", "", {"A": "xy", "B": "a"}),
        ("B=a", "B", "", {"B": "a"}),
        ("B=a", "B", "B=dot", {"B": "dot"}),
        ("B=b\nA=$B\nB=c\nC=$A", "", "", {"A": "b", "B": "c", "C": "b"}),
        ("A=$COMPOSE_PROJECT_NAME", "", "COMPOSE_PROJECT_NAME=zz", {"A": "shop"}),
    ],
)
def test_where_env_files_look_names_up(first: str, second: str, dot: str, expected: dict[str, str]) -> None:
    text = "services: {web: {image: a, env_file: [first, second]}}"
    found = stack(text, dotenv=dot, first=first, second=second).services[0].container.environment
    assert dict(found) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1m30s", 90.0),
        ("1.5h", 5400.0),
        (".5s", 0.5),
        ("1.s", 1.0),
        ("+1s", 1.0),
        ("1500us", 0.0015),
        ("1500µs", 0.0015),
        ("1500μs", 0.0015),
        ("1500000ns", 0.0015),
        ("1d", 86400.0),
        ("1w", 604800.0),
        ("1h1m1s1ms", 3661.001),
        ("1M", None),
        ("1S", None),
        ("1m 30s", None),
        ("10", None),
        ("", None),
        (".s", None),
        ("s", None),
        ("\u0661s", None),
    ],
)
def test_durations(text: str, expected: float | None) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize(
    "command", ["a && b", "a | b", "a > f", "a; b", "a & b", "a <b", "a;", "http://x/?a=1&b=2"]
)
def test_an_operator_of_a_shell_is_refused_where_compose_drops_it_with_all_that_follows(command: str) -> None:
    (problem,) = service_problems(f"command: '{command}'")
    assert "no shell runs it" in problem
    assert "sh -c" in problem


@pytest.mark.parametrize("keys", ["hostname: ''", "working_dir: ''", "stop_signal: ''", "user: ''"])
def test_an_empty_string_says_nothing(keys: str) -> None:
    assert service(keys).container == service("").container


def test_a_signal_is_one_in_any_case() -> None:
    assert service("stop_signal: sigusr1").container.stop_signal == "SIGUSR1"


def test_no_limit_of_processes_may_be_said_as_minus_one() -> None:
    assert service("deploy: {resources: {limits: {pids: -1}}}").container.pids_limit == 0


def test_a_byte_order_mark_of_an_env_file_is_skipped() -> None:
    web = service("env_file: e", e="\ufeffA=1\n")
    assert web.container.environment == (("A", "1"),)


@pytest.mark.parametrize(
    "text",
    [
        "x-a: 1\nx-b: &b {image: x}\nx-jobs: []\nx-ingres: 1\nx-job: 1\nservices: {web: {<<: *b}}",
        "services: {web: {image: x, x-a: 1, x-jobs: {}, x-ingres: , x-jop: 2}}",
        "services: {web: {image: x, deploy: {x-job: 1}, healthcheck: {x-b: 1}, logging: {x-c: 1}}}",
        "services: {web: {image: x}}\nnetworks: {a: {x-job: 1}}\nvolumes: {b: {x-ingress: 1}}",
    ],
)
def test_any_other_key_that_begins_with_x_is_the_users(text: str) -> None:
    assert stack(text).services[0].container.image == "x"


def test_a_key_that_is_nearly_ours_is_noticed() -> None:
    found = Problems()
    text = "x-jop: 1\nservices:\n  web:\n    image: x\n    x-jobs: {}\n    x-ingres: {}\n    x-mine: 1\n"
    load(MemoryTree({"compose.yaml": text}), app="shop", commit=COMMIT, problems=found)
    assert [str(notice) for notice in found.notices] == [
        "compose.yaml:5:5: services.web.x-jobs means nothing here (did you mean `x-job`?)",
        "compose.yaml:6:5: services.web.x-ingres means nothing here (did you mean `x-ingress`?)",
    ]


def test_what_is_malformed_is_told_although_another_value_is_taken() -> None:
    (problem,) = problems("services: {web: {image: 'a${B:-${}}'}}", dotenv="B=b\n")
    assert "`${}` is no variable" in problem
