"""One application as the controller knows it: its settings, its clone, and what a commit of it says."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from gitops import desired
from gitops.config import AppSettings
from gitops.connections import Connections
from gitops.desired import inventory
from gitops.errors import PermanentError, TransientError
from gitops.execute.standby import Standby
from gitops.model.fleet import Fleet
from gitops.model.stack import Stack
from gitops.source.git import Clone
from gitops.store.records import Store

REMEMBERED_COMMITS = 8  # the last good one, the newest one, and what lies between them


@dataclass(frozen=True)
class Desired:
    """What one commit says: the services, and the hosts to run them on."""

    stack: Stack
    fleet: Fleet


@dataclass
class Application:
    """An application with all that a pass over it needs."""

    name: str
    settings: AppSettings
    store: Store
    connections: Connections
    standby: Standby
    state_dir: Path
    _read: dict[tuple[str, str], Desired] = field(default_factory=dict)

    @property
    def clone(self) -> Clone:
        """The bare clone of the application's repo."""
        return Clone(self.state_dir / "repos" / f"{self.name}.git", self.settings.source.repo)

    @property
    def runs(self) -> Path:
        """The folder of run folders, one a deployment."""
        return self.state_dir / "runs" / self.name

    def fetch(self) -> str:
        """The newest commit of the branch or tag, full SHA; the store remembers having seen it.

        Raises:
            TransientError: the Git server does not answer.
            PermanentError: no such repo, branch or tag.
        """
        commit = self.clone.fetch(self.settings.source.ref)
        self.store.set_target(self.name, commit)
        return commit

    def at(self, commit: str) -> Desired:
        """What the commit says.

        Raises:
            InvalidInputError: with everything that is wrong in its files.
            TransientError: an inventory outside the repo is wrong.
        """
        key = (commit, self._inventory_signature())
        if key not in self._read:
            while len(self._read) >= REMEMBERED_COMMITS:
                del self._read[next(iter(self._read))]
            self._read[key] = Desired(self._stack(commit), self.fleet(commit))
        return self._read[key]

    def _stack(self, commit: str) -> Stack:
        source = self.settings.source
        return desired.load(
            self.clone.tree(commit),
            app=self.name,
            commit=commit,
            path=source.path,
            overlays=self.settings.overlays,
            env=self.settings.env,
            profiles=self.settings.profiles,
        )

    def fleet(self, commit: str) -> Fleet:
        """The hosts of the inventory that the commit, or this machine, has.

        Raises:
            InvalidInputError: with everything that is wrong in it.
            PermanentError: it is not there.
        """
        if not self.settings.inventory_in_repo:
            try:
                return inventory.load(Path(self.settings.inventory), trusted=True)
            except PermanentError as problem:  # not the commit's fault: the next pass tries again
                raise TransientError(str(problem)) from problem
        tree = self.clone.tree(commit)
        if not tree.exists(self.settings.inventory):
            raise PermanentError(
                f"the inventory {self.settings.inventory} is not in the repo at {commit[:12]}",
                hint="commit it, or give an absolute path as `inventory`",
            )
        with tempfile.TemporaryDirectory(prefix="gitops-inventory-") as folder:
            tree.export(self.settings.inventory, Path(folder) / "inventory")
            return inventory.load(Path(folder) / "inventory", trusted=False)

    def _inventory_signature(self) -> str:
        """Changes when an inventory outside the repo changes; one inside is part of the commit."""
        if self.settings.inventory_in_repo:
            return ""
        root = Path(self.settings.inventory)
        files = sorted(path for path in root.rglob("*") if path.is_file()) if root.is_dir() else [root]
        return ",".join(f"{path}:{path.stat().st_mtime_ns}" for path in files if path.exists())
