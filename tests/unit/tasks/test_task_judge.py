"""The verdict on made-up counters."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitops.tasks.judge import Counters, Limits, Tally, judge, numbers

LIMITS = Limits(max_5xx=0.01, max_errors=0.01, max_mean_ms=None, against="absolute", min_requests=50)
NOTHING = Counters()


def answered(count: int, bad: int = 0, failures: int = 0, mean_ms: float = 5.0) -> Counters:
    return Counters(count, count, bad, failures, mean_ms)


@pytest.mark.parametrize(
    ("new", "over", "kind", "words"),
    [
        (answered(49, 49), False, "wait", "only 49 of 50 requests"),
        (answered(49, 49), True, "go on", "only 49 of 50 requests"),
        (answered(89, 10), False, "undo", "5xx 11.2% of 89 answers, allowed 1%"),
        (answered(50, 1), False, "wait", "5xx 2% of 50 answers"),  # chance may do that
        (answered(50, 1), True, "undo", "5xx 2% of 50 answers, allowed 1%"),
        (answered(200, 2), True, "go on", "5xx 1% of 200 answers, errors 0% of 200 requests, mean 5 ms"),
        (answered(100, 0, 20), False, "undo", "errors 20% of 100 requests, allowed 1%"),
        (Counters(100, 0, 0, 30), False, "undo", "errors 30% of 100 requests"),  # TCP
        (Counters(100), True, "go on", "errors 0% of 100 requests"),
        (answered(60, 0, 90), False, "undo", "errors 150% of 60 requests"),  # each request was tried twice
    ],
)
def test_absolute_limits(new: Counters, over: bool, kind: str, words: str) -> None:
    verdict = judge(LIMITS, answered(10_000, 5_000), new, over=over)
    assert (verdict.kind, words in verdict.reason) == (kind, True), verdict


def test_against_the_old_version_only_what_it_has_more_counts() -> None:
    limits = replace(LIMITS, against="old", max_mean_ms=100.0)
    old, new = answered(1000, 50, 10, 300.0), answered(1000, 55, 15, 390.0)
    assert judge(limits, old, new, over=True).kind == "go on"
    assert judge(replace(limits, against="absolute"), old, new, over=True).kind == "undo"
    worse = judge(limits, old, answered(1000, 65), over=True)
    assert worse.reason == "5xx 6.5% of 1000 answers, allowed 6% (the old version's 5% and 1%)"
    assert judge(limits, old, replace(new, mean_ms=401.0), over=True).kind == "undo"
    assert judge(limits, NOTHING, answered(100, 5), over=True).kind == "undo"


def test_a_slow_version_is_told_by_its_mean() -> None:
    limits = replace(LIMITS, max_mean_ms=100.0)
    slow = judge(limits, NOTHING, answered(50, mean_ms=120.0), over=True)
    assert (slow.kind, slow.reason) == ("undo", "mean 120 ms of 50 answers, allowed 100 ms")
    assert judge(limits, NOTHING, answered(50, mean_ms=120.0), over=False).kind == "wait"
    assert judge(limits, NOTHING, answered(50, mean_ms=201.0), over=False).kind == "undo"


def test_ten_percent_of_errors_are_found_with_the_first_requests_that_count() -> None:
    assert judge(LIMITS, NOTHING, answered(50, 5), over=False).kind == "undo"


COUNTERS = st.builds(
    lambda count, bad, failures: answered(count, round(count * bad), round(count * failures)),
    st.integers(0, 2000), st.floats(0, 1), st.floats(0, 1),
)  # fmt: skip
SOME_LIMITS = st.builds(
    Limits,
    st.floats(0, 1),
    st.floats(0, 1),
    st.none(),
    st.sampled_from(["absolute", "old"]),
    st.integers(1, 100),
)


@given(SOME_LIMITS, COUNTERS, COUNTERS)
def test_what_fails_early_fails_at_the_end_too(limits: Limits, old: Counters, new: Counters) -> None:
    early, late = (judge(limits, old, new, over=over) for over in (False, True))
    assert early.kind in {"wait", "undo"}
    assert late.kind in {"go on", "undo"}
    if early.kind == "undo":
        assert late.kind == "undo"


@given(SOME_LIMITS, COUNTERS, COUNTERS, st.booleans())
def test_more_errors_are_never_better(limits: Limits, old: Counters, new: Counters, over: bool) -> None:
    worse = replace(new, errors_5xx=min(new.answers, new.errors_5xx + 1), failures=new.failures + 1)
    if judge(limits, old, new, over=over).kind == "undo":
        assert judge(limits, old, worse, over=over).kind == "undo"


@given(SOME_LIMITS, COUNTERS, st.integers(0, 2000), st.booleans())
def test_a_version_without_an_error_is_never_undone(
    limits: Limits, old: Counters, count: int, over: bool
) -> None:
    assert judge(limits, old, answered(count), over=over).kind != "undo"


A, B = ("e1", "shop.web.80", "new-1"), ("e2", "shop.web.80", "new-1")


def test_only_what_is_added_after_the_first_look_counts() -> None:
    tally = Tally().after({A: answered(100, 50)}).after({A: answered(130, 51)})
    assert tally.total == answered(30, 1)
    assert tally.after({}).total == tally.total, "a load balancer that did not answer"


def test_several_load_balancers_are_summed_and_the_mean_is_by_requests() -> None:
    tally = Tally().after({A: NOTHING, B: NOTHING})
    tally = tally.after({A: answered(10, 1, mean_ms=100.0), B: answered(30, 3, mean_ms=20.0)})
    assert tally.total == answered(40, 4, mean_ms=40.0)
    assert tally.worst == B
    assert Tally().worst is None


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50), st.booleans()), max_size=20))
def test_counters_may_begin_anew_at_any_time(steps: list[tuple[int, int, bool]]) -> None:
    """Another application's deployment may reload the edge: what came just before is not seen."""
    counter, tally, truth, seen = NOTHING, Tally().after({A: NOTHING}), 0, 0
    for requests, bad, reload in steps:
        last = NOTHING if reload else counter
        caught_up = requests if reload and requests >= counter.requests else 0  # looks like one that went on
        counter = last.plus(answered(requests, min(requests, bad)))
        tally = tally.after({A: counter})
        truth += requests
        seen += requests if not caught_up else 0
    assert seen <= tally.total.requests <= truth


def test_numbers_of_tcp_have_no_answers() -> None:
    assert numbers(Counters(12, failures=3)) == "errors 25% of 12 requests"
