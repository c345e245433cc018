"""Inventories, read by Ansible itself: formats, what is kept and refused, what one from a repo may not do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from ansible import constants
from ansible.parsing.vault import VaultLib, VaultSecret

from gitops.desired import inventory
from gitops.errors import InvalidInputError, PermanentError
from gitops.model.fleet import Fleet
from gitops.model.plan import Backend, Server
from gitops.model.stack import ContainerSpec, Ingress, Service, Stack
from gitops.render.haproxy import fragment

HOSTS = """\
container_hosts:
  hosts:
    h2: {ansible_host: "198.18.0.{{ number }}", number: 12}
    h1: {ansible_host: 198.18.0.11, other: 1}
load_balancers:
  hosts:
    e1: {ansible_host: 198.18.0.21, ansible_user: deploy, ansible_port: 2222}
elsewhere:
  hosts: {x1: }
"""
EXPECTED = {
    "e1": ("198.18.0.21", ("load_balancers",)),
    "h1": ("198.18.0.11", ("container_hosts",)),
    "h2": ("198.18.0.12", ("container_hosts",)),
}


def _e1(variable: str) -> str:
    """The hosts with another last variable of e1."""
    return HOSTS.replace("ansible_user: deploy", variable)


def _write(folder: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        path = folder / "prod" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755 if text.startswith("#!") else 0o644)
    return folder / "prod"


def _problems(folder: Path, files: Mapping[str, str], *, trusted: bool) -> list[str]:
    path = _write(folder, files)
    with pytest.raises(InvalidInputError) as refused:
        inventory.load(path, trusted=trusted)
    return [str(problem).removeprefix(f"{folder}/") for problem in refused.value.problems]


def _seen(fleet: Fleet) -> dict[str, tuple[str, tuple[str, ...]]]:
    return {host.name: (host.address, host.groups) for host in fleet.hosts}


@pytest.mark.parametrize("trusted", [True, False])
def test_hosts_of_the_two_groups_are_the_fleet(tmp_path: Path, trusted: bool) -> None:
    path = _write(tmp_path, {"hosts.yml": HOSTS, "group_vars/all.yml": "gitops_rack: a\nunrelated: 1\n"})
    fleet = inventory.load(path, trusted=trusted)
    assert _seen(fleet) == EXPECTED
    assert fleet.hosts[0].variables == (
        ("ansible_host", "198.18.0.21"),
        ("ansible_port", 2222),
        ("ansible_user", "deploy"),
        ("gitops_rack", "a"),
    )
    assert all(type(value) in {str, int} for host in fleet.hosts for _, value in host.variables)


def test_ini_ranges_and_nested_groups_work(tmp_path: Path) -> None:
    text = "[rack]\nh[1:3]\n[container_hosts:children]\nrack\n[load_balancers]\nh1\n"
    text += "[rack:vars]\nansible_user=ops\n"
    fleet = inventory.load(_write(tmp_path, {"hosts.ini": text}) / "hosts.ini", trusted=True)
    assert _seen(fleet) == {
        "h1": ("h1", ("container_hosts", "load_balancers", "rack")),
        "h2": ("h2", ("container_hosts", "rack")),
        "h3": ("h3", ("container_hosts", "rack")),
    }
    assert fleet.hosts[2].variables == (("ansible_user", "ops"),)


def test_the_address_for_the_edge_may_differ_from_the_one_for_ssh(tmp_path: Path) -> None:
    text = "[container_hosts]\na ansible_host=10.0.0.1 ansible_port=1 gitops_address=10.1.0.1\n"
    text += "b ansible_host=10.0.0.1 ansible_port=2 gitops_address=10.1.0.2\n"
    fleet = inventory.load(_write(tmp_path, {"hosts": text}), trusted=True)
    assert [host.address for host in fleet.hosts] == ["10.1.0.1", "10.1.0.2"]


SCRIPT = """\
#!/bin/sh
touch '{mark}'
echo '{{"container_hosts": {{"hosts": ["s1"]}}, "_meta": {{"hostvars": {{"s1": {{"ansible_port": 22}}}}}}}}'
"""


def test_a_trusted_inventory_may_be_a_script_and_may_look_things_up(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    mark = tmp_path / "ran"
    path = _write(
        tmp_path,
        {
            "hosts.sh": SCRIPT.format(mark=mark),
            "group_vars/all.yml": "ansible_user: \"{{ lookup('pipe', 'echo joe') }}\"\n",
        },
    )
    fleet = inventory.load(path, trusted=True)
    assert fleet.hosts[0].variables == (("ansible_port", 22), ("ansible_user", "joe"))
    assert mark.exists()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"hosts.sh": SCRIPT}, "prod/hosts.sh:1: a script is not run from an inventory in a repo"),
        (
            {
                "hosts.yml": HOSTS,
                "c.yml": "plugin: constructed\ncompose: {a: \"lookup('pipe', 'touch {mark}')\"}\n",
            },
            "prod/c.yml:1: an inventory plugin is not run from an inventory in a repo",
        ),
        (
            {"hosts.yml": _e1("ansible_user: \"{{ lookup('pipe', 'touch {mark}') }}\"")},
            "prod/hosts.yml:7:51: host e1: ansible_user: a template may only name a variable",
        ),
        (
            {
                "hosts.yml": _e1('ansible_user: "{{ a }}"'),
                "group_vars/all.yml": 'a: "{{ b }}"\nb: "{% raw %}"\n',
            },
            "prod/hosts.yml:7:51: host e1: b: a template may only name a variable",
        ),
        (
            {
                "hosts.yml": _e1('ansible_user: "{{ a }}"'),
                "group_vars/all.yml": 'a: "{{ b }}"\nb: "{{ a }}"\n',
            },
            "prod/hosts.yml:7:51: host e1: a: variables refer to each other in a circle",
        ),
        (
            {"hosts.yml": _e1("ansible_connection: local")},
            "prod/hosts.yml:7:57: host e1: ansible_connection: `local` would act on the controller",
        ),
        (
            {"hosts.yml": _e1("ansible_ssh_executable: ./evil")},
            "prod/hosts.yml:7:61: host e1: ansible_ssh_executable is not taken from an inventory in a repo",
        ),
        (
            {"hosts.yml": _e1("ansible_ssh_common_args: -o ProxyCommand=evil")},
            "prod/hosts.yml:7:62: host e1: ansible_ssh_common_args: `-oProxyCommand=evil` is not taken",
        ),
        (
            {"hosts.yml": _e1("ansible_ssh_args: -J-oProxyCommand=evil")},
            "prod/hosts.yml:7:55: host e1: ansible_ssh_args: `-J-oProxyCommand=evil` is not taken",
        ),
        (
            {"hosts.yml": _e1("ansible_host_key_checking: false")},
            "prod: host e1: ansible_host_key_checking: host keys are always checked",
        ),
        ({"hosts.yml": "[" * 100_000}, "prod/hosts.yml:1:65: nested deeper than 64 levels"),
        (
            {"hosts.ini": "[container_hosts]\nh[1:999][1:999]\n"},
            "prod/hosts.ini:2: a range of more than",
        ),
    ],
)
def test_an_inventory_from_a_repo_runs_nothing_here(
    tmp_path: Path, files: dict[str, str], problem: str
) -> None:
    mark = tmp_path / "ran"
    written = {
        name: text.format(mark=mark) if text is SCRIPT else text.replace("{mark}", str(mark))
        for name, text in files.items()
    }
    (found,) = _problems(tmp_path, written, trusted=False)
    assert found.startswith(problem)
    assert not mark.exists()


def test_a_plugin_in_disguise_is_not_run_either(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    plugin = f"""{{"plugin": "constructed", "compose": {{"a": "lookup('pipe', 'touch {mark}')"}}}}\n"""
    path = _write(tmp_path, {"hosts.yml": HOSTS, "z.yml": plugin})
    inventory.load(path, trusted=True)
    assert mark.exists()  # it works where it may
    mark.unlink()
    with pytest.raises(InvalidInputError, match=r"^prod/z\.yml"):
        inventory.load(path, trusted=False)
    assert not mark.exists()


def test_harmless_options_of_ssh_may_come_from_a_repo(tmp_path: Path) -> None:
    args = "-o ProxyJump=ops@jump.example.com -o UserKnownHostsFile=/etc/known -J jump"
    args += " -oStrictHostKeyChecking=yes"
    files = {"hosts.yml": HOSTS, "group_vars/all.yml": f"ansible_ssh_common_args: {args}\n"}
    fleet = inventory.load(_write(tmp_path, files), trusted=False)
    assert ("ansible_ssh_common_args", args) in fleet.hosts[0].variables


BROKEN = "the inventory cannot be read: "


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"hosts.yml": "container_hosts:\n  hosts: [\n"}, f"/hosts.yml:3:1: {BROKEN}YAML parsing failed"),
        ({"hosts.yml": HOSTS, "group_vars/all.yml": "a: [\n"}, f"/group_vars/all.yml:2:1: {BROKEN}YAML"),
        ({"hosts.ini": "[container_hosts:foo]\nh1\n"}, f"/hosts.ini: {BROKEN}Failed to parse inventory"),
        ({"hosts.ini": "[container_hosts\nh1\n"}, f"/hosts.ini: {BROKEN}Failed to parse inventory"),
        ({"hosts.yml": ""}, ": no host in the group `container_hosts`"),
        ({"hosts.yml": "load_balancers: {hosts: {e1: }}\n"}, ": no host in the group `container_hosts`"),
        ({"hosts": "[container_hosts]\nbad;name\n"}, ": `bad;name` is no host name"),
        ({"hosts.yml": 'container_hosts: {hosts: {"{{ 1 }}": }}\n'}, "/hosts.yml:1:27: `{{ 1 }}` is no host"),
        (
            {"hosts.yml": "container_hosts: {hosts: {h1: {ansible_host: [a]}}}\n"},
            "/hosts.yml:1:46: host h1: ansible_host must be a plain value, found a list",
        ),
        (
            {"hosts": "[container_hosts]\na ansible_host=10.0.0.1\nb ansible_host=10.0.0.1\n"},
            ": hosts a and b have the same address 10.0.0.1",
        ),
        (
            {
                "hosts": "[container_hosts]\n"
                "a ansible_host=10.0.0.1 gitops_address=10.1.0.1\n"
                "b ansible_host=10.0.0.1 ansible_port=22 gitops_address=10.1.0.2\n"
            },
            ": hosts a and b are the same machine 10.0.0.1, port 22 (one machine has one name",
        ),
        (
            {"hosts.yml": "container_hosts: {hosts: {a: {gitops_labels: [zone]}}}\n"},
            "/hosts.yml:1:46: host a: gitops_labels must be a mapping (such as `{zone: a}`)",
        ),
        (
            {"hosts.yml": "container_hosts: {hosts: {a: {gitops_labels: {zone: 1}}}}\n"},
            "/hosts.yml:1:46: host a: gitops_labels.zone must be a string (put it in quotes)",
        ),
        (
            {"hosts.yml": "container_hosts: {hosts: {a: {gitops_labels: {'a b': c}}}}\n"},
            "/hosts.yml:1:46: host a: `a b` is no label",
        ),
    ],
)
def test_what_is_wrong_has_its_place(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], files: dict[str, str], problem: str
) -> None:
    (found,) = _problems(tmp_path, files, trusted=True)
    assert found.startswith(f"prod{problem}")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("variable", "problem"),
    [
        ("ansible_host=-oProxyCommand=x", "ansible_host: `-oProxyCommand=x` is no address"),
        ("ansible_user=-x", "ansible_user: `-x` is no user name"),
        ("ansible_port=0", "ansible_port: `0` is no port"),
        ("ansible_password=x", "ansible_password is a password (use keys for SSH"),
        ("ansible_become_pass=x", "ansible_become_pass is a password (use keys for SSH"),
        ("ansible_user='{{ nope }}'", "ansible_user cannot be resolved: 'nope' is undefined"),
    ],
)
def test_variables_that_are_refused_of_any_inventory(tmp_path: Path, variable: str, problem: str) -> None:
    (found,) = _problems(tmp_path, {"hosts": f"[container_hosts]\nh1 {variable}\n"}, trusted=True)
    assert found.startswith(f"prod/hosts:2: host h1: {problem}")


def test_passwords_are_never_told(tmp_path: Path) -> None:
    files = {"hosts": "[container_hosts]\nh1 ansible_password=hunter2\nh2 ansible_become_password=hunter2\n"}
    found = _problems(tmp_path, files, trusted=True)
    assert len(found) == len(files["hosts"].splitlines()) - 1
    assert "hunter2" not in "".join(found)


def test_an_inventory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="no inventory"):
        inventory.load(tmp_path / "none", trusted=True)


@pytest.mark.parametrize("trusted", [True, False])
def test_labels_of_hosts_and_of_their_groups(tmp_path: Path, trusted: bool) -> None:
    files = {
        "hosts.yml": "container_hosts: {hosts: {h1: {gitops_labels: {zone: a, disk: '{{ disk }}'}}, h2: }}\n",
        "group_vars/all.yml": "disk: ssd\ngitops_labels: {zone: b}\n",
    }
    fleet = inventory.load(_write(tmp_path, files), trusted=trusted)
    assert {host.name: dict(host.labels) for host in fleet.hosts} == {
        "h1": {"zone": "a", "disk": "ssd"},
        "h2": {"zone": "b"},
    }
    assert all(key != "gitops_labels" for host in fleet.hosts for key, _ in host.variables)


def test_machines_that_differ_in_port_or_jump_host_are_two(tmp_path: Path) -> None:
    text = """[container_hosts]
