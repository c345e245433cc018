"""A plan's phases as a graph of steps: each waits for what it needs, and for nothing else.

The plan's order holds for every container and every server. But while a
container starts, the edge takes in the one before, that one's monitor window
passes, and a drained one is stopped: so a rollout takes about half the time.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from gitops.model.plan import (
    Backend,
    Place,
    Plan,
    Pull,
    Retire,
    RetirePhase,
    Share,
    ShiftPhase,
    Start,
    StartPhase,
)
from gitops.model.stack import When
from gitops.plan.places import concerns, serves
from gitops.render.work import Gate, Judging, Pulls, Release, Step, Switch, Watch, Work


def graph(plan: Plan) -> tuple[Step, ...]:
    """All steps of a plan, each after those that it waits for; a place's last switch is its final state."""
    line = _Line(plan)
    line.pull()
    line.open()
    for phase in plan.phases:
        line.reach(phase.when)
        if isinstance(phase, StartPhase):
            line.start(phase)
        elif isinstance(phase, ShiftPhase):
            line.shift(phase)
        else:
            line.retire(phase)
    line.finish()
    return tuple(line.steps)


@dataclass
class _Line:
    """The steps so far, and the names of those that what comes next may have to wait for."""

    plan: Plan
    steps: list[Step] = field(default_factory=list)
    when: When = "pre-deploy"  # the part of the rollout that is reached
    images: str = ""  # the gate behind all pulls, then behind all that came before this part
    starting: str = ""  # behind the last start
    switching: str = ""  # the last switch
    service: str = ""  # of the last start
    room: tuple[str, ...] = ()  # the last removals that made room for what starts after them
    proven: tuple[str, ...] = ()  # the last watches that something waits for
    judged: str = ""  # the last trial
    jobs: list[str] = field(default_factory=list)  # their runs
    started: dict[str, tuple[str, Start]] = field(default_factory=dict)  # container -> its start
    watched: dict[str, str] = field(default_factory=dict)  # container -> its watch
    removed: dict[str, str] = field(default_factory=dict)  # container -> its removal
    told: dict[Place, tuple[Backend, ...]] = field(default_factory=dict)  # what each was last told to serve
    switches: int = 0
    gates: Counter[str] = field(default_factory=Counter)  # how many bear a name

    def pull(self) -> None:
        """Images first, and everywhere: what cannot be pulled is found before a container is touched."""
        pulls: defaultdict[str, list[Pull]] = defaultdict(list)
        for pull in self.plan.pulls:
            pulls[pull.host].append(pull)
        images = {service.name: service.container.image for service in self.plan.stack.services}
        users: dict[tuple[str, str], str] = {}  # the first service that needs an image on a host
        for start in self.plan.starts:
            users.setdefault((start.host, images[start.service]), start.service)
        names = [
            self._add(
                f"pull {host}",
                Pulls(host, tuple((pull.image, users.get((host, pull.image), "")) for pull in wanted)),
            )
            for host, wanted in sorted(pulls.items())
        ]
        self.images = self._gate("pulled", names)

    def open(self) -> None:
        """Before anything starts its host has the addresses at which it looks for others."""
        places = [place for place in self.plan.places if place.opens]
        if places and self.plan.starts:
            self.images = self._switch(self.plan.before, [self.images], places, opens=True)

    def reach(self, when: When) -> None:
        """Everything waits for the jobs before it, and the jobs after it wait for everything."""
        if when == self.when:
            return
        if when == "post-deploy":
            self._prove()
        done = [
            *self.jobs,
            *self.removed.values(),
            self.starting,
            self.switching,
            *self.watched.values(),
            self.judged,
        ]
        self.images = self._gate(f"before {when}", [self.images, *done])
        self.when, self.starting, self.room, self.proven = when, "", (), ()

    def start(self, phase: StartPhase) -> None:
        """One batch after the other. What starts in place of something waits until that is gone."""
        waits = [self.starting or self.images, *self.room, *self.proven, self.judged]
        service = phase.starts[0].service if phase.starts else self.service
        if service != self.service:  # what others depend on is served before they start
            waits += [self.switching, *self.removed.values()]
        before = self._gate(f"batch {phase.batch}", waits)
        if service == self.service and (known := self.plan.stack.service(service)):
            before = self._delay(phase, before, known.policy(rollback=self.plan.rollback).delay_s)
        self.service = service
        names = []
        for start in phase.starts:
            verb = "run" if start.job else "start"
            name = self._add(f"{verb} {_place(start)}", start, [before, self.removed.get(start.replaces, "")])
            names.append(name)
            if start.job:
                self.jobs.append(name)
            else:
                self.started[start.container] = name, start
        self.starting = self._gate(f"batch {phase.batch} started", names)
        if phase.backends is not None:
            places = self._concerned({start.service for start in phase.starts})
            self._switch(phase.backends, [self.starting], places, joins=phase.starts)

    def shift(self, phase: ShiftPhase) -> None:
        """Another share of the requests: for what is known to be good it waits for nothing."""
        waits = [self.images, self.starting, self.judged] if phase.trial else []
        if phase.trial and self.switching:
            # Two switches in a row would become one: the edge's own check comes before any request.
            taken_in = f"taken in before {phase.service} {phase.share.percent}%"
            waits.append(self._add(taken_in, Gate(), [self.switching]))
        places = self._concerned({phase.service})
        if phase.backends is not None:
            self._switch(phase.backends, waits, places, share=phase.share)
        if phase.trial is None:
            return
        self.proven = tuple(self._watch(name) for name in phase.share.containers if name in self.started)
        percent = phase.share.percent
        work = Judging(phase.service, percent, phase.trial, tuple(places), phase.undone)
        name = f"judge {phase.service} {work.percent}%"
        self.judged = self._add(name, work, [self.switching, self.starting, self.judged])

    def retire(self, phase: RetirePhase) -> None:
        """Watch the successors, let the edge drain what goes, then stop and remove it."""
        watches = tuple(self._watch(retire.successor, retire) for retire in phase.retires if retire.successor)
        after = [self.images, *watches, self.judged]
        if len(watches) < len(phase.retires):
            after.append(self.starting)
        if phase.backends is None:
            gone = self._gate(f"batch {phase.batch} proven", after)
        else:
            places = self._concerned({retire.service for retire in phase.retires})
            gone = self._switch(phase.backends, after, places, drains=phase.retires)
        names = []
        for retire in phase.retires:
            name = self._add(f"remove {_place(retire)}", retire, [gone])
            self.removed[retire.container] = name
            names.append(name)
        if watches:
            self.proven = watches
        if len(watches) < len(phase.retires):
            self.room = tuple(names)

    def finish(self) -> None:
        """The release, when all that is new has proved itself."""
        self._prove()
        behind = [self.images, self.starting, self.judged, *self.removed.values(), *self.watched.values()]
        self._settle(
            [place for place in self.plan.places if place.role != place.after], [*behind, *self.jobs]
        )
        unwatched = [name for container, (name, _) in self.started.items() if container not in self.watched]
        last = [self.switching, self.judged, *unwatched, *self.watched.values(), *self.jobs]
        self._add("release", Release(), [*last, *([] if any(last) else self.removed.values())])

    def _prove(self) -> None:
        """What replaces nothing stands its window too; then the final state of what is served."""
        grown = self._grown()
        for start in self.plan.starts:
            if not start.job and (start.replaces or start.service not in grown):
                self._watch(start.container)
        places = [place for place in self.plan.places if place.role == place.after]
        self._settle(places, [self.images, self.starting, self.judged, *self.removed.values()])

    def _grown(self) -> frozenset[str]:
        """Services of which replicas of the same version serve already and stay: it is on trial no more.

        As in Swarm, where `monitor` is of updates and scaling out is none. A replica without a health
        check stands its window all the same, before it is served.
        """
        plan = self.plan
        before = {
            each.name: each.container.digest for each in (plan.previous.services if plan.previous else ())
        }
        same = {each.name for each in plan.stack.services if before.get(each.name) == each.container.digest}
        return frozenset(keep.service for keep in plan.keeps) & same

    def _settle(self, places: Iterable[Place], after: Iterable[str]) -> None:
        """The final state of those places that are not told it yet."""

        def open_(place: Place) -> bool:
            if place not in self.told:
                return place.differs
            return place.role != place.after or self._part(place) != self._part(place, self.plan.backends)

        if open_places := [place for place in places if open_(place)]:
            self._switch(self.plan.backends, after, open_places)

    def _part(self, place: Place, backends: tuple[Backend, ...] | None = None) -> list[Backend]:
        """What of some backends a place serves; without them, of those that it was last told."""
        stacks = self.plan.stack, self.plan.previous
        wanted = self.told[place] if backends is None else backends
        return [backend for backend in wanted if serves(place.role, backend, *stacks)]

    def _concerned(self, services: Iterable[str]) -> list[Place]:
        """The places that balance over one of these services."""
        stacks = self.plan.stack, self.plan.previous
        wanted = list(services)
        return [p for p in self.plan.places if any(concerns(p.role, name, *stacks) for name in wanted)]

    def _watch(self, container: str, kept: Retire | None = None) -> str:
        """The watch of a container that this plan starts, or one kept since a rollout broke off."""
        if container not in self.watched:
            name, start = self.started.get(container, ("", None))
            if start is not None:
                watch = Watch(start.service, start.slot, start.host, container)
            elif kept is not None:
                watch = Watch(kept.service, kept.slot, kept.successor_host, container)
            self.watched[container] = self._add(f"watch {_place(watch)}", watch, [name])
        return self.watched[container]

    def _switch(
        self,
        backends: tuple[Backend, ...],
        after: Iterable[str],
        places: Sequence[Place],
        *,
        joins: tuple[Start, ...] = (),
        drains: tuple[Retire, ...] = (),
        share: Share | None = None,
        opens: bool = False,
    ) -> str:
        """One change after the other; what no place serves changes with what comes before it."""
        if not places:
            return self._gate("not served", after)
        self.switches += 1
        switch = Switch(self.switches, backends, tuple(places), joins, drains, share, opens)
        self.switching = self._add(f"switch {self.switches}", switch, [self.switching, *after])
        self.told |= dict.fromkeys(places, backends)
        return self.switching

    def _delay(self, phase: StartPhase, before: str, delay_s: float) -> str:
        """`update_config.delay` between two batches."""
        return self._add(f"delay batch {phase.batch}", Gate(delay_s), [before]) if delay_s else before

    def _gate(self, name: str, after: Iterable[str]) -> str:
        """The one step to wait for instead of all of these; empty where there is none."""
        waits = _without_gaps(after)
        if len(waits) <= 1:
            return "".join(waits)
        self.gates[name] += 1
        return self._add(f"{name} ({self.gates[name]})" if self.gates[name] > 1 else name, Gate(), waits)

    def _add(self, name: str, work: Work, after: Iterable[str] = ()) -> str:
        self.steps.append(Step(name, work, _without_gaps(after)))
        return name


def _place(item: Start | Watch | Retire) -> str:
    return f"{item.host}/{item.container}"


def _without_gaps(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in names if name))
