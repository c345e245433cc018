"""A state machine drives the store at random: what the model says of a deployment's states always holds."""

from __future__ import annotations

import tempfile
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support.memory import MEMORY

from gitops.errors import PermanentError
from gitops.model.deployment import OUTCOMES, TRANSITIONS, State
from gitops.store.records import DeploymentRunningError, Store, this_process

APPS = st.sampled_from(["blog", "shop"])
STATES = st.sampled_from(sorted(TRANSITIONS))
COMMITS = st.sampled_from(["a" * 40, "b" * 40, "c" * 40])


class Deployments(RuleBasedStateMachine):
    """Two applications; each attempt is allowed or refused as the model says."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(dir=MEMORY)
        self.url = f"sqlite:///{Path(self.folder.name) / 'gitops.db'}"
        self.store = Store(self.url)
        self.states: dict[str, dict[str, State]] = {"blog": {}, "shop": {}}  # by application and id, in order
        self.commits: dict[str, str] = {}
        self.goods: dict[str, list[str]] = {"blog": [], "shop": []}

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()

    def _running(self, app: str) -> str | None:
        return next((each for each, state in self.states[app].items() if state not in OUTCOMES), None)

    @initialize(app=APPS, commit=COMMITS)
    def start(self, app: str, commit: str) -> None:
        self.begin(app, commit)

    @rule(app=APPS, commit=COMMITS)
    def begin(self, app: str, commit: str) -> None:
        if self._running(app):
            with pytest.raises(DeploymentRunningError):
                self.store.begin(app, commit, "", "push", this_process())
            return
        begun = self.store.begin(app, commit, self.store.good(app) or "", "push", this_process())
        self.states[app][begun.id] = begun.state
        self.commits[begun.id] = commit

    @precondition(lambda self: any(self.states.values()))
    @rule(data=st.data(), state=STATES)
    def move(self, data: st.DataObject, state: State) -> None:
        app, found = data.draw(st.sampled_from([(a, d) for a, ds in self.states.items() for d in ds]))
        before = self.states[app][found]
        if state not in TRANSITIONS[before]:
            with pytest.raises(PermanentError, match=f"is {before} and cannot become {state}"):
                self.store.transition(found, state)
            return
        assert self.store.transition(found, state).state == state
        self.states[app][found] = state
        if state == "succeeded":
            self.goods[app].append(self.commits[found])

    @precondition(lambda self: any(self.states.values()))
    @rule(data=st.data())
    def go_on(self, data: st.DataObject) -> None:
        """Mostly forward, so that outcomes are reached."""
        running = [(app, found) for app in self.states if (found := self._running(app))]
        if running:
            app, found = data.draw(st.sampled_from(running))
            self.move_to(app, found, data.draw(st.sampled_from(sorted(TRANSITIONS[self.states[app][found]]))))

    def move_to(self, app: str, found: str, state: State) -> None:
        self.store.transition(found, state)
        self.states[app][found] = state
        if state == "succeeded":
            self.goods[app].append(self.commits[found])

    @rule()
    def restart(self) -> None:
        self.store.close()
        self.store = Store(self.url)

    @invariant()
    def the_record_is_what_happened(self) -> None:
        for app, states in self.states.items():
            found = {each.id: each.state for each in self.store.history(app)}
            assert list(found.items()) == list(reversed(states.items()))[:50]
            assert self.store.good(app) == next(reversed(self.goods[app]), None)
            assert self.store.goods(app) == list(dict.fromkeys(reversed(self.goods[app])))
        unfinished = {each.id for each, _, _ in self.store.running()}
        assert unfinished == {running for app in self.states if (running := self._running(app))}
        for ended in self.store.history("shop"):
            assert bool(ended.finished_at) == (ended.state in OUTCOMES)


TestDeployments = Deployments.TestCase
TestDeployments.settings = settings(max_examples=10, stateful_step_count=15, deadline=None)
