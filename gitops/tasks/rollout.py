"""A rollout: what each kind of step does on its hosts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from gitops.channel import Channel
from gitops.errors import GitopsError, Where
from gitops.tasks import CANCEL, STOP, disk, edge, image, job, release
from gitops.tasks.container import read_service, remove, start, surroundings
from gitops.tasks.health import stand_monitor, wait_healthy
from gitops.tasks.live import Live
from gitops.tasks.login import own_login
from gitops.tasks.outcome import Outcome, combined, side_by_side
from gitops.tasks.story import DONE, SAID, UNCHANGED, WAITS, saying
from gitops.tasks.trial import Trial
from gitops.tasks.walk import Cancelled, Step, Walk

Tell = Callable[[str, str, str], None]
"""Takes mark, host and message of what has been done."""

STARTS_A_HOST = 8
"""Containers of one host that are started side by side."""


@dataclass
class Rollout:
    """One rollout and all that its steps need.

    Attributes:
        folder: the run folder.
        app: the application.
        release: the release file in the run folder.
        channels: of every host, by name.
        balancers: hosts that are the edge.
        tell: told of each step that is done, and of what a job has said.
        judged: services whose update is judged on its live answers: see `gitops.tasks.live`.
        check: whether only to say what would be done.
    """

    folder: Path
    app: str
    release: str
    channels: Mapping[str, Channel]
    balancers: Sequence[str]
    tell: Tell
    check: bool = False
    judged: Sequence[Mapping[str, Any]] = ()
    cancelled: Cancelled = field(default_factory=Cancelled)

    def __post_init__(self) -> None:
        self._room = {host: threading.Semaphore(STARTS_A_HOST) for host in self.channels}
        self._at_work: set[str] = set()  # containers of jobs
        self._making = {host: threading.Lock() for host in self.channels}
        self._live = {row["service"]: Live(self.channels, self.balancers, row) for row in self.judged}
        self._edges = {host: edge.Edge(channel) for host, channel in self.channels.items()}

    def perform(self, steps: Sequence[Step]) -> Outcome:
        """One step, or several of the edge that have become one.

        Raises:
            GitopsError: why it could not be done; `where` names the host.
        """
        step = steps[-1]
        match step["do"]:
            case "pull":
                return self._on(step["host"], lambda channel: self._pull(channel, step))
            case "start":
                return self._on(step["host"], lambda channel: self._start(channel, step))
            case "run":
                return self._on(step["host"], lambda channel: self._run(channel, step))
            case "watch":
                return self._on(step["host"], lambda channel: self._watch(channel, step))
            case "switch":
                for live in self._live.values():
                    live.look()  # what is about to leave is compared with later
                return self._serve(edge.read_targets(self.folder, self.app, steps))
            case "judge":
                return self._judge(step)
            case "remove":
                return self._on(step["host"], lambda channel: self._remove(channel, step))
            case "release":
                content = (self.folder / self.release).read_bytes()
                return self._everywhere(
                    list(self.channels), lambda channel: release.write(channel, content, check=self.check)
                )
            case _:
                self.cancelled.pause(step.get("delay_s", 0.0))
                return Outcome(changed=False, message="")

    def must_stop(self, more: bool) -> bool:
        """Whether somebody has asked for the end; `more` is whether anything new is still to begin.

        A job is seen to its end first: half a migration is nothing to leave to a newer commit.
        """
        stop = more and not self._at_work and (self.folder / STOP).exists()
        return stop or (self.folder / CANCEL).exists()

    def hosts(self, step: Step) -> Sequence[str]:
        """Where a step acts."""
        match step["do"]:
            case "switch":
                return [host for place in step["places"] for host in place["hosts"]]
            case "judge":
                return self.balancers
            case "release":
                return list(self.channels)
            case _:
                return [step["host"]] if "host" in step else []

    def _on(self, host: str, work: Callable[[Channel], Outcome]) -> Outcome:
        try:
            return work(self.channels[host])
        except GitopsError as error:
            container = error.where.container if error.where else ""
            if full := disk.named(self.channels[host], error):
                full.where = Where(host=host, container=container)
                raise full from error
            error.where = Where(host=host, container=container)
            raise

    def _everywhere(self, hosts: Sequence[str], work: Callable[[Channel], Outcome]) -> Outcome:
        outcomes: list[Outcome] = []

        def one(host: str) -> Outcome:
            outcomes.append(done := self._on(host, work))
            return done

        side_by_side(one, hosts)
        changed = any(outcome.changed for outcome in outcomes)
        return Outcome(changed, combined(outcomes[:1]).message)  # the same is done everywhere

    def _serve(self, targets: Mapping[str, edge.Target]) -> Outcome:
        """On the edge and the nodes side by side."""
        return self._everywhere(
            list(targets),
            lambda channel: self._edges[channel.name].apply(targets[channel.name], check=self.check),
        )

    def _pull(self, channel: Channel, step: Step) -> Outcome:
        images, machine, login_for = step["images"], channel.facts.machine, partial(own_login, channel)
        return image.pull(channel.engine(), images, machine, login_for=login_for, check=self.check)

    def _start(self, channel: Channel, step: Step) -> Outcome:
        engine = channel.engine()
        service = read_service(self.folder / step["spec"])
        with self._room[channel.name]:
            with self._making[channel.name]:  # an engine would make two networks of one name
                made = not self.check and surroundings(engine, service)
            started = start(engine, service, step, check=self.check)
        if self.check:
            return started
        healthy = wait_healthy(engine, step, pause=self.cancelled.pause)
        if started.changed:
            return Outcome(changed=True, message=f"{started.message} and is healthy")
        return Outcome(made, healthy.message)

    def _run(self, channel: Channel, step: Step) -> Outcome:
        engine = channel.engine()
        service = read_service(self.folder / step["spec"])
        if done := job.finished(engine, service, step):
            return done
        with self._room[channel.name]:
            with self._making[channel.name]:
                if not self.check:
                    surroundings(engine, service)
            begun = job.begin(engine, service, step, check=self.check)
        if self.check:
            return begun

        def hear(lines: Sequence[str]) -> None:
            if lines:
                self.tell(SAID, channel.name, saying(f"{service['service']}.{step['slot']}", lines))

        self._at_work.add(step["name"])
        try:
            return job.see_through(engine, service, step, hear, pause=self.cancelled.pause)
        finally:
            self._at_work.discard(step["name"])

    def _watch(self, channel: Channel, step: Step) -> Outcome:
        if self.check:
            return Outcome(changed=False, message=f"{step['name']} would be watched")
        live = self._live.get(step.get("service", ""))
        return stand_monitor(channel.engine(), step, pause=self.cancelled.pause, live=live)

    def _judge(self, step: Step) -> Outcome:
        if self.check:
            return Outcome(changed=False, message=f"{step['service']} would be judged")
        trial = Trial(
            self.folder,
            self.channels,
            self.balancers,
            step,
            pause=self.cancelled.pause,
            give_back=lambda: self._give_back(step),
        )
        for host in self.balancers:
            self.tell(UNCHANGED, host, trial.about)
        if step["manual"]:
            number, of = step.get("of", (1, 1))
            percent = f"step {number} of {of}, {step['percent']}%"
            self.tell(
                WAITS, self.balancers[0], f"{step['service']}: {percent}, waits for gitops promote {self.app}"
            )
        return trial.stand()

    def _give_back(self, step: Step) -> None:
        """All requests to the old version at once: whatever follows from the failure follows later."""
        targets = {
            host: edge.Target(self.app, (self.folder / place["fragment"]).read_text(), edge=place["edge"])
            for place in step["back"]
            for host in place["hosts"]
        }
        with suppress(GitopsError):  # the way back does it again
            done = self._serve(targets)
            for host in targets:
                self.tell(DONE, host, f"{step['service']}: all requests to the old version, {done.message}")

    def _remove(self, channel: Channel, step: Step) -> Outcome:
        return remove(channel.engine(), step["name"], step["grace_s"], check=self.check)


def roll_out(rollout: Rollout, steps: Sequence[Step]) -> Outcome:
    """Carries out all steps of a rollout.

    Args:
        rollout: where, and with what.
        steps: see `gitops.render.playbook`.

    Raises:
        GitopsError: the first failure; `where` names its host.
    """
    told = 0

    def done(group: Sequence[Step], outcome: Outcome) -> None:
        nonlocal told
        for host in dict.fromkeys(host for step in group for host in rollout.hosts(step)):
            told += 1
            rollout.tell(DONE if outcome.changed else UNCHANGED, host, outcome.message)

    walk = Walk(
        steps,
        rollout.perform,
        merged="switch",
        begins=("start", "run"),
        waits="judge",
        stopping=rollout.must_stop,
        cancelled=rollout.cancelled,
        tell=done,
    )
    changed = walk.walk()
    return Outcome(changed, f"{told} steps done")
