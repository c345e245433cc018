"""The running HAProxy: brought to what one application's fragment says, and asked whether it is there."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from gitops.channel.failures import ChannelTimeoutError, ProxyError
from gitops.channel.proxy import Look, Proxy, Stat
from gitops.model.edge import DESCRIPTION, PORTS_MAP, ROUTES_MAP, Assembled, Routing
from gitops.render.fragment import Fragment
from gitops.tasks.outcome import TaskError

_PAUSE_S = 0.02
_DELETE_S = 1.0  # a server without sessions may still hold a connection for an instant
_TRIES = 5  # another application's reload may come in between, and then some of it is done anew

Place = tuple[str, str]  # backend, server


@dataclass
class Said:
    """What has been done, for whoever reads the log."""

    swapped: bool = False
    reloads: int = 0
    joined: set[Place] = field(default_factory=set)
    left: set[str] = field(default_factory=set)
    weighed: int = 0
    routed: int = 0

    @property
    def text(self) -> str:
        """All of it in one line; empty where nothing was done."""
        parts = ["haproxy.cfg swapped"] if self.swapped else []
        parts += ["HAProxy reloaded"] if self.reloads else []
        parts += [f"{self.routed} routes changed"] if self.routed else []
        parts += [f"{len(self.joined)} in"] if self.joined else []
        parts += [f"{len(self.left)} out"] if self.left else []
        parts += [f"{self.weighed} weights changed"] if self.weighed else []
        return ", ".join(parts)


def mark_of(look: Look) -> str:
    """The mark of the file that HAProxy has loaded; empty where that was not one of ours."""
    return look.description.removeprefix(DESCRIPTION) if look.description.startswith(DESCRIPTION) else ""


def own_entries(app: str, entries: Mapping[str, str], routing: Routing) -> dict[str, str]:
    """Of the entries of HAProxy's maps those that are an application's.

    Args:
        app: the application.
        entries: what the maps hold.
        routing: what they are to hold, of all applications: an entry belongs to whom that gives it,
            wherever it leads, and one that it does not have to whom it leads to.
    """
    prefix = f"{app}."
    return {key: backend for key, backend in entries.items() if routing.get(key, backend).startswith(prefix)}


def ready_backends(look: Look) -> frozenset[str]:
    """The backends with a server that HAProxy's own check calls up."""
    return frozenset(stat.proxy for stat in look.stats if stat.server and _up(stat) and _checked(stat))


def serving_places(look: Look) -> frozenset[Place]:
    """The servers that HAProxy has in service, up or not."""
    return frozenset((stat.proxy, stat.name) for stat in look.stats if stat.server and not _idle(stat))


