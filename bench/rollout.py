"""One-at-a-time replacement of four replicas on four Docker hosts: `gitops sync` against Docker Swarm.

Both run on the same lab hosts with the same image, health check and monitor window
(1 s), in turn, several rounds each. Seconds depend on the machine; the ratio travels.

    .venv/bin/python bench/rollout.py [ROUNDS]
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from support.labs import Lab, running_lab
from support.shop import Shop

HEALTH = "wget -q -O /dev/null http://127.0.0.1/"
HOSTS = 4


def main() -> None:
    """Prints each round, the medians and the ratio."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with running_lab("bench", hosts=HOSTS) as lab, tempfile.TemporaryDirectory() as folder:
        shop = Shop.create(lab, "bench", Path(folder))
        images = {version: everywhere(lab, shop.image(version)) for version in ("1", "2")}
        del shop.compose["services"]["api"]
        shop.compose["services"]["web"]["deploy"]["update_config"]["monitor"] = "1s"
        push(shop, images["1"])
        sync(shop)
        join(lab)
        create_service(lab, images["1"])
        ours: list[float] = []
        swarm: list[float] = []
        for number in range(rounds):
            version = "2" if number % 2 == 0 else "1"
            image = images[version]
            push(shop, image)
            ours.append(timed(lambda: sync(shop)))
            swarm.append(timed(lambda image=image: update_service(lab, image)))
            print(f"round {number + 1}: gitops sync {ours[-1]:.2f} s, swarm {swarm[-1]:.2f} s")
        leave(lab)
        shop.remove()
    print(f"median: gitops sync {statistics.median(ours):.2f} s, swarm {statistics.median(swarm):.2f} s")
    ratio = statistics.median(a / b for a, b in zip(ours, swarm, strict=True))
    print(f"median ratio: {ratio:.2f} of Swarm")


def everywhere(lab: Lab, image: str) -> str:
    """Pulls an image on every host, so that neither side has to."""
    for host in lab.data["hosts"]:
        lab.on(host["name"], "docker", "pull", "-q", image)
    return image


def push(shop: Shop, image: str) -> None:
    """Pushes a commit with that image."""
    shop.compose["services"]["web"]["image"] = image
    shop.push(f"web is {image}")


def sync(shop: Shop) -> None:
    """Deploys the newest commit."""
    result = shop.sync()
    if result["outcome"] != "succeeded":
        raise RuntimeError(str(result))


def join(lab: Lab) -> None:
    """Makes a swarm of the lab's hosts."""
    manager = lab.address("h1")
    lab.on("h1", "docker", "swarm", "init", "--advertise-addr", manager)
    token = lab.on("h1", "docker", "swarm", "join-token", "-q", "worker")
    for number in range(2, HOSTS + 1):
        lab.on(f"h{number}", "docker", "swarm", "join", "--token", token, f"{manager}:2377")


def leave(lab: Lab) -> None:
    """Ends the swarm."""
    for number in range(HOSTS, 0, -1):
        lab.on(f"h{number}", "docker", "swarm", "leave", "--force")


def create_service(lab: Lab, image: str) -> None:
    """The same service in the swarm; no load balancer, which only helps it."""
    lab.on(
        "h1", "docker", "service", "create", "--quiet", "--name", "web", "--init", "--replicas", "4",
        "--update-order", "start-first", "--update-parallelism", "1", "--update-monitor", "1s",
        "--health-cmd", HEALTH, "--health-interval", "1s", "--stop-grace-period", "5s", image,
    )  # fmt: skip


def update_service(lab: Lab, image: str) -> None:
    """Rolls the swarm's service over to an image and waits for it to converge."""
    lab.on("h1", "docker", "service", "update", "--quiet", "--image", image, "web")


def timed(action: Callable[[], None]) -> float:
    """The wall-clock seconds that an action takes."""
    began = time.monotonic()
    action()
    return time.monotonic() - began


if __name__ == "__main__":
    main()
