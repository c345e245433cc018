"""What is served while the phases of a plan go by: lines by backend, of which each phase changes few."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from gitops.model.plan import Backend, Server
from gitops.plan.edge import Line

Key = tuple[str, int]  # service, container port


class Served:
    """The servers of each backend at one moment, and their weights."""

    def __init__(self, lines: Iterable[Line], weights: Mapping[str, int]) -> None:
        self.weights = weights
        self._lines: dict[Key, list[Line]] = {}
        self._keys: dict[str, set[Key]] = {}  # of a container's name
        self._made: dict[Key, Backend] = {}  # what has not changed since it was asked for
        self.add(lines)

    def __contains__(self, name: str) -> bool:
        """Whether a container is served."""
        return name in self._keys

    def names(self, service: str) -> frozenset[str]:
        """The containers of a service that are served."""
        return frozenset(line.name for key in self._of(service) for line in self._lines[key])

    def add(self, lines: Iterable[Line]) -> frozenset[str]:
        """Serves more; returns the services that change thereby."""
        new: dict[Key, list[Line]] = {}
        for line in lines:
            new.setdefault((line.service, line.target), []).append(line)
        for key, more in new.items():
            there = self._lines.setdefault(key, [])
            for line in more:
                self._keys.setdefault(line.name, set()).add(key)
            there.extend(more)
            there.sort()  # what is sorted already costs next to nothing
        return self._changed(new)

    def remove(self, names: Collection[str]) -> frozenset[str]:
        """Serves containers no more; returns the services that change thereby."""
        keys = {key for name in names for key in self._keys.pop(name, ())}
        for key in keys:
            self._lines[key] = [line for line in self._lines[key] if line.name not in names]
        return self._changed(keys)

    def drop(self, lines: Collection[Line]) -> None:
        """Serves single ports of containers no more, and their others as before."""
        for line in lines:
            key = line.service, line.target
            self._lines[key] = [each for each in self._lines.get(key, ()) if each != line]
            self._keys.get(line.name, set()).discard(key)
        self._changed([(line.service, line.target) for line in lines])

    def weigh(self, services: Collection[str], weights: Mapping[str, int]) -> None:
        """Gives the servers of some services other weights."""
        self.weights = weights
        self._changed([key for service in services for key in self._of(service)])

    def weighed(self, services: Collection[str], weights: Mapping[str, int]) -> tuple[Backend, ...]:
        """All backends as they would be if the servers of some services had other weights."""
        own = self.weights
        self.weigh(services, weights)
        found = self.backends()
        self.weigh(services, own)
        return found

    def services(self) -> frozenset[str]:
        """The services that have been served."""
        return frozenset(service for service, _ in self._lines)

    def backends(self) -> tuple[Backend, ...]:
        """All backends, sorted; one without a server is left out."""
        for key, lines in self._lines.items():
            if key not in self._made and lines:
                self._made[key] = self._backend(key, lines)
        return tuple(self._made[key] for key in sorted(self._made))

    def _of(self, service: str) -> list[Key]:
        return [key for key in self._lines if key[0] == service]

    def _changed(self, keys: Collection[Key]) -> frozenset[str]:
        for key in keys:
            self._made.pop(key, None)
        return frozenset(service for service, _ in keys)

    def _backend(self, key: Key, lines: Iterable[Line]) -> Backend:
        weights = self.weights
        return Backend(
            *key, tuple(Server(line.name, line.address, line.port, weights.get(line.name)) for line in lines)
        )
