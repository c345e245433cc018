"""A new version on trial: the counters of all load balancers are looked at until it may go on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gitops.channel import Channel
from gitops.errors import GitopsError, Where
from gitops.tasks import PROMOTE, WAITING
from gitops.tasks.container import last_lines
from gitops.tasks.judge import Limits, Tally, Verdict, counters_of, judge
from gitops.tasks.outcome import Outcome, TaskError

LOOK_S = 0.5
_PATIENCE_S = 10.0  # with a load balancer that does not answer: another application may reload it


class Trial:
    """One step of a canary, or the time that blue-green keeps the old version.

    Args:
        folder: the run folder, in which a person may say `promote`.
        channels: of every host, by name.
        balancers: hosts that are the edge.
        step: `service`, `backends`, `percent`, `new`, `old`, `pause_s`, `manual`, `judge`.
        pause: waits so many seconds, or raises where that has lost its point.
        give_back: gives the old version all requests, the first thing when the new one fails.
    """

    def __init__(
        self,
        folder: Path,
        channels: Mapping[str, Channel],
        balancers: Sequence[str],
        step: Mapping[str, Any],
        *,
        pause: Callable[[float], None],
        give_back: Callable[[], None],
    ) -> None:
        self._folder = folder
        self._channels = channels
        self._balancers = balancers
        self._step = step
        self._pause = pause
        self._give_back = give_back
        self._limits = Limits(**step["judge"])
        self._places = {one["name"]: one["host"] for one in step["new"]}
        self._old, self._new = Tally(), Tally()
        self._down: dict[str, set[str]] = {}  # new servers that are not up, by load balancer
        self._answered = dict.fromkeys(balancers, time.monotonic())

    @property
    def about(self) -> str:
        """What goes on, before it is known how it ends."""
        until = "until promoted" if self._step["manual"] else f"for {self._step['pause_s']:g} s"
        return f"{self._label} judged {until}"

    def stand(self) -> Outcome:
        """Waits for the end.

        Raises:
            TaskError: kind `judged`: the new version must be undone.
        """
        deadline = time.monotonic() + float(self._step["pause_s"])
        promote, waiting = self._folder / PROMOTE, self._folder / WAITING
        promote.unlink(missing_ok=True)  # said of something else
        waiting.touch()
        try:
            if not self._look():
                return Outcome(changed=False, message=f"{self._label} no old version to go back to")
            while True:
                promoted = promote.exists()
                over = promoted or (not self._step["manual"] and time.monotonic() > deadline)
                self._look()
                verdict = self._verdict(over=over)
                if verdict.kind == "undo":
                    self._undo(verdict)
                if over:
                    said = ", promoted" if promoted else ""
                    return Outcome(changed=False, message=f"{self._label} {verdict.reason}{said}")
                self._pause(LOOK_S)
        finally:
            promote.unlink(missing_ok=True)
            waiting.unlink(missing_ok=True)

    @property
    def _label(self) -> str:
        return f"{self._step['service']} with {self._step['percent']}% of the requests:"

    def _look(self) -> bool:
        """Takes in what all load balancers have counted by now; whether any knows an old server."""
        known = False
        for balancer in self._balancers:
            try:
                stats = self._channels[balancer].proxy().stats()
            except GitopsError:
                if time.monotonic() - self._answered[balancer] > _PATIENCE_S:
                    raise
                known = True
                continue
            self._answered[balancer] = time.monotonic()
            ours = [stat for stat in stats if stat.server and stat.proxy in self._step["backends"]]
            old = [stat for stat in ours if stat.name in self._step["old"]]
            new = [stat for stat in ours if stat.name in self._places]
            self._old = self._old.after(counters_of(balancer, old))
            self._new = self._new.after(counters_of(balancer, new))
            up = {stat.name for stat in new if stat.status.startswith(("UP", "no check"))}
            self._down[balancer] = set(self._places) - up
            known = known or bool(old)
        return known

    def _verdict(self, *, over: bool) -> Verdict:
        for balancer, down in sorted(self._down.items()):
            if down and (over or len(down) == len(self._places)):
                names = ", ".join(sorted(down))
                return Verdict("undo", f"HAProxy's own check on {balancer} does not reach {names}")
        return judge(self._limits, self._old.total, self._new.total, over=over)

    def _undo(self, verdict: Verdict) -> None:
        self._give_back()
        down = sorted(name for names in self._down.values() for name in names)
        worst = self._new.worst
        name = down[0] if down else worst[2] if worst else next(iter(self._places))
        host = self._places[name]
        error = TaskError(
            f"{self._label} {verdict.reason}",
            "judged",
            service=self._step["service"],
            container=name,
            logs=last_lines(self._channels[host].engine(), name),
        )
        error.where = Where(host=host, container=name)
        raise error
