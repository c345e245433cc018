"""Walks a graph of steps: each begins as soon as all that it waits for is done."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from gitops.tasks.outcome import Outcome, TaskError

Step = Mapping[str, Any]
"""One row of a rollout: `step` (its name), `do`, `after` (names), and what that kind of step needs."""

AT_ONCE = 256  # steps of all hosts; most of them wait
LOOK_S = 0.2  # how often `stopping` is asked


class Cancelled:
    """Wakes whoever waits for something that has lost its point, because another step has failed."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def cancel(self) -> None:
        """From now on every wait ends."""
        self._event.set()

    def pause(self, seconds: float) -> None:
        """Waits.

        Raises:
            TaskError: kind `stopped`: nobody needs the answer any more.
        """
        if self._event.wait(seconds):
            raise TaskError("stopped, because the rollout has ended", "stopped")


class Walk:
    """One way through a graph.

    Args:
        steps: in an order in which each comes after those that it waits for.
        perform: does the work of one step, or of several that have become one; called from threads.
        merged: of steps of this kind that can go at once the last one does the work of all.
        begins: the kinds of step that begin something new.
        waits: the kind of step that may last: to go on with it is something new, too.
        stopping: asked again and again whether to end now; told whether such a step is left.
        tell: told of each step that is done, one after the other.
    """

    def __init__(
        self,
        steps: Sequence[Step],
        perform: Callable[[Sequence[Step]], Outcome],
        *,
        merged: str,
        begins: Sequence[str],
        waits: str = "",
        stopping: Callable[[bool], bool],
        cancelled: Cancelled,
        tell: Callable[[Sequence[Step], Outcome], None],
    ) -> None:
        self._left = {step["step"]: step for step in steps}
        self._perform = perform
        self._merged = merged
        self._begins = begins
        self._waiting = waits
        self._stopping = stopping
        self._cancelled = cancelled
        self._tell = tell
        self._done: set[str] = set()
        self._waits = {step["step"]: len(step["after"]) for step in steps}
        self._behind: dict[str, list[str]] = {name: [] for name in self._left}
        for step in steps:
            for name in step["after"]:
                self._behind[name].append(step["step"])
        self._running: dict[Future[Outcome], Sequence[Step]] = {}
        self._failure: Exception | None = None

    def walk(self) -> bool:
        """Goes to the end; whether anything was changed.

        Raises:
            GitopsError: the first failure; nothing was begun after it, and what was under way has ended.
            TaskError: kind `stopped`: as asked, before a step that would have begun something new.
        """
        changed = False
        with ThreadPoolExecutor(AT_ONCE) as pool:
            self._begin(pool, [name for name, waits in self._waits.items() if not waits])
            while self._running:
                ended, _ = wait(self._running, timeout=LOOK_S, return_when=FIRST_COMPLETED)
                for future in ended:
                    changed |= self._end(pool, future)
                if self._failure is None and self._left and self._stopping(self._more):
                    self._fail(TaskError("stopped before the next batch, as asked", "stopped"))
        if self._failure is not None:
            raise self._failure
        return changed

    @property
    def _more(self) -> bool:
        left = {step["do"] for step in self._left.values()}
        running = {step["do"] for group in self._running.values() for step in group}
        return bool(left & set(self._begins)) or self._waiting in left | running

    def _begin(self, pool: ThreadPoolExecutor, ready: Iterable[str]) -> None:
        for name in ready:
            if name in self._left and self._failure is None:
                group = self._group(self._left[name])
                for step in group:
                    del self._left[step["step"]]
                self._running[pool.submit(self._perform, group)] = group

    def _group(self, first: Step) -> Sequence[Step]:
        """A step, and those right behind it that could go as soon as it is done."""
        group = [first]
        if first["do"] != self._merged:
            return group
        while True:
            names = {step["step"] for step in group}
            following = next(
                (
                    step
                    for step in map(self._left.get, self._behind[group[-1]["step"]])
                    if step and step["do"] == self._merged and self._done | names >= set(step["after"])
                ),
                None,
            )
            if following is None:
                return group
            group.append(following)

    def _end(self, pool: ThreadPoolExecutor, future: Future[Outcome]) -> bool:
        group = self._running.pop(future)
        error = future.exception()
        if isinstance(error, Exception):
            self._fail(error)
            return False
        outcome = future.result()
        self._tell(group, outcome)
        ready = []
        for step in group:
            self._done.add(step["step"])
            for name in self._behind[step["step"]]:
                self._waits[name] -= 1
                if not self._waits[name]:
                    ready.append(name)
        self._begin(pool, ready)
        return outcome.changed

    def _fail(self, error: Exception) -> None:
        self._failure = self._failure or error
        self._cancelled.cancel()
