"""A trial against a scripted edge: when it ends, and what it leaves in the run folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from gitops.channel import Channel
from gitops.channel.failures import UnreachableError
from gitops.channel.proxy import Stat
from gitops.errors import GitopsError
from gitops.tasks import PROMOTE, WAITING
from gitops.tasks import trial as module
from gitops.tasks.outcome import TaskError
from gitops.tasks.trial import Trial

STEP: dict[str, Any] = {
    "service": "web",
    "backends": ["shop.web.80"],
    "percent": 5,
    "new": [{"host": "h1", "name": "new-1"}, {"host": "h2", "name": "new-2"}],
    "old": ["old-1"],
    "pause_s": 0.0,
    "manual": False,
    "judge": {
        "max_5xx": 0.01, "max_errors": 0.01, "max_mean_ms": None, "against": "absolute", "min_requests": 10,
    },
}  # fmt: skip


class Edge:
    """A load balancer and a host in one; `look` says what is seen at each look, from 0."""

    def __init__(self, look: Callable[[int], list[Stat]]) -> None:
        self.looks = self.given_back = 0
        self._look = look

    def proxy(self) -> Edge:
        return self

    def stats(self) -> list[Stat]:
        self.looks += 1
        return self._look(self.looks - 1)

    def engine(self) -> Edge:
        return self

    def logs(self, name: str, *, tail: int = 20) -> list[str]:
        assert self.given_back == 1, "requests are given back before anything else"
        return [f"last words of {name}"][:tail]


def server(name: str, requests: int = 0, bad: int = 0, status: str = "UP") -> Stat:
    return Stat("shop.web.80", name, "", status, "L7OK", 0, 0, requests, bad, answers=requests)


def trial(folder: Path, edge: Edge, pause: Callable[[float], None] = lambda _: None, **step: Any) -> Trial:
    channels = cast("dict[str, Channel]", dict.fromkeys(("e1", "h1", "h2"), edge))

    def give_back() -> None:
        edge.given_back += 1

    return Trial(folder, channels, ["e1"], {**STEP, **step}, pause=pause, give_back=give_back)


def growing(bad: int = 0) -> Edge:
    return Edge(
        lambda look: [server("old-1"), server("new-1", 100 * look, bad * look), server("new-2", 100 * look)]
    )


def test_the_pause_ends_it_and_the_numbers_are_told(tmp_path: Path) -> None:
    edge = growing()
    outcome = trial(tmp_path, edge).stand()
    assert not outcome.changed
    assert not edge.given_back
    assert outcome.message.startswith("web with 5% of the requests: 5xx 0% of 200 answers")
    assert list(tmp_path.iterdir()) == []


def test_a_person_ends_a_manual_one_and_a_word_said_before_does_not_count(tmp_path: Path) -> None:
    edge, pauses = growing(), 0
    (tmp_path / PROMOTE).touch()

    def pause(_: float) -> None:
        nonlocal pauses
        pauses += 1
        assert (tmp_path / WAITING).exists()
        if pauses == 3:
            (tmp_path / PROMOTE).touch()

    outcome = trial(tmp_path, edge, pause, manual=True).stand()
    assert outcome.message.endswith(", promoted")
    assert pauses == 3
    assert list(tmp_path.iterdir()) == [], "the word is consumed"


def test_promoting_does_not_help_a_version_that_answers_errors(tmp_path: Path) -> None:
    def pause(_: float) -> None:
        (tmp_path / PROMOTE).touch()

    with pytest.raises(TaskError, match=r"5xx 1\.5% of") as caught:
        trial(tmp_path, growing(bad=3), pause, manual=True).stand()
    data = caught.value.data(caught.value.where.host if caught.value.where else "")
    assert data["kind"] == "judged"
    assert (data["service"], data["host"], data["container"]) == ("web", "h1", "new-1")
    assert data["logs"] == ["last words of new-1"]


def test_it_ends_as_soon_as_a_limit_is_clearly_exceeded(tmp_path: Path) -> None:
    edge = growing(bad=50)
    with pytest.raises(TaskError, match="allowed 1%"):
        trial(tmp_path, edge, pause_s=3600.0).stand()
    assert edge.looks == 2


@pytest.mark.parametrize(("down", "pause_s"), [(("new-1", "new-2"), 3600.0), (("new-2",), 0.0)])
def test_a_version_that_is_down_is_no_version_without_errors(
    tmp_path: Path, down: tuple[str, ...], pause_s: float
) -> None:
    names = ("old-1", "new-1", "new-2")
    edge = Edge(lambda _: [server(name, status="DOWN" if name in down else "UP") for name in names])
    with pytest.raises(TaskError, match=f"check on e1 does not reach {', '.join(down)}") as caught:
        trial(tmp_path, edge, pause_s=pause_s).stand()
    assert caught.value.container == down[0]


def test_too_few_requests_are_told_and_nothing_more(tmp_path: Path) -> None:
    edge = Edge(lambda _: [server("old-1"), server("new-1"), server("new-2")])
    assert trial(tmp_path, edge).stand().message.endswith("only 0 of 10 requests to judge by")


def test_a_second_run_of_the_folder_has_nothing_to_judge(tmp_path: Path) -> None:
    edge = Edge(lambda _: [server("new-1"), server("new-2")])
    assert trial(tmp_path, edge, manual=True).stand().message.endswith("no old version to go back to")


def test_an_edge_that_does_not_answer_for_a_moment_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(number: int) -> list[Stat]:
        if number in {0, 2}:
            raise UnreachableError("HAProxy's socket gives no answer")
        return growing()._look(number)

    edge = Edge(look)
    clock = iter(range(0, 10_000, 2))
    monkeypatch.setattr(module.time, "monotonic", lambda: float(next(clock)))
    assert "5xx 0% of" in trial(tmp_path, edge, pause_s=30.0).stand().message

    def never(_: int) -> list[Stat]:
        raise UnreachableError("HAProxy's socket gives no answer")

    with pytest.raises(GitopsError, match="no answer"):
        trial(tmp_path, Edge(never), pause_s=3600.0).stand()
    assert list(tmp_path.iterdir()) == []
