"""A commit means the same images for ever: tags that move, registries that refuse or are down."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.labs import Lab
from support.registries import PASSWORD, USERNAME, Registry, private_registry
from support.shop import DOCKERFILE, MakeShop, Shop

pytestmark = pytest.mark.lab


@pytest.fixture
def registry(lab: Lab, tmp_path: Path) -> Iterator[Registry]:
    with private_registry(lab, tmp_path / "registry") as running:
        yield running


def move(shop: Shop, version: str, content: str) -> None:
    """Pushes another image under a tag that is in use."""
    context = shop.folder / "moved"
    context.mkdir(exist_ok=True)
    (context / "Dockerfile").write_text(DOCKERFILE.replace("ARG VERSION", f"ENV VERSION={content}"))
    shop.lab.run("image", f"{shop.name}:{version}", str(context))


def use(shop: Shop, image: str) -> None:
    for service in shop.compose["services"].values():
        service["image"] = image


def digests(shop: Shop) -> set[str]:
    """The digests that the services of the application should run, as `gitops status` has them."""
    return {service["digest"] for service in shop.read("status", shop.name)["services"]}


def images(shop: Shop) -> set[str]:
    return {rest.split()[2] for rest in shop.containers().values()}


def stored(shop: Shop, host: dict[str, Any], repository: str) -> set[str]:
    """The digests of a repository that a host's engine has."""
    listed = shop.lab.on(
        host["name"], host["engine"], "images", "--digests", "--no-trunc",
        "--format", "{{.Repository}} {{.Digest}}",
    )  # fmt: skip
    pairs = (line.split() for line in listed.splitlines())
    return {digest for name, digest in pairs if name == repository and digest != "<none>"}


def test_a_tag_that_moves_changes_nothing_until_the_next_commit_and_a_rollback_undoes_it(
    make_shop: MakeShop,
) -> None:
    shop = make_shop("moved", images="moved", replicas=2)
    first = shop.deploy("1")
    assert images(shop) == {shop.image("1")}
    before = digests(shop)
    assert len(before) == 1
    move(shop, "1", "another")
    assert shop.sync()["outcome"] == "nothing"

    victim = next(name for name in shop.containers() if "-web-" in name)
    host, name = victim.split("/")
    engine = next(h["engine"] for h in shop.lab.data["hosts"] if h["name"] == host)
    shop.lab.on(host, engine, "rm", "-f", name)
    assert shop.sync()["outcome"] == "succeeded"
    assert images(shop) == {next(iter(shop.digests.values()))}, "what was healed runs the commit's image too"

    second = shop.push("the same tag, of another image")
    plan = shop.read("plan", shop.name)
    assert any("@sha256:" in step["reason"] for step in plan["steps"] if step["action"] == "start")
    assert shop.sync()["outcome"] == "succeeded"
    after = digests(shop)
    assert len(after) == 1
    assert not after & before
    assert shop.gitops("rollback", shop.name).returncode == 0
    status = shop.read("status", shop.name)
    assert (status["commit"], status["quarantined"]) == (first, [second])
    assert digests(shop) == before
    assert images(shop) == {next(iter(shop.digests.values()))}


def test_a_controller_that_lost_its_records_asks_what_runs(make_shop: MakeShop) -> None:
    shop = make_shop("lostpins", images="lostpins", replicas=2)
    shop.deploy("1")
    shop.compose["services"]["api"]["environment"] = {"A": "1"}
    commit = shop.push("web stays from the commit before")
    assert shop.sync()["outcome"] == "succeeded"
    before, meant = shop.containers(), digests(shop)
    move(shop, "1", "another")
    shop.store = "other.db"
    shop.configure()
    result = shop.sync()
    assert (result["outcome"], result["commit"]) == ("nothing", commit)
    assert shop.containers() == before
    assert digests(shop) == meant


def test_a_tag_that_is_missing_is_found_before_any_container_is_touched(make_shop: MakeShop) -> None:
    shop = make_shop("missing", images="missing", replicas=2)
    good = shop.deploy("1")
    before, runs = shop.containers(), len(list((shop.folder / "runs" / shop.name).iterdir()))
    wanted = f"{shop.image('1').rpartition(':')[0]}:2"
    shop.compose["services"]["web"]["image"] = wanted
    bad = shop.push("not built yet")
    refused = shop.gitops("plan", shop.name)
    assert refused.returncode == 1
    assert wanted in refused.stderr
    result = shop.sync()
    assert (result["exit"], result["outcome"]) == (3, "rolled-back")
    assert f"service web: {wanted}: manifest unknown" in result["message"]
    assert result["message"].startswith("h1: ")
    assert shop.containers() == before
    assert len(list((shop.folder / "runs" / shop.name).iterdir())) == runs, "a playbook was run"
    status = shop.read("status", shop.name)
    assert (status["commit"], status["quarantined"]) == (good, [bad])
    assert shop.image("2") == wanted
    assert shop.gitops("retry", shop.name).returncode == 0
    assert shop.sync()["outcome"] == "succeeded"


