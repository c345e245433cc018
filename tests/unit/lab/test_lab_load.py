from gitops.lab.load import Report


def test_p99_is_a_latency_that_99_of_100_do_not_exceed() -> None:
    assert Report(latencies_s=[number / 100 for number in range(100, 0, -1)]).p99_s == 0.99
    assert Report(latencies_s=[0.5]).p99_s == 0.5
    assert Report().p99_s == 0.0
