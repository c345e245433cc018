"""The folder of a rendered deployment: what a commit gives its containers is in it."""

from __future__ import annotations

import stat
from pathlib import Path

from gitops.execute import runner


def test_a_folder_that_is_made_is_for_its_owner_alone(tmp_path: Path) -> None:
    runner.write({"services/web.json": b"{}"}, tmp_path / "new")
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    assert (tmp_path / "new/services/web.json").read_bytes() == b"{}"


def test_a_folder_that_is_there_is_filled_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("stays")
    tmp_path.chmod(0o750)
    runner.write({"rollout.yml": b"[]"}, tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o750
    assert (tmp_path / "mine").read_text() == "stays"
