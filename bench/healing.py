"""How soon what goes wrong on hosts is noticed and put right, on a lab of five hosts and a load balancer.

    python -m bench.healing [ROUNDS]

Ends with an error where a kind of drift is noticed after a second or more, a killed replica
serves again after two, a doubled load is answered after fifteen, or a request fails.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep, time

from support.hand import Hand, kinds
from support.labs import Lab, running_lab
from support.load import Load
from support.shop import Shop, until

from bench import machine, page

ROUNDS = 3
CALM, DOUBLED = 2, 4  # replicas
REST_S = 1.0  # after a heal: the look at what it has changed itself is no part of the next one
NOTICED_S, SERVES_S, SCALED_S = 1.0, 2.0, 15.0
KILLED, SCALED = "killed: serves again", "load doubles: serves with twice the replicas"

Seconds = Mapping[str, list[float]]
"""What was measured -> seconds, one a round."""


def main(rounds: int) -> int:
    """Measures, prints, and writes the page after a whole run; 1 where something took too long."""
    with running_lab("healing", hosts=4, podman=1, edges=1) as lab:
        drift, failed = drifts(lab, rounds)
        rest, lost = times(lab, rounds)
    seconds = {**drift, **rest}
    failed += lost
    for what, each in seconds.items():
        print(f"{what}: {', '.join(f'{s:.2f}' for s in each)} s, at most {limit(what):g}")
    print(f"{failed} requests failed")
    if rounds >= ROUNDS:
        write(seconds, failed)
    return int(failed > 0 or any(max(each) >= limit(what) for what, each in seconds.items()))


def limit(what: str) -> float:
    """The seconds that it may take."""
    return {KILLED: SERVES_S, SCALED: SCALED_S}.get(what, NOTICED_S)


def drifts(lab: Lab, rounds: int) -> tuple[Seconds, int]:
    """How soon each kind of drift is noticed, while a client asks; and the requests that failed."""
    seconds: defaultdict[str, list[float]] = defaultdict(list)
    with served(lab, "drift") as (shop, service):
        other, hand = shop.image("other"), Hand(shop)
        with Load(lab.address("e1"), host="drift.test", pause_s=0.05) as load:
            for _ in range(rounds):
                for kind, act, reason in kinds(hand, other, service):
                    hand.quiet()
                    sleep(REST_S)
                    began = time()
                    act()
                    seconds[f"{kind}: noticed"].append(hand.noticed(reason, began))
            hand.quiet()
        return seconds, load.report.failed


def times(lab: Lab, rounds: int) -> tuple[Seconds, int]:
    """How soon a killed replica serves again, and how soon there are more when the load doubles."""
    seconds: defaultdict[str, list[float]] = defaultdict(list)
    edge, failed = lab.address("e1"), 0
    with served(lab, "elastic", autoscale=True) as (shop, _):
        hand = Hand(shop)
        with Load(edge, host="elastic.test", clients=1, pause_s=0.1) as calm:
            for _ in range(rounds):
                hand.quiet()
                sleep(REST_S)
                seconds[KILLED].append(hand.killed_serves_s("web.1"))
                hand.quiet()
                began = monotonic()
                with Load(edge, host="elastic.test", clients=1, pause_s=0.1) as second:
                    until(lambda: shop.chosen("web") == DOUBLED, 60, "scaled out")
                    seconds[SCALED].append(monotonic() - began)
                until(lambda: shop.chosen("web") == CALM, 60, "scaled in")
                failed += second.report.failed
        return seconds, failed + calm.report.failed


@contextmanager
def served(lab: Lab, name: str, *, autoscale: bool = False) -> Iterator[tuple[Shop, int]]:
    """An application that the service has deployed, and the service's process."""
    with tempfile.TemporaryDirectory(prefix="gitops-bench-") as folder:
        shop = Shop.create(lab, name, Path(folder) / name, poll="10m", observe="10m")
        if autoscale:
            web = shop.compose["services"]["web"]
            del web["deploy"]["replicas"]
            web["x-autoscale"] = {
                "min": CALM,
                "max": DOUBLED,
                "target": {"requests_per_replica": 5},
                "scale_in": {"stabilization_window": "5s"},
            }
        try:
            with shop.serving() as service:
                done = shop.ended(shop.push("measured"))
                if done["outcome"] != "succeeded":
                    raise RuntimeError(f"{name} was not deployed: {done['reason']}")
                yield shop, service.pid
        finally:
            shop.remove()


def write(seconds: Seconds, failed: int) -> None:
    """The page's section and the figures."""
    rows = [
        f"| {what} | {statistics.median(each):.2f} | {max(each):.2f} | {limit(what):g} |"
        for what, each in seconds.items()
    ]
    rounds = max(map(len, seconds.values()))
    text = "\n".join([
        f"Measured at commit `{machine.commit()}`, {rounds} rounds, {failed} requests failed.",
        "[All figures](performance-healing.json).",
        "",
        "| what | median, s | longest, s | aim, s |",
        "|---|---|---|---|",
        *rows,
    ])  # fmt: skip
    page.write("healing", {"seconds": seconds, "failed": failed}, text)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS))
