"""Documentation is part of the product: nothing undocumented, no dead link, no address of ours."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from pydantic import BaseModel

from gitops import config
from gitops.cli import cli

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])
LINK = re.compile(r"(?<!!)\[[^\]\[]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def commands(group: Any, path: str = "gitops") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


def options(command: Any) -> Iterator[str]:
    for parameter in command.params:
        if parameter.param_type_name == "option":
            yield from (*parameter.opts, *parameter.secondary_opts)


COMMANDS = list(commands(typer.main.get_command(cli)))


def section(path: str) -> str:
    """What the reference says of one command: its own section or its group's, and the common options."""
    text = page("docs/reference/cli.md")
    common, *sections = re.split(r"^## ", text, flags=re.MULTILINE)
    own = [
        part for part in sections if any(named(path, title) for title in part.partition("\n")[0].split(","))
    ]
    of_group = (
        [part for part in sections if part.startswith("gitops lab\n")]
        if path.startswith("gitops lab")
        else []
    )
    assert own or of_group, f"{path} has no section"
    return common + "".join(own + of_group)


def named(path: str, title: str) -> bool:
    return re.match(rf"{re.escape(path)}(?![\w-])", title.strip()) is not None


@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=[path for path, _ in COMMANDS])
def test_every_command_and_option_is_in_the_reference(path: str, command: Any) -> None:
    text = section(path)
    assert path in text
    for option in options(command):
        assert f"`{option}" in text, f"{path}: {option}"


@pytest.mark.parametrize("path", [path for path, _ in COMMANDS if not path.startswith("gitops lab")])
def test_every_command_is_in_the_readme(path: str) -> None:
    table = page("README.md").partition("## Commands")[2].partition("\n## ")[0]
    assert path in table or f"`{path.removeprefix('gitops ')} " in table


def test_the_reference_names_no_command_that_is_not_there() -> None:
    known = {path for path, _ in COMMANDS} | {"gitops lab"}
    for title in re.findall(r"^## (gitops .*)$", page("docs/reference/cli.md"), flags=re.MULTILINE):
        for part in title.split(","):
            assert any(named(path, part) for path in known), part


def options_of_the_reference(path: str) -> set[str]:
    """The options in the section's table: the first cell of each row."""
    rows = re.findall(r"^\| (`-.*?) \|", section(path), flags=re.MULTILINE)
    return {option for row in rows for option in re.findall(r"`(--?[a-z-]+)", row)}


@pytest.mark.parametrize(
    ("path", "command"), [(path, command) for path, command in COMMANDS if not path.startswith("gitops lab")]
)
def test_the_reference_names_no_option_that_is_not_there(path: str, command: Any) -> None:
    assert options_of_the_reference(path) <= set(options(command)) | {
        "--help",
        "--version",
        "--config",
        "-c",
        "--output",
        "-o",
    }


def keys(model: type[BaseModel]) -> set[str]:
    return {field.alias or name for name, field in model.model_fields.items()} - {"name"}


MODELS = [
    config.Settings,
    config.AppSettings,
    config.SourceSettings,
    config.RegistrySettings,
    config.SchedulerSettings,
    config.ReserveSettings,
]


@pytest.mark.parametrize("model", MODELS)
def test_every_setting_is_in_the_reference(model: type[BaseModel]) -> None:
    text = page("docs/reference/gitops-yaml.md")
    for key in keys(model):
        assert f"| `{key}` |" in text, key


def test_the_reference_names_no_setting_that_is_not_there() -> None:
    known = set().union(*map(keys, MODELS))
    assert (
        set(re.findall(r"^\| `(\w+)` \|", page("docs/reference/gitops-yaml.md"), flags=re.MULTILINE)) <= known
    )


@pytest.mark.parametrize("name", ["docs/reference/gitops-yaml.md", "README.md"])
def test_the_example_of_the_settings_is_valid(name: str, tmp_path: Path) -> None:
    examples = re.findall(r"```yaml\n((?:store:.*\n)?apps:\n.*?)```", page(name), flags=re.DOTALL)
    assert len(examples) == 1
    (tmp_path / "gitops.yaml").write_text(examples[0])
    assert config.load(tmp_path / "gitops.yaml").app("shop").on_failure == "rollback"


@pytest.mark.parametrize("file", PAGES, ids=[str(path.relative_to(ROOT)) for path in PAGES])
def test_links_lead_somewhere(file: Path) -> None:
    for link in LINK.findall(FENCE.sub("", file.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        found = (file.parent / target).resolve() if target else file
        assert found.exists(), f"{file.name}: {link}"
        if anchor:
            assert anchor in anchors(found), f"{file.name}: {link}"


def anchors(file: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", FENCE.sub("", file.read_text(encoding="utf-8")), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_decision_is_in_the_list() -> None:
    listed = page("docs/decisions/README.md")
    files = {path.name for path in (ROOT / "docs" / "decisions").glob("0*.md")}
    assert files == {name for name in files if f"({name})" in listed}
    assert len(files) >= 10


def test_the_test_command_is_the_one_that_decides() -> None:
    assert "    make test\n" in page("README.md")
    assert page(".ci/run").splitlines()[-1] == "exec make test"
