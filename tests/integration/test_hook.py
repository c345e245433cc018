"""The post-receive hook under a real git: which pushes deploy, and how."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

HOOK = Path(__file__).resolve().parents[2] / "examples" / "hooks" / "post-receive"
RECORDER = '#!/bin/sh\necho "$* GIT_DIR=${GIT_DIR-unset}" >> "$(dirname "$0")/called"\necho deployed\n'


@dataclass(frozen=True)
class Repository:
    """A bare repository with the hook, a work tree, and a `gitops` that writes down how it was called."""

    folder: Path

    @property
    def bare(self) -> Path:
        return self.folder / "shop.git"

    def git(self, *words: str) -> str:
        identity = {"GIT_AUTHOR_NAME": "T", "GIT_AUTHOR_EMAIL": "t@example.test"}
        identity |= {"GIT_COMMITTER_NAME": "T", "GIT_COMMITTER_EMAIL": "t@example.test"}
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        done = subprocess.run(
            ["git", *words], cwd=self.folder / "work", env={**os.environ, **identity, "PATH": path},
            check=True, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        return done.stderr

    def set(self, key: str, value: str) -> None:
        self.git("--git-dir", str(self.bare), "config", key, value)

    @property
    def calls(self) -> list[str]:
        file = self.folder / "bin" / "called"
        return file.read_text().splitlines() if file.exists() else []


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    for name in ("work", "bin"):
        (tmp_path / name).mkdir()
    recorder = tmp_path / "bin" / "gitops"
    recorder.write_text(RECORDER)
    recorder.chmod(0o755)
    found = Repository(tmp_path)
    found.git("init", "-q", "--bare", str(found.bare))
    shutil.copy(HOOK, found.bare / "hooks" / "post-receive")
    found.git("init", "-q", "-b", "main")
    found.git("remote", "add", "origin", str(found.bare))
    found.git("commit", "-q", "--allow-empty", "-m", "one")
    return found


def test_a_push_of_the_branch_deploys_and_shows_it(repository: Repository) -> None:
    repository.set("gitops.app", "shop")
    assert "remote: deployed" in repository.git("push", "origin", "main")
    assert repository.calls == ["sync shop GIT_DIR=unset"]


def test_branch_and_configuration_are_settings(repository: Repository) -> None:
    repository.set("gitops.app", "shop")
    repository.set("gitops.branch", "live")
    repository.set("gitops.config", "/etc/my gitops.yaml")
    repository.git("push", "-q", "origin", "main")
    assert repository.calls == []
    repository.git("push", "-q", "origin", "main:live")
    assert repository.calls == ["--config /etc/my gitops.yaml sync shop GIT_DIR=unset"]


def test_other_branches_deletions_and_repositories_without_an_application_deploy_nothing(
    repository: Repository,
) -> None:
    repository.git("push", "-q", "origin", "main")
    repository.set("gitops.app", "shop")
    repository.git("push", "-q", "origin", "main:other", "main:refs/tags/main")
    repository.git("push", "-q", "origin", ":other")
    repository.set("gitops.branch", "gone")
    repository.git("push", "-q", "origin", "main:gone")
    assert len(repository.calls) == 1
    repository.git("push", "-q", "origin", ":gone")
    assert len(repository.calls) == 1
