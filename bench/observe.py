"""The time of a pass with nothing to do: everything that four container hosts and an edge report.

Brings up a lab of its own, or looks at the inventory given.

    python bench/observe.py [INVENTORY]
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from gitops.channel import Channel, close_channels, open_channels, own_folder
from gitops.desired import inventory
from gitops.model.fleet import Fleet
from gitops.observe.hosts import observe

PASSES = 20
LAB = (sys.executable, "-m", "gitops.lab")


def main() -> None:
    """Prints the figures."""
    if len(sys.argv) > 1:
        measure(Path(sys.argv[1]))
        return
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        place = ("--dir", f"{folder}/lab")
        up = (*LAB, "up", *place, "--hosts", "4", "--edges", "1", "-o", "json")
        try:
            done = subprocess.run(up, check=True, stdout=subprocess.PIPE)
            measure(Path(json.loads(done.stdout)["inventory"]))
        finally:
            subprocess.run([*LAB, "down", *place], check=True)


def measure(path: Path) -> None:
    """Connects to every host, then observes again and again."""
    fleet = inventory.load(path, trusted=True)
    folder = own_folder()
    channels = open_channels(fleet.hosts, folder)
    try:
        first = _observe(channels, fleet)
        again = sorted(_observe(channels, fleet) for _ in range(PASSES))
    finally:
        close_channels(channels.values(), folder)
    print(f"hosts                    {len(fleet.hosts)}")
    print(f"first pass, connecting   {first * 1000:7.1f} ms")
    print(f"a pass, median of {PASSES}     {statistics.median(again) * 1000:7.1f} ms")
    print(f"a pass, slowest          {again[-1] * 1000:7.1f} ms")


def _observe(channels: dict[str, Channel], fleet: Fleet) -> float:
    begun = time.perf_counter()
    observed = observe(channels, fleet)
    taken = time.perf_counter() - begun
    missing = [host.name for host in observed.hosts if not host.reachable]
    if missing:
        raise SystemExit(f"not reachable: {', '.join(missing)}")
    return taken


if __name__ == "__main__":
    main()
