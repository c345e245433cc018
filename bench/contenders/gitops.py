"""This project, as a user meets it: the service after `git push`, and `gitops sync` by hand."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import datetime
from typing import Any

from support.shop import Shop

from bench import compose
from bench.contender import NEVER, Contender, Release, timed
from bench.fleet import Entry, Fleet, until
from gitops.reconcile import Request, reconcile
from gitops.session import Session

EDGE = "e1"
PASSES = 20  # with nothing to do: they are short


class Serve(Contender):
    """`gitops serve`, from `git push` to the recorded outcome."""

    key = "gitops"
    title = "gitops serve"
    cases = frozenset("abcde")

    def __init__(self, fleet: Fleet) -> None:
        super().__init__(fleet)
        self._domain = f"{self.key}.test"
        self.entry = Entry(fleet.lab.address(EDGE), self._domain)
        self._turn = ExitStack()

    settings: Mapping[str, Any] = {}

    def prepare(self) -> None:
        """Makes repo and configuration."""
        inventory = str(self.fleet.inventory(f"{self.key}-inventory", EDGE))
        place = self.fleet.folder / self.key
        lab = self.fleet.lab
        settings = {"image_retention": 100, **self.settings}  # the images are everybody's here
        self.shop = Shop.create(lab, self.key, place, inventory=inventory, poll="60s", **settings)
        self.shop.warm = False  # what a command takes to start is part of it

    def begin(self, release: Release) -> None:
        """Starts the service and pushes the release."""
        self._turn.enter_context(self.shop.serving())
        self._go(release, "succeeded")

    def deploy(self, release: Release) -> float:
        """Pushes the release."""
        return self._go(release, "succeeded")

    def scale(self, release: Release) -> float:
        """Pushes the release."""
        return self._go(release, "succeeded")

    def fail(self, release: Release) -> float:
        """Pushes a release that fails."""
        self._go(release, "rolled-back")
        records = self.shop.records
        failed = records.history(self.key, limit=1)[0]
        turns = [each.at for each in records.events(failed.id) if each.message.startswith("rolling-back")]
        return min((datetime.fromisoformat(at).timestamp() for at in turns), default=NEVER)

    def nothing(self) -> float:
        """A pass as the service makes it, over connections that stand: the median of 20."""
        with Session.open(self.shop.config) as session:
            app = session.application(self.key)

            def look() -> None:
                result = reconcile(app, Request("poll"), lambda _: None)
                self._check(result.outcome, "nothing")

            look()
            return statistics.median(timed(look) for _ in range(PASSES))

    def end(self) -> None:
        """Ends the service; the next turn begins on empty hosts."""
        self._turn.close()
        self.shop.remove()

    def _go(self, release: Release, outcome: str) -> float:
        """Seconds from `git push` to the outcome."""
        commit = self._commit(release)

        def push() -> None:
            self.shop.push_commits()
            until(lambda: self._outcome(commit) != "running", f"an outcome of {release}")

        took = timed(push)
        self._check(self._outcome(commit), outcome)
        return took

    def _commit(self, release: Release) -> str:
        web = compose.service(self.fleet.images[release.version], release)
        web["x-ingress"] = {"host": self._domain, "port": 80}
        self.shop.compose = {"services": {"web": web}}
        return self.shop.commit(str(release))

    def _outcome(self, commit: str) -> str:
        """Of the commit's deployment; one that has not begun counts as running."""
        last = self.shop.records.history(self.key, limit=2)
        return next((each.outcome for each in last if each.commit == commit), "running")

    def _check(self, outcome: str, wanted: str) -> None:
        if outcome != wanted:
            last = self.shop.records.last(self.key)
            raise RuntimeError(f"{self.title}: {outcome} instead of {wanted}: {last}")


class Sync(Serve):
    """`gitops sync` of a pushed commit, from the command's start to its end; a service runs and does it."""

    key = "sync"
    title = "gitops sync"
    settings: Mapping[str, Any] = {"sync": "manual"}

    def nothing(self) -> float:
        """The same command again."""
        return self._sync("nothing")

    def _go(self, release: Release, outcome: str) -> float:
        self._commit(release)
        self.shop.push_commits()
        return self._sync(outcome)

    def _sync(self, outcome: str) -> float:
        said: dict[str, Any] = {}
        took = timed(lambda: said.update(self.shop.sync()))
        self._check(said["outcome"], outcome)
        return took


class Cold(Sync):
    """The same without a service: the command imports, connects and takes the locks by itself."""

    key = "cold"
    title = "gitops sync, no service"
    cases = frozenset("ad")
    settings: Mapping[str, Any] = {}

    def begin(self, release: Release) -> None:
        """Deploys the release."""
        self._go(release, "succeeded")
