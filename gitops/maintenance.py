"""`gitops drain`, `undrain`, `maintain`: hosts that are taken out of service and put back, without loss."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gitops.checkup.bootstrap import inventory_of, run_playbook
from gitops.control import Asked, Show, ask
from gitops.errors import GitopsError, PermanentError
from gitops.model.fleet import Fleet
from gitops.model.plan import Plan
from gitops.observe.hosts import observe
from gitops.planning import Terms, plan_for
from gitops.reconcile import Request
from gitops.session import Session
from gitops.views import result_view

LOOK_S = 0.5  # between two looks at a host that is to come back

View = dict[str, Any]


@dataclass
class Maintenance:
    """Hosts of one configuration, while commands move applications off and on to them.

    Args:
        session: the configuration, opened.
        file: where it is: the service that works with it is asked first.
        show: told of every event of the deployments.
        say: told in a sentence what is done.
        wait_s: how long to wait for another controller, and for a host that is to come back.
    """

    session: Session
    file: Path
    show: Show
    say: Callable[[str], None]
    wait_s: float = 600.0

    def drain(self, name: str) -> View:
        """Takes a host out of service: what runs there is started elsewhere, then goes.

        Returns:
            `{"host", "drained", "apps": [result...], "left": [{"app", "service", "slot", "reason"}]}`;
            `left` is what stays there, because its data does.

        Raises:
            PermanentError: no such host, or an application fits on no other; nothing was changed.
        """
        apps = self._apps(name)
        for app in apps:
            self._planned(app, without=name)
        self.session.store.drained.add(name)
        self.say(f"{name}: drained, moving {', '.join(apps) or 'nothing'}")
        return self._settled(name, apps)

    def undrain(self, name: str) -> View:
        """Puts a host back: it is used again from the next deployment on, by global services at once.

        Raises:
            PermanentError: it is not drained.
        """
        apps = self._apps(name)
        if not self.session.store.drained.remove(name):
            drained = ", ".join(self.session.store.drained.every()) or "no host is"
            raise PermanentError(f"{name} is not drained", hint=f"drained: {drained}")
        self.say(f"{name}: back in service")
        return self._settled(name, apps)

    def maintain(self, playbook: Path, names: Sequence[str]) -> View:
        """Drains hosts one by one, runs a playbook on each, and puts it back when it is well.

        Args:
            playbook: of the operator.
            names: the hosts; empty for every container host that is not drained already.

        Returns:
            `{"hosts": [{"host", "state", "message"}]}` in order; `state` is done, failed (it stays
            drained, and the hosts behind it were left alone) or skipped.
        """
        if not playbook.is_file():
            raise PermanentError(f"there is no playbook {playbook}")
        done: list[View] = []
        for name in names or self._everyone():
            state, message = self._maintained(name, playbook)
            done.append({"host": name, "state": state, "message": message})
            self.say(f"{name}: {message}")
            if state == "failed":
                break
        return {"hosts": done}

    def _everyone(self) -> list[str]:
        """The container hosts that are not drained."""
        hosts = {host.name for app in self.session.settings.apps for host in self._fleet(app).container_hosts}
        return sorted(hosts - self.session.store.drained.every().keys())

    def _maintained(self, name: str, playbook: Path) -> tuple[str, str]:
        """One host; how it went, and a sentence on it."""
        if name in self.session.store.drained.every():
            return "skipped", "is drained already: left alone"
        inventory = inventory_of(self.session, self._users(name)[0])
        moved = self.drain(name)
        if any(_failed(result) for result in moved["apps"]):
            return "failed", "could not be drained; it stays out of service (gitops undrain puts it back)"
        if run_playbook(inventory, playbook, "--limit", name):
            return "failed", f"{playbook} failed there; it stays drained"
        if reason := self._not_back(name):
            return "failed", f"did not come back: {reason}; it stays drained"
        back = self.undrain(name)
        if wrong := [result for result in back["apps"] if _failed(result)]:
            return "failed", f"{wrong[0]['app']} did not take it in again: {wrong[0]['message']}"
        return "done", "maintained, and back in service"

    def _not_back(self, name: str) -> str:
        """Why a host does not serve after its maintenance; empty where it does."""
        deadline = time.monotonic() + self.wait_s
        fleet = self._fleet(self._users(name)[0])
        fleet = Fleet(tuple(host for host in fleet.hosts if host.name == name))
        while True:
            seen = observe(self.session.connections.open(fleet), fleet).host(name)
            if seen is not None and seen.reachable:
                return ""
            if time.monotonic() > deadline:
                return seen.error if seen else "it does not answer"
            time.sleep(LOOK_S)

    def _users(self, name: str) -> list[str]:
        """The applications whose fleet has the container host.

        Raises:
            PermanentError: there is none.
        """
        fleets = {app: self._fleet(app) for app in self.session.settings.apps}
        found = [app for app, fleet in fleets.items() if (host := fleet.host(name)) and host.runs_containers]
        if not found:
            known = {host.name for fleet in fleets.values() for host in fleet.container_hosts}
            hint = f"there are: {', '.join(sorted(known)) or 'none'}"
            raise PermanentError(f"no container host {name!r} in any inventory", hint=hint)
        return found

    def _apps(self, name: str) -> list[str]:
        """Those that have been deployed."""
        return [app for app in self._users(name) if self.session.store.good(app)]

    def _fleet(self, app: str) -> Fleet:
        """An application's hosts, as its good commit or else its newest one has them."""
        application, store = self.session.application(app), self.session.store
        if good := store.good(app):
            return application.fleet(good, application.settings_of_good(good))
        commit = store.target(app) or ""
        if not commit and application.settings.inventory_in_repo:
            commit = application.fetch()
        return application.fleet(commit)

    def _planned(self, name: str, *, without: str = "") -> Plan:
        """The plan of an application's good commit as things are, perhaps with one more host drained."""
        app = self.session.application(name)
        good = self.session.store.good(name) or ""
        desired = app.at(good, app.settings_of_good(good))
        observed = observe(self.session.connections.open(desired.fleet), desired.fleet)
        desired = app.counted(app.known(desired, observed), observed)
        premises, terms = app.premises, Terms(tolerate=app.settings.tolerate_unreachable)
        if without:
            premises = replace(premises, out={**premises.out, without: f"host {without} drained"})
        return plan_for(desired, desired, observed, premises, terms)

    def _settled(self, host: str, apps: Sequence[str]) -> View:
        """Lets each application follow, and says what is left on the host."""
        results = [{"app": app, **self._moved(app)} for app in apps]
        left = [
            {"app": app, "service": keep.service, "slot": keep.slot, "reason": keep.reason}
            for app in apps
            for keep in self._planned(app).bound
            if keep.host == host
        ]
        drained = host in self.session.store.drained.every()
        return {"host": host, "drained": drained, "apps": results, "left": left}

    def _moved(self, name: str) -> View:
        """One pass over an application, by the service where one runs."""
        session = self.session
        if session.store.paused(name):
            return {"outcome": "held", "message": f"it is paused: gitops resume {name}"}
        try:
            view = ask(self.file, Asked(name, trigger="drain"), lambda: self.show)
            if view is not None:
                return view
            request = Request("drain", session.store.good(name) or "")
            return result_view(session.reconcile(name, request, self.show, wait_s=self.wait_s, say=self.say))
        except GitopsError as problem:
            return {"outcome": "failed", "message": str(problem)}


def went_well(view: View) -> bool:
    """Whether a command has done all that it was asked for."""
    if "hosts" in view:
        return all(each["state"] != "failed" for each in view["hosts"])
    return not any(_failed(result) for result in view["apps"])


def _failed(result: View) -> bool:
    return result["outcome"] not in {"succeeded", "nothing"}
