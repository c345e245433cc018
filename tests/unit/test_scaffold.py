from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gitops import config
from gitops.checkup.files import problems_of
from gitops.cli import cli
from gitops.errors import PermanentError
from gitops.scaffold import write_application

FILES = [".env", "README.md", "compose.yaml", "gitops.yaml", "inventory/hosts.yml"]


def test_init_writes_an_application_that_is_valid(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "hello"
    assert [str(path.relative_to(folder)) for path in write_application(folder)] == FILES
    assert problems_of(folder, inventory=folder / "inventory") == []


def test_its_configuration_is_valid_and_names_its_own_folder(tmp_path: Path) -> None:
    write_application(tmp_path)
    app = config.load(tmp_path / "gitops.yaml").app("hello")
    assert app.source.repo == f"file://{tmp_path}"
    assert app.inventory_in_repo


@pytest.mark.parametrize("name", FILES)
def test_init_overwrites_nothing_and_then_writes_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    with pytest.raises(PermanentError, match="is there already"):
        write_application(tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / name]
    assert (tmp_path / name).read_text() == "mine"


def test_init_does_not_write_through_a_dangling_link(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PermanentError, match="is there already"):
        write_application(tmp_path)
    assert not (tmp_path / "elsewhere").exists()


def test_what_was_begun_is_taken_back_when_the_rest_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "inventory").write_text("a file where a folder should be")
    with pytest.raises(PermanentError, match="cannot write into"):
        write_application(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["inventory"]


def test_validate_tells_every_problem_at_once(tmp_path: Path) -> None:
    write_application(tmp_path)
    compose = tmp_path / "compose.yaml"
    compose.write_text(
        compose.read_text().replace("replicas:", "replcas:").replace("retries: 3", "retries: many")
    )
    (tmp_path / "inventory" / "hosts.yml").write_text("load_balancers: {hosts: {edge: }}\n")
    problems = [str(problem) for problem in problems_of(tmp_path, inventory=tmp_path / "inventory")]
    assert len(problems) == 3, problems
    assert any("compose.yaml:" in problem and "replcas" in problem for problem in problems)
    assert any("container_hosts" in problem for problem in problems)


def test_validate_prints_notices_which_are_no_errors(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text("services: {web: {image: web, x-jobs: {}}}\n")
    done = CliRunner().invoke(cli, ["validate", str(tmp_path)])
    notice = "compose.yaml:1:30: services.web.x-jobs means nothing here (did you mean `x-job`?)"
    assert (done.exit_code, done.output) == (0, f"notice: {notice}\nvalid\n")
    done = CliRunner().invoke(cli, ["validate", str(tmp_path), "-o", "json"])
    assert json.loads(done.output) == {"valid": True, "problems": [], "notices": [notice]}
