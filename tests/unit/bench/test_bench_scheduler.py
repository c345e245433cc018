"""The scheduler's bench, on fleets that take no time."""

from bench import packing, scheduler
from bench.packing import Instance, Packed


def test_a_small_fleet_is_measured_as_a_large_one() -> None:
    point = scheduler.measure(10)
    assert (point.hosts, point.replicas) == (10, 100)
    assert min(point.spread_s, point.binpack_s, point.idle_s, point.memory_mb) > 0


def test_a_fleet_whose_best_packing_is_known() -> None:
    hosts = ((32, 128),) * 4
    assert packing.used(Instance(hosts, ((16, 64, 4),))) == len(hosts) / 2
    assert packing.used(Instance(hosts, ((24, 32, 2), (8, 96, 2)))) == len(hosts) / 2


def test_random_fleets_are_the_same_at_every_run() -> None:
    assert packing.instance(3) == packing.instance(3) != packing.instance(5)


def test_the_section_tells_rates_and_packing() -> None:
    point = scheduler.Point(1_000, 10_000, 0.25, 0.5, 0.125, 80.0)
    text = scheduler.section([point], [Packed(10, 10, 9), Packed(11, 10, 10)], "abc")
    assert "| 1,000 | 10,000 | 40,000 | 20,000 | 0.12 | 80 |" in text
    assert "2 random fleets: 21 hosts used, 20 in the best ways" in text
    assert "(5.0% more); fewer than 19 are proven impossible. In 1 of the fleets" in text