def test_a_registry_that_is_down_is_no_fault_of_the_commit(make_shop: MakeShop, registry: Registry) -> None:
    shop = make_shop(
        "down", images="down", replicas=1, registries={registry.address: {"auth_file": "registry.json"}}
    )
    (shop.folder / "registry.json").write_text(registry.login)
    use(shop, registry.take(shop.image("1")))
    good = shop.push("v1")
    assert shop.sync()["outcome"] == "succeeded"
    before = shop.containers()
    use(shop, registry.take(shop.image("2")))
    commit = shop.push("v2")
    registry.stop()
    refused = shop.gitops("sync", shop.name)
    assert refused.returncode == 1
    assert "connection refused" in refused.stderr
    assert f"does {registry.address} run" in refused.stderr
    assert shop.containers() == before
    assert shop.read("status", shop.name)["quarantined"] == []
    assert len(shop.history()) == 1
    assert shop.gitops("rollback", shop.name, "--to", good).returncode == 0, "what is recorded needs none"
    registry.start()
    assert shop.gitops("retry", shop.name).returncode == 0
    result = shop.sync()
    assert (result["outcome"], result["commit"]) == ("succeeded", commit)


def test_a_private_registry_takes_the_login_of_gitops_yaml_and_nobody_sees_it(
    make_shop: MakeShop, registry: Registry
) -> None:
    shop = make_shop("private", images="private", replicas=4)
    use(shop, registry.take(shop.image("1")))
    shop.push("v1")
    result = shop.sync()
    assert (result["exit"], result["outcome"]) == (3, "rolled-back")
    assert "`registries`" in result["message"]
    assert shop.containers() == {}

    login = {"username": USERNAME, "password_file": "password"}
    shop.settings["registries"] = {registry.address: login}
    shop.configure()
    (shop.folder / "password").write_text("wrong\n")
    shop.gitops("retry", shop.name)
    assert "unauthorized" in shop.sync()["message"]

    (shop.folder / "password").write_text(f"{PASSWORD}\n")
    shop.gitops("retry", shop.name)
    with subprocess.Popen(
        shop.command("sync", shop.name), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as run:
        shown: set[str] = set()
        while run.poll() is None:
            shown |= processes_that_show(PASSWORD)
        assert run.stdout is not None
        output = run.stdout.read().decode()
    assert run.returncode == 0, output
    assert len({name.split("/")[0] for name in shop.containers()}) == 5, "Docker and Podman hosts"
    assert shown == set()
    assert PASSWORD not in output
    written = [*shop.folder.rglob("*"), *shop.lab.folder.glob("hosts/*/*.log")]
    left = {file for file in written if file.is_file() and PASSWORD.encode() in file.read_bytes()}
    assert left == {shop.folder / "password"}
    assert any("pull" in deployment["phases"] for deployment in shop.history())


def processes_that_show(text: str) -> set[str]:
    """The processes that have a text in their command line or environment."""
    found = set()
    for place in ("cmdline", "environ"):
        for file in Path("/proc").glob(f"[0-9]*/{place}"):
            try:
                content = file.read_bytes()
            except OSError:  # it has ended
                continue
            if text.encode() in content:
                found.add(content.decode(errors="replace"))
    return found


def test_a_private_registry_takes_the_login_of_the_host_itself(
    make_shop: MakeShop, registry: Registry
) -> None:
    shop = make_shop("hostlogin", images="hostlogin", replicas=2)
    use(shop, registry.take(shop.image("1")))
    shop.push("v1")
    hosts = [host["name"] for host in shop.lab.data["hosts"]]
    try:
        for host in hosts:
            made = shop.lab.ssh(
                host, f"umask 077; mkdir -p ~/.docker; printf %s '{registry.login}' > ~/.docker/config.json"
            )
            assert made.returncode == 0, made.stderr
        assert shop.sync()["outcome"] == "succeeded"
    finally:
        for host in hosts:
            shop.lab.ssh(host, "rm -rf ~/.docker")


def test_only_images_that_a_rollback_needs_are_kept(make_shop: MakeShop) -> None:
    shop = make_shop("retained", images="retained", replicas=4, image_retention=2)
    commits, by_version = {}, {}
    for version in ("1", "2", "3"):
        commits[version] = shop.deploy(version)
        by_version[version] = next(iter(digests(shop)))
    repository = shop.image("1").rpartition(":")[0]
    hosts = shop.lab.data["hosts"]
    kept = [stored(shop, host, repository) for host in hosts if host["name"] != "h1"]
    assert set.union(*kept) == {by_version["2"], by_version["3"]}
    assert by_version["1"] not in set.union(*kept)
    assert shop.gitops("rollback", shop.name).returncode == 0
    assert digests(shop) == {by_version["2"]}
    assert shop.gitops("rollback", shop.name, "--to", commits["1"]).returncode == 0, (
        "pulled again, by its digest"
    )
    assert digests(shop) == {by_version["1"]}