class RunningProxy:
    """One application's part of a running HAProxy."""

    def __init__(self, proxy: Proxy, app: str, drain_s: float, wait_s: float) -> None:
        """Nothing is asked.

        Args:
            proxy: the HAProxy.
            app: the application.
            drain_s: how long requests to what leaves may take; then they are cut off.
            wait_s: how long HAProxy may take until its own check reaches what is new.
        """
        self._proxy = proxy
        self._app = app
        self._drain_s = drain_s
        self._wait_s = wait_s

    def look(self) -> Look:
        """What it runs now."""
        return self._proxy.look(ROUTES_MAP, PORTS_MAP)

    def serves(self, wanted: Fragment, files: Assembled, look: Look) -> bool:
        """Whether it runs the application's part as the fragment, which is part of the files, has it."""
        there = self._servers(look)
        return (
            own_entries(self._app, look.entries, files.routing) == wanted.routing
            and wanted.by_header.keys() <= look.sections
            and {place for place, stat in there.items() if not _idle(stat)} == lines_of(wanted).keys()
            and not self._unequal(wanted, there, lambda now, then: now != then)
        )

    def bring(self, wanted: Fragment, files: Assembled, said: Said, *, reload: bool) -> None:
        """Makes it run what the files say, which are in place already.

        What comes is up by HAProxy's own check before anything is routed to it, and what goes gets no
        more requests before it goes. In the end HAProxy itself is asked whether it runs what it should.

        Args:
            wanted: the application's fragment.
            files: the whole configuration.
            said: takes what is done.
            reload: whether it must be reloaded even though it has loaded such a file.

        Raises:
            TaskError: kind `edge`: its check does not reach a new server, or it does not become as wanted.
        """
        for _ in range(_TRIES):
            look = self.look()
            if reload or not wanted.by_header.keys() <= look.sections:
                coming = self._coming(wanted, look)
                self._reload(said)
                self._until_checked(coming, lines_of(wanted), _up)
                said.joined.update(coming)
                reload, look = False, self.look()
            self._serve(wanted, files, look, said)
            after = self.look()
            if mark_of(after) != files.mark:
                # The servers that have left are not in the file any more, and nothing is routed to them.
                self._reload(said)
                after = self.look()
            if self.serves(wanted, files, after):
                return
        missing = sorted(wanted.routing.items() - dict(after.entries).items())
        found = f"route {missing[0][0]} is missing" if missing else "its servers are others"
        raise TaskError(f"HAProxy does not run what haproxy.cfg says: {found}", "edge")

    def _serve(self, wanted: Fragment, files: Assembled, look: Look, said: Said) -> None:
        """Everything that can be done without a reload."""
        lines = lines_of(wanted)
        there = self._servers(look)
        # Who gets more gets it first: there is no moment in which nobody would take a request.
        weighed = self._weigh(wanted, there, lambda now, then: then > now)
        there = self._servers(self.look()) if weighed else there
        leaving = [place for place, stat in there.items() if place not in lines]
        joining = self._coming(wanted, look)
        try:
            self._join(joining, there, lines)
        except ProxyError:
            self._reload(said)  # an address that is a name: only a reload takes that
            self._until_checked(joining, lines, _up)
        self._route(wanted, files, look, said)
        said.weighed += weighed + self._weigh(wanted, there, lambda now, then: then < now)
        serving = [place for place in leaving if not there[place].status.startswith("MAINT")]
        self._drain(leaving)
        self._leave(leaving)
        said.joined.update(joining)
        said.left.update(server for _, server in serving)

    def _coming(self, wanted: Fragment, look: Look) -> list[Place]:
        """The servers that it has not got, or that somebody has taken out of service."""
        there = self._servers(look)
        return [place for place in lines_of(wanted) if place not in there or _idle(there[place])]

    def _route(self, wanted: Fragment, files: Assembled, look: Look, said: Said) -> None:
        """Routes requests to other backends, when one of their servers is up."""
        own, lines = own_entries(self._app, look.entries, files.routing), lines_of(wanted)
        changed = {key: backend for key, backend in wanted.routing.items() if own.get(key) != backend}
        self._until_served({backend for backend in changed.values() if wanted.servers.get(backend)}, lines)
        for key, backend in sorted(changed.items()):
            self._proxy.set_map(_map_of(key), key, backend)
        for key in sorted(own.keys() - wanted.routing.keys()):
            self._proxy.delete_map(_map_of(key), key)
        said.routed += len(changed) + len(own.keys() - wanted.routing.keys())

    def _reload(self, said: Said) -> None:
        self._proxy.reload()
        said.reloads += 1

    def _unequal(
        self, wanted: Fragment, there: Mapping[Place, Stat], concerns: Callable[[int, int], bool]
    ) -> list[tuple[Place, int]]:
        """Servers that are there with another weight than they are to have, where that `concerns`, and it."""
        weights = {place: _weight(line) for place, line in lines_of(wanted).items()}
        return [
            (place, weights[place])
            for place, stat in there.items()
            if place in weights and concerns(stat.weight, weights[place])
        ]

    def _weigh(
        self, wanted: Fragment, there: Mapping[Place, Stat], concerns: Callable[[int, int], bool]
    ) -> int:
        """Sets the weights of servers that are there, where that `concerns` (now, wanted); how many."""
        changes = self._unequal(wanted, there, concerns)
        for (backend, server), weight in changes:
            self._proxy.set_weight(backend, server, str(weight))
        return len(changes)

    def _join(self, places: Sequence[Place], there: Mapping[Place, Stat], lines: Mapping[Place, str]) -> None:
        """Puts servers in service; new ones only when HAProxy's own check has reached them."""
        new = [place for place in places if place not in there]
        for place in new:
            backend, server = place
            self._command(f"add server {backend}/{server} {lines[place]}", "New server registered.")
        for backend, server in places:
            self._command(f"enable health {backend}/{server}")
        self._until_checked(new, lines, lambda _: True)
        for backend, server in places:
            self._proxy.set_state(backend, server, "ready")
        # HAProxy does not check what somebody has put in maintenance: those are looked at afterwards.
        self._until_checked(places, lines, _up)

    def _until_checked(
        self, places: Sequence[Place], lines: Mapping[Place, str], ready: Callable[[Stat], bool]
    ) -> None:
        deadline = time.monotonic() + self._wait_s
        left = list(places)
        while left:
            now = self._servers(self.look())
            left = [p for p in left if p not in now or not (_checked(now[p]) and ready(now[p]))]
            if left and time.monotonic() > deadline:
                raise self._not_reached(left[0], lines, now.get(left[0]))
            if left:
                time.sleep(_PAUSE_S)

    def _until_served(self, backends: Collection[str], lines: Mapping[Place, str]) -> None:
        """Returns when each backend has a server that is up."""
        deadline = time.monotonic() + self._wait_s
        while backends:
            look = self.look()
            backends = set(backends) - ready_backends(look)
            if backends and time.monotonic() > deadline:
                place = next(place for place in sorted(lines) if place[0] in backends)
                raise self._not_reached(place, lines, self._servers(look).get(place))
            if backends:
                time.sleep(_PAUSE_S)

    def _not_reached(self, place: Place, lines: Mapping[Place, str], stat: Stat | None) -> TaskError:
        backend, server = place
        found = f"its check says {stat.check or 'nothing'}" if stat else "it does not know it"
        return TaskError(
            f"HAProxy does not reach {server} at {lines[place].split()[0]}: {found}",
            "edge",
            service=backend.removeprefix(f"{self._app}.").rpartition(".")[0],
            container=server,
        )

    def _drain(self, places: Sequence[Place]) -> None:
        """No new requests for these servers; returns when the running ones have ended or were cut off."""
        for backend, server in places:
            self._proxy.set_state(backend, server, "drain")
        deadline = time.monotonic() + self._drain_s
        while busy := [p for p, stat in self._servers(self.look()).items() if p in places and stat.sessions]:
            if time.monotonic() > deadline:
                for backend, server in busy:
                    self._command(f"shutdown sessions server {backend}/{server}")
                return
            time.sleep(_PAUSE_S)

    def _leave(self, places: Sequence[Place]) -> None:
        for backend, server in places:
            deadline = time.monotonic() + _DELETE_S
            while True:
                try:
                    self._proxy.delete_server(backend, server)
                    break
                except ProxyError:
                    if time.monotonic() > deadline:
                        break  # it stays in maintenance until the next reload, and takes nothing
                    time.sleep(_PAUSE_S)

    def drain_old_workers(self, names: Collection[str]) -> None:
        """Workers from before a reload finish what they have, perhaps with a server that is to be stopped."""
        deadline = time.monotonic() + self._drain_s
        old = [process.pid for process in self._proxy.processes() if process.old] if names else []
        while old and time.monotonic() < deadline:
            old = [pid for pid in old if self._busy(pid, names)]
            if old:
                time.sleep(_PAUSE_S)

    def _busy(self, pid: int, names: Collection[str]) -> bool:
        with suppress(ProxyError, ChannelTimeoutError):
            return any(stat.sessions for stat in self._proxy.worker_stats(pid) if stat.name in names)
        return False  # it has ended in the meantime

    def _servers(self, look: Look) -> dict[Place, Stat]:
        prefix = f"{self._app}."
        return {(s.proxy, s.name): s for s in look.stats if s.server and s.proxy.startswith(prefix)}

    def _command(self, text: str, expected: str = "") -> None:
        answer = self._proxy.command(text)
        if answer != expected:
            raise ProxyError(f"HAProxy refused `{text}`: {answer}")


def lines_of(fragment: Fragment) -> dict[Place, str]:
    """The servers of a fragment, and the arguments that `add server` takes."""
    return {
        (backend, server): line
        for backend, servers in fragment.servers.items()
        for server, line in servers.items()
    }


def _up(stat: Stat) -> bool:
    """Whether a server takes requests, or would if it had a weight."""
    return stat.status.startswith(("UP", "no check")) or (stat.status.startswith("DRAIN") and not stat.weight)


def _checked(stat: Stat) -> bool:
    """Whether HAProxy's own check has reached it."""
    return stat.check.endswith("OK")


def _idle(stat: Stat) -> bool:
    """Whether somebody has taken the server out of service, such as a run that died half-way.

    Without a weight it gets nothing all the same, and HAProxy may call that draining.
    """
    return stat.status.startswith("MAINT") or (stat.status.startswith("DRAIN") and stat.weight > 0)


def _weight(line: str) -> int:
    """The weight in the arguments of a server line; without one it is 1."""
    words = line.split()
    return int(words[words.index("weight") + 1]) if "weight" in words else 1


def _map_of(key: str) -> str:
    return ROUTES_MAP if "/" in key else PORTS_MAP
