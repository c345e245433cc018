"""A real Git repository to push to, for tests."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


class Origin:
    """A bare repository and a work tree that pushes to it."""

    def __init__(self, folder: Path) -> None:
        self.bare = folder / "origin.git"
        self.work = folder / "work"
        self.git("init", "--quiet", "--bare", "--initial-branch=main", str(self.bare))
        self.git("init", "--quiet", "--initial-branch=main", str(self.work))

    def git(self, *arguments: str, at: Path | None = None) -> str:
        """Runs Git as a user's own would, with nothing of this machine's settings."""
        env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        env |= {
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_AUTHOR_NAME": "Ann",
            "GIT_AUTHOR_EMAIL": "ann@example.com",
            "GIT_COMMITTER_NAME": "Ann",
            "GIT_COMMITTER_EMAIL": "ann@example.com",
        }
        place = at or self.bare.parent
        argv = ["git", *arguments]
        done = subprocess.run(argv, check=True, capture_output=True, text=True, env=env, cwd=place)
        return done.stdout.strip()

    def commit(self, files: dict[str, str | bytes], message: str = "Change", *, branch: str = "main") -> str:
        """Writes files, commits all of the work tree and pushes; returns the full SHA."""
        for name, content in files.items():
            path = self.work / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        self.git("add", "--all", at=self.work)
        self.git("commit", "--quiet", "--allow-empty", "-m", message, at=self.work)
        self.push(branch)
        return self.git("rev-parse", "HEAD", at=self.work)

    def push(self, branch: str = "main") -> None:
        """Pushes what the work tree stands at."""
        self.git("push", "--quiet", "--force", str(self.bare), f"HEAD:refs/heads/{branch}", at=self.work)