a ansible_host=10.0.0.1 gitops_address=10.1.0.1
b ansible_host=10.0.0.1 gitops_address=10.1.0.2 ansible_port=2222
c ansible_host=10.0.0.1 gitops_address=10.1.0.3 ansible_ssh_common_args='-J other'
"""
    assert len(inventory.load(_write(tmp_path, {"hosts": text}), trusted=True).hosts) == len("abc")


def _encrypted(text: str, *, name: str = "default") -> str:
    """Text as `ansible-vault` encrypts it, with a password that is the name of its vault ID."""
    secrets = [(name, VaultSecret(name.encode()))]
    return str(VaultLib(secrets).encrypt(text, secret=secrets[0][1], vault_id=name).decode())


def _vaulted(folder: Path) -> Path:
    """An inventory with an encrypted file, and with encrypted values in a plain one."""
    value = _encrypted("deploy").replace("\n", "\n  ").rstrip()
    zone = _encrypted("a").replace("\n", "\n    ").rstrip()
    return _write(
        folder,
        {
            "hosts": "[container_hosts]\nh1 ansible_host='{{ address }}'\n",
            "group_vars/all/vault.yml": _encrypted("address: 198.18.0.11\nsecret: hunter2\n"),
            "group_vars/all/plain.yml": f"ansible_user: !vault |\n  {value}\n"
            f"gitops_labels:\n  zone: !vault |\n    {zone}\n",
        },
    )


@pytest.mark.parametrize("setting", ["DEFAULT_VAULT_PASSWORD_FILE", "DEFAULT_VAULT_IDENTITY_LIST"])
def test_an_inventory_on_this_machine_is_decrypted_as_ansible_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    for name in ("default", "other"):
        (tmp_path / name).write_text(f"{name}\n")
    file = str(tmp_path / "default")
    named = {"DEFAULT_VAULT_IDENTITY_LIST": [f"other@{tmp_path}/other", f"default@{file}"]}.get(setting, file)
    monkeypatch.setattr(constants, setting, named)
    (host,) = inventory.load(_vaulted(tmp_path), trusted=True).hosts
    assert (host.address, dict(host.variables)["ansible_user"]) == ("198.18.0.11", "deploy")
    assert host.labels == (("zone", "a"),)
    assert "hunter2" not in repr(host)


def test_a_program_may_print_the_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "password"
    program.write_text("#!/bin/sh\necho default\n")
    program.chmod(0o755)
    monkeypatch.setattr(constants, "DEFAULT_VAULT_PASSWORD_FILE", str(program))
    assert inventory.load(_vaulted(tmp_path), trusted=True).hosts[0].address == "198.18.0.11"


@pytest.mark.parametrize(
    ("trusted", "file", "problem"),
    [
        (True, "", "prod/group_vars/all/vault.yml: the inventory cannot be read: Attempting to decrypt"),
        (True, "wrong", "prod/group_vars/all/vault.yml: the inventory cannot be read: Decryption failed"),
        (True, "none", "prod: a vault password cannot be read: The vault password file"),
        (False, "default", "prod/group_vars/all/vault.yml: the inventory cannot be read: Attempting to"),
    ],
)
def test_why_an_inventory_is_not_decrypted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trusted: bool, file: str, problem: str
) -> None:
    for name in ("default", "wrong"):
        (tmp_path / name).write_text(f"{name}\n")
    monkeypatch.setattr(constants, "DEFAULT_VAULT_PASSWORD_FILE", str(tmp_path / file) if file else None)
    path = _vaulted(tmp_path)
    with pytest.raises(InvalidInputError) as refused:
        inventory.load(path, trusted=trusted)
    (found,) = (str(each).removeprefix(f"{tmp_path}/") for each in refused.value.problems)
    assert found.startswith(problem)
    assert ("ANSIBLE_VAULT_PASSWORD_FILE" in found) == trusted


def test_nobody_is_asked_for_a_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "DEFAULT_VAULT_IDENTITY_LIST", ["prod@prompt"])
    with pytest.raises(InvalidInputError, match="the vault password prod would have to be asked for"):
        inventory.load(_vaulted(tmp_path), trusted=True)


@pytest.mark.parametrize(
    ("said", "address"),
    [("web_1", "web_1"), ("'2001:db8::1'", "2001:db8::1"), ("'[2001:db8::1]'", "2001:db8::1")],
)
def test_what_an_inventory_calls_an_address_an_edge_reaches(tmp_path: Path, said: str, address: str) -> None:
    files = {"hosts.yml": f"container_hosts: {{hosts: {{h1: {{ansible_host: {said}}}}}}}\n"}
    (host,) = inventory.load(_write(tmp_path, files), trusted=True).hosts
    assert host.address == address
    stack = Stack("shop", "c" * 40, (Service("web", ContainerSpec("web"), ingress=(Ingress(80),)),))
    assert f" {address}:20001" in fragment(
        stack, None, (Backend("web", 80, (Server("a", host.address, 20001),)),)
    )


def test_an_address_with_a_zone_is_none_for_an_edge(tmp_path: Path) -> None:
    files = {"hosts.yml": "container_hosts: {hosts: {h1: {ansible_host: 'fe80::1%eth0'}}}\n"}
    (found,) = _problems(tmp_path, files, trusted=True)
    assert found.startswith(
        "prod/hosts.yml:1:27: host h1: no edge reaches `fe80::1%eth0` (set `gitops_address`"
    )
