from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gitops.tasks.outcome import Outcome, TaskError
from gitops.tasks.walk import Cancelled, Step, Walk


def step(name: str, *after: str, do: str = "work") -> dict[str, Any]:
    return {"step": name, "do": do, "after": list(after)}


class Story:
    """What was begun and told, in order."""

    def __init__(self, work: Callable[[Sequence[Step]], None] = lambda _: None) -> None:
        self.begun: list[str] = []
        self.told: list[list[str]] = []
        self.cancelled = Cancelled()
        self._work = work
        self._mutex = threading.Lock()

    def perform(self, group: Sequence[Step]) -> Outcome:
        with self._mutex:
            self.begun.append(group[-1]["step"])
        self._work(group)
        return Outcome(group[-1]["step"].startswith("change"), "done")

    def walk(self, steps: Sequence[Step], stopping: Callable[[bool], bool] = lambda _: False) -> bool:
        return Walk(
            steps,
            self.perform,
            merged="switch",
            begins=("start",),
            stopping=stopping,
            cancelled=self.cancelled,
            tell=lambda group, _: self.told.append([one["step"] for one in group]),
        ).walk()


def test_a_step_begins_when_all_that_it_waits_for_is_done() -> None:
    story = Story()
    assert not story.walk([step("a"), step("b"), step("c", "a", "b"), step("d", "c")])
    assert sorted(story.begun[:2]) == ["a", "b"]
    assert story.begun[2:] == ["c", "d"]


def test_what_does_not_wait_for_each_other_goes_side_by_side() -> None:
    meeting = threading.Barrier(3, timeout=30)
    story = Story(lambda _: meeting.wait() and None)
    story.walk([step("a"), step("b"), step("c")])


def test_whether_anything_changed_is_told() -> None:
    assert Story().walk([step("a"), step("change")])


def test_steps_that_can_be_one_are_done_by_the_last_of_them() -> None:
    story = Story()
    steps = [
        step("a"),
        step("s1", "a", do="switch"),
        step("s2", "s1", do="switch"),
        step("s3", "s2", "late", do="switch"),
        step("late", "s2"),
    ]
    story.walk([steps[0], steps[1], steps[2], steps[4], steps[3]])
    assert story.begun == ["a", "s2", "late", "s3"]
    assert story.told == [["a"], ["s1", "s2"], ["late"], ["s3"]]


def test_the_first_failure_ends_it_wakes_who_waits_and_begins_nothing_more() -> None:
    waiting = threading.Event()

    def work(group: Sequence[Step]) -> None:
        match group[-1]["step"]:
            case "waits":
                waiting.set()
                story.cancelled.pause(60)
            case "fails":
                waiting.wait(30)
                raise TaskError("no", "exit")

    story = Story(work)
    with pytest.raises(TaskError, match="no") as caught:
        story.walk([step("waits"), step("fails"), step("behind", "fails"), step("also", "waits")])
    assert caught.value.kind == "exit"
    assert sorted(story.begun) == ["fails", "waits"]


@pytest.mark.parametrize(("more", "begun"), [(True, ["a"]), (False, ["a", "b"])])
def test_a_stop_keeps_new_things_from_beginning(more: bool, begun: list[str]) -> None:
    story = Story()
    steps = [step("a"), step("b", "a", do="start" if more else "work")]
    asked: list[bool] = []

    def stopping(left: bool) -> bool:
        asked.append(left)
        return left

    if more:
        story = Story(lambda _: story.cancelled.pause(30))  # until the stop wakes it
        with pytest.raises(TaskError) as caught:
            story.walk(steps, stopping)
        assert caught.value.kind == "stopped"
    else:
        story.walk(steps, stopping)
    assert story.begun == begun
    assert set(asked) <= {more}


@settings(deadline=None)  # threads: how long an example takes is the machine's business
@given(st.lists(st.sets(st.integers(0, 11)), max_size=12), st.integers(0, 12))
def test_any_graph_is_walked_whole_in_order_or_fails_where_it_should(
    waits: list[set[int]], broken: int
) -> None:
    steps = [
        step(str(number), *(str(other) for other in sorted(after) if other < number))
        for number, after in enumerate(waits)
    ]

    def work(group: Sequence[Step]) -> None:
        if group[-1]["step"] == str(broken):
            raise TaskError("broken", "exit")

    story = Story(work)
    if broken < len(steps):
        with pytest.raises(TaskError, match="broken"):
            story.walk(steps)
    else:
        story.walk(steps)
        assert sorted(story.begun) == sorted(one["step"] for one in steps)
    done: set[str] = set()
    for group in story.told:
        assert set(steps[int(group[0])]["after"]) <= done
        done |= set(group)
    assert str(broken) not in done


def test_to_wait_on_is_something_new_too() -> None:
    """A trial may last until a person ends it: a request to stop must not wait for that."""
    more: list[bool] = []
    story = Story()

    def stopping(left: bool) -> bool:
        more.append(left)
        return left

    def perform(group: Sequence[Step]) -> Outcome:
        if group[-1]["do"] == "judge":
            story.cancelled.pause(60)
        return story.perform(group)

    walk = Walk(
        [step("a"), step("trial", "a", do="judge"), step("z", "trial")],
        perform,
        merged="switch",
        begins="start",
        waits="judge",
        stopping=stopping,
        cancelled=story.cancelled,
        tell=lambda *_: None,
    )
    with pytest.raises(TaskError, match="as asked"):
        walk.walk()
    assert story.begun in (["a"], [])
    assert more[-1]
