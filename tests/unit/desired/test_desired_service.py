"""One service: every key, its forms, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.trees import COMMIT, problems, service, service_problems, stack

from gitops.desired import load
from gitops.errors import InvalidInputError
from gitops.model.stack import (
    Healthcheck,
    Ingress,
    Logging,
    Mount,
    Publish,
    RestartPolicy,
    Ulimit,
    UpdateConfig,
)
from gitops.source.git import FolderTree

LONG_MOUNTS = """\
volumes:
- {type: volume, source: data, target: /d/, read_only: true, volume: {nocopy: true}}
- {type: bind, source: /h, target: /b, bind: {propagation: rslave, selinux: z}}
- {type: tmpfs, target: /t, tmpfs: {size: 64m, mode: 0755}}
"""
LONG_HEALTHCHECK = """\
healthcheck:
  {test: curl localhost, interval: 1m30s, timeout: 500ms, retries: 2, start_period: 1h, start_interval: 1s}
"""


@pytest.mark.parametrize(
    ("keys", "attribute", "value"),
    [
        ("command: sh -c 'echo \"a b\"' x", "command", ("sh", "-c", 'echo "a b"', "x")),
        ("command: [a, 'b c']", "command", ("a", "b c")),
        ("command: []", "command", ()),
        ("command: ''", "command", ()),
        ("command:", "command", None),
        ("entrypoint: /bin/x --y", "entrypoint", ("/bin/x", "--y")),
        ("environment: {B: 1, A: x, C: 012, D: yes, E: true}", "environment",
         (("A", "x"), ("B", "1"), ("C", "10"), ("D", "yes"), ("E", "true"))),
        ("environment: [A=1, A=2, B=, 'C=a=b']", "environment", (("A", "2"), ("B", ""), ("C", "a=b"))),
        ("volumes: [data:/d, '/h:/b:ro,rshared']\ntmpfs: '/t:size=1m,mode=1777,noexec'", "mounts",
         (Mount("bind", "/b", "/h", read_only=True, options=("rshared",)), Mount("volume", "/d", "data"),
          Mount("tmpfs", "/t", tmpfs_size=1048576, tmpfs_mode=0o1777, options=("noexec",)))),
        (LONG_MOUNTS, "mounts",
         (Mount("bind", "/b", "/h", options=("rslave", "z")),
          Mount("volume", "/d", "data", read_only=True, options=("nocopy",)),
          Mount("tmpfs", "/t", tmpfs_size=67108864, tmpfs_mode=0o755))),
        ("tmpfs: [/a, /b]", "mounts", (Mount("tmpfs", "/a"), Mount("tmpfs", "/b"))),
        (LONG_HEALTHCHECK, "healthcheck",
         Healthcheck(("CMD-SHELL", "curl localhost"), 90.0, 0.5, 3600.0, 1.0, 2)),
        ("healthcheck: {test: [CMD, a, b]}", "healthcheck", Healthcheck(("CMD", "a", "b"))),
        ("healthcheck: {test: [CMD-SHELL, a b]}", "healthcheck", Healthcheck(("CMD-SHELL", "a b"))),
        ("healthcheck: {test: [NONE]}", "healthcheck", Healthcheck(("NONE",))),
        ("healthcheck: {disable: true}", "healthcheck", Healthcheck(("NONE",))),
        ("healthcheck: {interval: 2s}", "healthcheck", Healthcheck(None, 2.0)),
        ("", "restart", RestartPolicy("unless-stopped")),
        ("restart: no", "restart", RestartPolicy("no")),
        ("restart: always", "restart", RestartPolicy("always")),
        ("restart: on-failure:3", "restart", RestartPolicy("on-failure", 3)),
        ("deploy: {restart_policy: {condition: none}}", "restart", RestartPolicy("no")),
        ("deploy: {restart_policy: {condition: any}}\nrestart: always", "restart",
         RestartPolicy("unless-stopped")),
        ("deploy: {restart_policy: {condition: on-failure, max_attempts: 2}}", "restart",
         RestartPolicy("on-failure", 2)),
        ("stop_grace_period: 1m", "stop_grace_period_s", 60.0),
        ("stop_grace_period: 0s", "stop_grace_period_s", 0.0),
        ("stop_signal: SIGQUIT", "stop_signal", "SIGQUIT"),
        ("user: '1000:1000'", "user", "1000:1000"),
        ("working_dir: /srv", "working_dir", "/srv"),
        ("hostname: web-1", "hostname", "web-1"),
        ("read_only: yes", "read_only", True),
        ("init: false", "init", False),
        ("cap_add: [NET_ADMIN, SYS_TIME, NET_ADMIN]", "cap_add", ("NET_ADMIN", "SYS_TIME")),
        ("cap_drop: [ALL]", "cap_drop", ("ALL",)),
        ("security_opt: ['no-new-privileges:true']", "security_opt", ("no-new-privileges:true",)),
        ("ulimits: {nproc: 65, nofile: {soft: 20, hard: 40}, core: -1}", "ulimits",
         (Ulimit("core", -1, -1), Ulimit("nofile", 20, 40), Ulimit("nproc", 65, 65))),
        ("sysctls: {net.core.somaxconn: 1024}", "sysctls", (("net.core.somaxconn", "1024"),)),
        ("sysctls: [net.core.somaxconn=1024]", "sysctls", (("net.core.somaxconn", "1024"),)),
        ("shm_size: 64m", "shm_size", 67108864),
        ("shm_size: 1.5kb", "shm_size", 1536),
        ("extra_hosts: ['b:10.0.0.2', 'a=::1', 'c=[fe80::1]', 'd:host-gateway']", "extra_hosts",
         (("a", "::1"), ("b", "10.0.0.2"), ("c", "fe80::1"), ("d", "host-gateway"))),
        ("extra_hosts: {a: 10.0.0.1, b: [10.0.0.2, 10.0.0.3]}", "extra_hosts",
         (("a", "10.0.0.1"), ("b", "10.0.0.2"), ("b", "10.0.0.3"))),
        ("dns: 10.0.0.53", "dns", ("10.0.0.53",)),
        ("dns: [10.0.0.53, '::1']", "dns", ("10.0.0.53", "::1")),
        ("labels: {b: 2, a: x}", "labels", (("a", "x"), ("b", "2"))),
        ("labels: [b=2, a]", "labels", (("a", ""), ("b", "2"))),
        ("logging: {driver: json-file, options: {max-size: 10m, max-file: 3}}", "logging",
         Logging("json-file", (("max-file", "3"), ("max-size", "10m")))),
        ("deploy: {resources: {limits: {cpus: '0.5', memory: 64M, pids: 10}}}", "cpu_limit", 0.5),
        ("deploy: {resources: {limits: {cpus: 2, memory: 1g}}}", "cpu_limit", 2.0),
        ("deploy: {resources: {limits: {memory: 64M}}}", "memory_limit", 67108864),
        ("deploy: {resources: {limits: {pids: 10}}}", "pids_limit", 10),
        ("expose: [80, '90', 3000-3002, '53/tcp']", "expose", (53, 80, 90, 3000, 3001, 3002)),
        ("ports: ['8443:443']\nx-ingress: [{port: 90}, {port: 80, path: /x}]", "target_ports", (80, 90, 443)),
        ("ports: [{target: 53, published: 5353, protocol: udp, mode: host}]", "host_ports",
         ((5353, 53, "udp"),)),
        ("x-mine: {any: thing}", "image", "web"),
    ],
)  # fmt: skip
def test_a_key_of_the_container(keys: str, attribute: str, value: object) -> None:
    assert getattr(service(keys).container, attribute) == value


@pytest.mark.parametrize(
    ("keys", "attribute", "value"),
    [
        ("", "mode", "replicated"),
        ("deploy: {mode: global}", "mode", "global"),
        ("deploy: {replicas: 3}", "replicas", 3),
        ("deploy: {replicas: 0}", "replicas", 0),
        ("scale: 2", "replicas", 2),
        ("scale: 2\ndeploy: {replicas: 2}", "replicas", 2),
        ("", "update", UpdateConfig(1, "start-first", 5.0, "rollback")),
        ("deploy: {update_config: {parallelism: 0, order: stop-first, monitor: 1s, failure_action: pause}}",
         "update", UpdateConfig(0, "stop-first", 1.0, "pause")),
        ("ports: ['8080:80', {target: 90, published: '9090'}]", "publish",
         (Publish(8080, 80), Publish(9090, 90))),
        ("ports: ['8080:80/tcp', '8080:80']", "publish", (Publish(8080, 80),)),
        ("x-ingress: {host: Shop.Example.com, path: /api/, port: 8080}", "ingress",
         (Ingress(8080, "shop.example.com", "/api"),)),
        ("expose: [80]\nx-ingress: {}", "ingress", (Ingress(80),)),
        ("ports: ['8080:80']\nx-ingress: {path: /}", "ingress", (Ingress(80),)),
    ],
)  # fmt: skip
def test_a_key_of_the_service(keys: str, attribute: str, value: object) -> None:
    assert getattr(service(keys), attribute) == value


@pytest.mark.parametrize(
    "image",
    [
        "nginx",
        "nginx:1.25",
        "shop/web",
        "registry.example.com/shop/web:1.4.2",
        "198.18.0.1:5000/shop/web:v1",
        "localhost:5000/web@sha256:" + "a" * 64,
        "r.example.com/a/b__c/d-e:X_1@sha256:" + "0" * 64,
    ],
)
def test_an_image_is_a_reference_of_a_registry(image: str) -> None:
    assert stack(f"services: {{web: {{image: '{image}'}}}}").services[0].container.image == image


@pytest.mark.parametrize(
    "image",
    ["", "Web", "a b", "a:", "a\\nb", "-x", "a//b", "http://a/b", "a@sha256:12", "{{ x }}", "a" * 600],
)
def test_what_is_no_reference_is_refused(image: str) -> None:
    (problem,) = problems(f'services: {{web: {{image: "{image}"}}}}')
    assert problem.startswith("compose.yaml:1:25: services.web.image: expected an image such as")


@pytest.mark.parametrize(
    "name", ["a b", "a#b", "a\\nb", "A", "-a", "a'", "a/b", "{{a}}", "ä", "a" * 64, "a-"]
)
def test_a_service_name_that_could_reach_haproxy_is_of_an_allow_list(name: str) -> None:
    (problem,) = problems(f'services: {{"{name}": {{image: x}}}}')
    assert "is no service name" in problem
    assert "\n" not in problem


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("host", text)
        for text in [
            "a b",
            "a\\nbind :1",
            "a#b",
            "-a.com",
            "a..b",
            "*.a.com",
            "a'b",
            'a\\"b',
            "a" * 64,
            "{a}",
            "a:80",
        ]
    ]
    + [
        ("path", text)
        for text in [
            "api",
            "/a b",
            "/a\\n use_backend x",
            "/a#",
            "/a'",
            "/a//b",
            "/../x",
            "/%0a",
            "/{a}",
            "/a;b",
            "/" * 300,
        ]
    ],
)
def test_what_ingress_prints_into_haproxy_is_of_an_allow_list(key: str, value: str) -> None:
    (problem,) = service_problems(f'x-ingress: {{port: 80, {key}: "{value}"}}')
    assert f"services.web.x-ingress.{key}: expected a" in problem
    assert "\n" not in problem


def test_user_text_for_ansible_stays_literal() -> None:
    text = "{{ lookup('pipe', 'touch /tmp/x') }}"
    web = service(f'environment: {{A: "{text}"}}\nlabels: {{l: "{text}"}}\ncommand: ["{text}"]').container
    assert (web.environment, web.labels, web.command) == ((("A", text),), (("l", text),), (text,))


def test_env_files_are_read_in_order_with_environment_on_top() -> None:
    web = service(
        "env_file: [a.env, {path: ./b.env}, {path: no.env, required: false}]\nenvironment: [C=compose, D]",
        a__env="A=a\nB=$A$P\nC=a\nE\n",
        b__env="A=b\n",
        dotenv="P=p\nD=d\nE=e\n",
    )
    expected = (("A", "b"), ("B", "ap"), ("C", "compose"), ("D", "d"), ("E", "e"))
    assert web.container.environment == expected


@pytest.mark.parametrize("entry", ["../x.env", "/etc/passwd", "a/../../b", "{path: ../x, required: false}"])
def test_env_files_stay_in_the_folder(entry: str) -> None:
    (problem,) = service_problems(f"env_file: {entry}")
    assert problem.startswith("compose.yaml:4:15: services.web.env_file: `")
    assert "` leaves the application's folder" in problem


def test_a_symlink_is_refused_at_its_line_and_its_target_never_told(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text("services:\n  web:\n    image: x\n    env_file: [a.env]\n")
    (tmp_path / "secret").write_text("hunter2\n")
    (tmp_path / "a.env").symlink_to("secret")
    with pytest.raises(InvalidInputError) as refused:
        load(FolderTree(tmp_path), app="shop", commit=COMMIT)
    (problem,) = refused.value.problems
    assert str(problem).startswith("compose.yaml:4:16: services.web.env_file: a symlink is not followed")
    assert "hunter2" not in str(problem)


def test_what_is_wrong_in_an_env_file_has_its_line_and_not_its_content() -> None:
    (problem,) = service_problems("env_file: s.env", s__env="A=1\nhunter2 is secret\n")
    assert problem.startswith("s.env:2: not a `KEY=value` line")
    assert "hunter2" not in problem


def test_the_same_service_has_the_same_digest_however_it_is_written() -> None:
    one = service("environment: {A: 1, B: 2}\nlabels: [x=1]\nvolumes: [data:/d]").container
    two = service(
        "volumes:\n- {type: volume, source: data, target: /d}\nlabels: {x: '1'}\nenvironment: [B=2, A=1]"
    )
    assert one.digest == two.container.digest
