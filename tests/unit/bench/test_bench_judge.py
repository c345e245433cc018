import http.client

from bench.judge import Judge


def status(judge: Judge, name: str) -> int:
    connection = http.client.HTTPConnection(judge.address, timeout=5)
    connection.request("GET", f"/{name}")
    found = connection.getresponse().status
    connection.close()
    return found


def test_the_first_two_containers_are_healthy_and_no_other_whatever_the_order_of_their_checks() -> None:
    with Judge("127.0.0.1") as judge:
        assert [status(judge, name) for name in ("x", "y", "z", "x", "y", "z")] == [
            200, 200, 503, 200, 200, 503,
        ]  # fmt: skip
        judge.forget()
        assert status(judge, "z") == 200
