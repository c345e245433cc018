"""Values that are easily read otherwise, as they arrive in containers of both engines and at the edge."""

from __future__ import annotations

import http.client
import json
from typing import Any

import pytest
from support.shop import MakeShop, Shop

pytestmark = pytest.mark.lab

DOCKERFILE = """\
FROM busybox
COPY show.sh /show.sh
ENTRYPOINT ["sh", "/show.sh", "entrypoint"]
CMD ["cmd", "a b"]
"""
SHOW = """\
mkdir -p /www; for word in "$@"; do printf '<%s>' "$word"; done > /www/args
for path in @app 'a+b=c:d' '~u' '$x&y(1)*,!'; do
  mkdir -p "/www/$path"; echo "$path" > "/www/$path/index.html"
done
exec httpd -f -p 80 -h /www
"""
BY_HAND = ["sh", "/show.sh", "by hand"]
PROCESSES = {
    # name -> what the service says, and the words that /show.sh gets
    "plain": ({}, "<entrypoint><cmd><a b>"),
    "nulled": ({"command": None}, "<entrypoint><cmd><a b>"),
    "cleared": ({"command": []}, "<entrypoint>"),
    "empty": ({"command": ""}, "<entrypoint>"),
    "own": ({"command": "x 'y z' \"\""}, "<entrypoint><x><y z><>"),
    "entered": ({"entrypoint": BY_HAND}, "<by hand>"),
    "bare": ({"entrypoint": [], "command": BY_HAND}, "<by hand>"),
    "cut": ({"entrypoint": BY_HAND, "command": []}, "<by hand>"),
}
ENV_FILE = """\
COLOR=#1f2e3d
PATTERN="^/api/v\\d+/\\w*"
SHARE="C:\\data\\spool"
LINES="a\\nb"
PRICE=5$ # a lone dollar
KEY="-----BEGIN
-----END"
"""
ENVIRONMENT = {
    "COLOR": "#1f2e3d",
    "PATTERN": "^/api/v\\d+/\\w*",
    "SHARE": "C:\\data\\spool",
    "LINES": "a\nb",
    "PRICE": "5$",
    "KEY": "-----BEGIN\n-----END",
    "LIMITS": '{"jobs":2}',
    "EXPONENT": "1000",
    "TOKEN": "real",
}
PATHS = ["/@app", "/a+b=c:d", "/~u", "/$x&y(1)*,!"]


def routes(*paths: str) -> list[dict[str, Any]]:
    return [{"host": "odd.test", "path": path.replace("$", "$$"), "port": 80} for path in paths]


def odd(shop: Shop) -> dict[str, Any]:
    """One service a way to say a process, on a Docker and a Podman host each."""
    context = shop.folder / "args"
    context.mkdir()
    (context / "Dockerfile").write_text(DOCKERFILE)
    (context / "show.sh").write_text(SHOW)
    image = shop.lab.run("image", "args:1", str(context)).splitlines()[-1]
    (shop.checkout / "app.env").write_text(ENV_FILE)
    (shop.checkout / ".env").write_text("LIMITS='{\"jobs\":2}'\nTOKEN=real\n")
    overlay = "{services: {plain: {command: , environment: {TOKEN: }, healthcheck: {disable: true}}}}"
    (shop.checkout / "compose.override.yaml").write_text(overlay)
    others = [host["name"] for host in shop.lab.data["hosts"] if host["name"] not in {"h1", "p1"}]
    constraints = [f"node.hostname != {name}" for name in others]
    services: dict[str, Any] = {
        name: {
            "image": image,
            **said,
            "init": True,
            "stop_signal": "sigkill",
            "deploy": {
                "mode": "global",
                "placement": {"constraints": constraints},
                "update_config": {"monitor": "1s", "parallelism": 0},
            },
        }
        for name, (said, _) in PROCESSES.items()
    }
    services["plain"] |= {
        "command": "of the base",
        "env_file": "app.env",
        "environment": {"LIMITS": '${LIMITS:-{"jobs":1}}', "EXPONENT": 1e3, "TOKEN": "dummy"},
        "healthcheck": {"test": ["CMD", "false"]},
        "labels": {"with a space": "a, b=c", "empty": None, "template": "{{ x }}"},
        "hostname": "shop.example.com",
        "tmpfs": "/run/x:size=1m,mode=1777",
        "x-ingress": routes("/", *PATHS),
        "x-jobs": "of the user's own",
    }
    return {"x-a": 1, "x-b": 2, "services": services}


