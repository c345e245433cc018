"""Whether a host takes a file: the script under the shells that hosts have, and what its answer means."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from gitops.observe.room import FREE, TRIED, TRY, Trial, _trial

SHELLS = [["sh"], ["bash", "--posix"], ["busybox", "sh"]]


def tried(words: list[str], *folders: Path) -> list[Trial]:
    names = [str(folder) for folder in folders]
    done = subprocess.run(
        [*words, "-c", TRY, "sh", "", *names], check=True, capture_output=True, text=True, timeout=60
    )
    return [_trial(name, line) for name, line in zip(names, done.stdout.splitlines(), strict=True)]


@pytest.mark.parametrize("words", SHELLS, ids=lambda words: words[0])
def test_a_folder_takes_a_file_or_says_why_not_and_nothing_is_left(tmp_path: Path, words: list[str]) -> None:
    there, missing, refused = tmp_path / "it's here", tmp_path / "made", Path("/proc/sys")
    (there / "shop").mkdir(parents=True)
    (there / "shop" / "release.json").touch()
    good, made, bad = tried(words, there, missing, refused)
    assert (good.problem, made.problem) == ("", "")
    assert good.free > 0
    assert bad.problem
    assert [path.name for path in tmp_path.rglob("*")] == ["it's here", "shop", "release.json"]


@pytest.mark.parametrize(
    ("line", "problem", "free"),
    [
        (f"{TRIED} 1024 ", "", 1 << 20),
        (
            "4096 0 head: error writing 'standard output': No space left on device",
            "No space left on device",
            0,
        ),
        ("0 7 sh: 8: cannot create /a/.gitops-trial.1: Permission denied", "Permission denied", 7 << 10),
        (f"{TRIED} 1 /a/shop/: Permission denied", "/a/shop/: Permission denied", 1 << 10),
        ("12 1 ", "it takes less than was written", 1 << 10),
        ("", "it takes less than was written", 0),
    ],
)
def test_what_the_answer_means(line: str, problem: str, free: int) -> None:
    assert _trial("/a", line) == Trial("/a", problem, free)


@pytest.mark.parametrize("words", SHELLS, ids=lambda words: words[0])
def test_a_folder_that_the_user_cannot_see_is_measured_where_it_lies(words: list[str]) -> None:
    done = subprocess.run(
        [*words, "-c", FREE, "sh", "/nowhere/at/all"], check=True, capture_output=True, text=True, timeout=60
    )
    assert int(done.stdout) > 0
