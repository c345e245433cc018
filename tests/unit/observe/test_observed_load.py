"""What HAProxy and the engines say of load, as the model has it."""

from __future__ import annotations

from gitops.channel.proxy import Stat
from gitops.model.load import ContainerLoad, EdgeLoad
from gitops.observe.load import load_of, of_container


def stat(
    proxy: str, name: str, sessions: int = 0, queued: int = 0, requests: int = 0, mean_ms: float = 0
) -> Stat:
    return Stat(proxy, name, "", "UP", "", sessions, queued, requests, 0, mean_ms=mean_ms)


def test_the_load_of_a_service_is_that_of_all_its_backends() -> None:
    stats = [
        stat("shop.web.80", "shop-web-1", 3, 1, 60),
        stat("shop.web.80", "shop-web-2", 4, 2, 40),
        stat("shop.web.80", "BACKEND", 12, 5, 100, mean_ms=10),
        stat("shop.web.443", "BACKEND", 1, 0, 300, mean_ms=30),
    ]
    older = [stat("shop.web.80", "BACKEND", 20), stat("shop.web.80", "shop-web-1", 20)]
    assert load_of(stats, older) == EdgeLoad(sessions=33, queued=8, requests=400, mean_ms=25.0)
    assert load_of(stats[:1], []) == EdgeLoad(queued=1)


def test_memory_is_without_what_the_kernel_could_drop() -> None:
    cpu = {"cpu_usage": {"total_usage": 1_500_000_000}}
    v1 = {"usage": 900, "stats": {"total_inactive_file": 300, "inactive_file": 1}}
    v2 = {"usage": 900, "stats": {"inactive_file": 400}}
    assert of_container({"cpu_stats": cpu, "memory_stats": v1}) == ContainerLoad(1.5, 600)
    assert of_container({"cpu_stats": cpu, "memory_stats": v2}) == ContainerLoad(1.5, 500)
    assert of_container({"memory_stats": None}) == ContainerLoad(0.0, 0)