def answer(shop: Shop, host: str, path: str) -> tuple[int, str]:
    """What the edge answers to a request whose Host header and path are sent as they are."""
    connection = http.client.HTTPConnection(shop.lab.address("e1"), 80, timeout=10)
    try:
        connection.putrequest("GET", path, skip_host=True)
        connection.putheader("Host", host)
        connection.endheaders()
        response = connection.getresponse()
        return response.status, response.read().decode().strip()
    finally:
        connection.close()


def inspected(shop: Shop, host: dict[str, Any], service: str) -> dict[str, Any]:
    """The one container of a service on a host, as its engine describes it."""
    (found,) = shop.lab.on(
        host["name"], host["engine"], "ps", "-q",
        "--filter", f"label=gitops.app={shop.name}", "--filter", f"label=gitops.service={service}",
    ).split()  # fmt: skip
    (described,) = json.loads(shop.lab.on(host["name"], host["engine"], "inspect", found))
    return dict(described)


def test_containers_and_routes_are_what_the_files_say(make_shop: MakeShop) -> None:
    shop = make_shop("odd", served=True)
    shop.compose = odd(shop)
    commit = shop.push("odd values")
    done = shop.sync()
    assert (done["outcome"], done["commit"]) == ("succeeded", commit), done["message"]

    for host in (host for host in shop.lab.data["hosts"] if host["name"] in {"h1", "p1"}):
        for service, (_, words) in PROCESSES.items():
            container = inspected(shop, host, service)
            seen = shop.lab.on(host["name"], host["engine"], "exec", container["Id"], "cat", "/www/args")
            assert (host["name"], service, seen.strip()) == (host["name"], service, words)
        plain = inspected(shop, host, "plain")["Config"]
        environment = dict(variable.split("=", 1) for variable in plain["Env"])
        assert {key: environment.get(key) for key in ENVIRONMENT} == ENVIRONMENT
        assert plain["Labels"]["with a space"] == "a, b=c"
        assert (plain["Labels"]["empty"], plain["Labels"]["template"]) == ("", "{{ x }}")
        assert plain["Hostname"] == "shop.example.com"

    for name in ("odd.test", "ODD.Test", "odd.test.", "odd.test:8443", "Odd.test.:80"):
        assert answer(shop, name, "/args") == (200, "<entrypoint><cmd><a b>"), name
    for path in PATHS:
        assert answer(shop, "odd.test", f"{path}/") == (200, path.removeprefix("/")), path
    assert answer(shop, "other.test", "/args")[0] == 503
    assert shop.gitops("plan", shop.name).returncode == 0  # and nothing of it is drift

    # Without the route of all paths each of the others shows that it matches by itself.
    shop.compose["services"]["plain"]["x-ingress"] = routes(*PATHS)
    shop.push("no route for the rest")
    assert shop.sync()["outcome"] == "succeeded"
    assert answer(shop, "odd.test", "/args")[0] == 503
    assert [answer(shop, "odd.test.", path + "/")[0] for path in PATHS] == [200] * len(PATHS)


def test_a_container_with_nothing_to_run_says_so(make_shop: MakeShop) -> None:
    shop = make_shop("nothing", served=True)
    web = shop.compose["services"].pop("web")
    shop.compose["services"] = {"web": {"image": web["image"], "command": []}}
    shop.push("an image without an entrypoint")
    done = shop.sync()
    assert done["outcome"] == "rolled-back"
    assert "nothing to run: neither an entrypoint nor a command" in json.dumps(done)
