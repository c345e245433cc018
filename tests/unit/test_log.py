"""A service's log: times with their zone, short digests, one line for many hosts."""

from __future__ import annotations

import logging
import re

from gitops.output.log import HostLines, Lines
from gitops.terminal import short_digests

DIGEST = "reg:5000/web@sha256:" + "0123456789ab" + "c" * 52


def test_a_line_begins_with_the_time_and_its_zone_and_names_digests_shortly() -> None:
    record = logging.LogRecord("x", logging.INFO, "x", 1, "%s pulled", (DIGEST,), None)
    line = Lines("%(asctime)s %(levelname)s %(message)s").format(record)
    time = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d"
    assert re.fullmatch(rf"{time} INFO reg:5000/web@sha256:0123456789ab pulled", line), line
    assert short_digests("sha256:" + "f" * 63) == "sha256:" + "f" * 63, "no digest"


def test_the_same_of_many_hosts_is_one_line_and_nothing_is_lost() -> None:
    said: list[str] = []
    lines = HostLines(said.append, wait_s=60.0)
    for host in ("h1", "h2", "h1"):
        lines.tell(host, "release written", waits=True)
    lines.tell("h1", "another", waits=True)
    lines.tell("", "succeeded", waits=True)
    lines.tell("h3", "host lost", waits=False)
    lines.tell("h4", "host lost", waits=False)
    lines.tell("h1", "last", waits=True)
    lines.flush()
    lines.flush()
    assert said == [
        "h1, h2: release written",
        "h1: another",
        "succeeded",
        "h3: host lost",
        "h4: host lost",
        "h1: last",
    ]


def test_what_waits_is_told_by_itself() -> None:
    said: list[str] = []
    lines = HostLines(said.append, wait_s=0.0)
    lines.tell("h1", "started", waits=True)
    timer = lines._timer
    if timer is not None:
        timer.join(10)
    assert said == ["h1: started"]
