from __future__ import annotations

import configparser
import json
from dataclasses import replace

import pytest
import yaml
from support.rendering import CASES, first, removal, update

from gitops.channel.ssh import SSH_ARGS
from gitops.model.fleet import Fleet, Host
from gitops.model.plan import Plan
from gitops.render.deployment import deployment


class Unsafe(str):  # noqa: SLOT000 - a mark that nothing else needs
    """Text that Ansible does not template."""


class Loader(yaml.SafeLoader):
    """Reads `!unsafe` as Ansible does."""


Loader.add_constructor("!unsafe", lambda loader, node: Unsafe(loader.construct_scalar(node)))


def with_variables(plan: Plan, *variables: tuple[str, str | int | float | bool]) -> Plan:
    hosts = [replace(host, variables=variables) for host in plan.fleet.hosts]
    return replace(plan, fleet=Fleet(tuple(hosts)))


@pytest.mark.parametrize("case", CASES)
def test_the_same_plan_gives_the_same_bytes(case: str) -> None:
    assert deployment(CASES[case](), deployment_id="d") == deployment(CASES[case](), deployment_id="d")


def test_the_folder_has_a_file_for_each_service_that_starts_and_no_other() -> None:
    files = deployment(update(), deployment_id="d")
    assert [name for name in files if name.startswith("services/")] == ["services/web.json"]
    assert not [name for name in deployment(removal(), deployment_id="d") if name.startswith("services/")]


def test_texts_of_the_inventory_are_marked_unsafe() -> None:
    plan = with_variables(
        first(), ("ansible_host", "{{ 7 * 7 }}"), ("ansible_port", 2222), ("ansible_become", True)
    )
    files = deployment(plan, deployment_id="d")
    read = yaml.load(files["inventory/host_vars/h1.yml"], Loader)  # noqa: S506 - derived from SafeLoader
    assert read == {"ansible_host": "{{ 7 * 7 }}", "ansible_port": 2222, "ansible_become": True}
    assert isinstance(read["ansible_host"], Unsafe)


def test_passwords_are_left_out() -> None:
    secrets = (
        ("ansible_password", "x"),
        ("ansible_become_pass", "x"),
        ("ansible_ssh_private_key_passphrase", "x"),
    )
    files = deployment(with_variables(first(), *secrets), deployment_id="d")
    assert yaml.safe_load(files["inventory/host_vars/h1.yml"]) is None


def test_hosts_are_in_their_groups_and_one_that_has_left_is_still_there() -> None:
    plan = first()
    plan = replace(plan, fleet=Fleet((*plan.fleet.hosts, Host("old", "198.18.0.9"))))
    groups = yaml.safe_load(deployment(plan, deployment_id="d")["inventory/hosts.yml"])
    assert set(groups["container_hosts"]["hosts"]) == {"h1", "h2", "h3"}
    assert set(groups["load_balancers"]["hosts"]) == {"lb1"}
    assert set(groups["ungrouped"]["hosts"]) == {"old"}


def test_ansible_connects_with_the_arguments_of_the_channel() -> None:
    config = configparser.ConfigParser()
    config.read_string(deployment(first(), deployment_id="d")["ansible.cfg"].decode())
    assert config["ssh_connection"]["ssh_args"] == SSH_ARGS
    assert config["defaults"]["host_key_checking"] == "True"
    assert config["defaults"]["forks"] == "4"


def test_the_release_file_names_commit_and_deployment() -> None:
    release = json.loads(deployment(first(), deployment_id="d-7")["release.json"])
    assert release == {"app": "shop", "commit": "a" * 40, "deployment": "d-7"}


def test_the_folder_carries_what_its_plugins_import_and_nothing_of_the_controller() -> None:
    carried = {name for name in deployment(first(), deployment_id="d") if name.endswith(".py")}
    assert {
        "gitops/errors.py",
        "gitops/channel/engine.py",
        "gitops/tasks/edge.py",
        "gitops/render/edge.py",
        "gitops/render/fragment.py",
    } <= carried
    assert not [name for name in carried if name.startswith(("gitops/store", "gitops/plan", "gitops/images"))]
    model = {name.removeprefix("gitops/model/") for name in carried if name.startswith("gitops/model/")}
    assert model == {"__init__.py", "edge.py", "image.py", "machine.py", "secret.py", "size.py"}
    assert "action_plugins/gitops_rollout.py" in carried
