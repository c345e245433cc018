from __future__ import annotations

import json
from dataclasses import replace

from gitops.model.size import Size
from gitops.model.stack import (
    ContainerSpec,
    Healthcheck,
    Logging,
    Mount,
    RestartPolicy,
    Service,
    Stack,
    Ulimit,
)
from gitops.render.container import body, service_file


def body_of(spec: ContainerSpec) -> dict:
    service = Service("web", spec)
    return body(Stack("shop", "a" * 40, (service,)), service)


def test_a_plain_spec_says_nothing_that_the_image_should_decide() -> None:
    spec = ContainerSpec("web:1")
    assert body_of(spec) == {
        "Image": "web:1",
        "Labels": {
            "gitops.app": "shop",
            "gitops.service": "web",
            "gitops.spec": spec.digest,
            "gitops.commit": "a" * 40,
        },
        "StopTimeout": 10,
        "HostConfig": {"NetworkMode": "gitops-shop", "RestartPolicy": {"Name": "unless-stopped"}},
        "NetworkingConfig": {"EndpointsConfig": {"gitops-shop": {"Aliases": ["web"]}}},
    }


def test_every_field_of_a_spec_reaches_the_engine() -> None:
    spec = ContainerSpec(
        image="web:1",
        command=("serve", "--fast"),
        entrypoint=("/bin/tini", "--"),
        environment=(("A", "1"), ("B", "{{ x }}")),
        mounts=(
            Mount("volume", "/data", "data", options=("nocopy",)),
            Mount("bind", "/etc/app", "/srv/app", read_only=True),
            Mount("volume", "/scratch"),
            Mount("tmpfs", "/tmp", tmpfs_size=1024, tmpfs_mode=0o1777),
        ),
        healthcheck=Healthcheck(("CMD", "true"), interval_s=5, timeout_s=0.5, start_period_s=1, retries=2),
        restart=RestartPolicy("on-failure", 3),
        stop_grace_period_s=2.4,
        stop_signal="SIGQUIT",
        user="1000",
        working_dir="/srv",
        hostname="box",
        read_only=True,
        init=True,
        cap_add=("NET_ADMIN",),
        cap_drop=("ALL",),
        security_opt=("no-new-privileges",),
        ulimits=(Ulimit("nofile", 10, 20),),
        sysctls=(("net.core.somaxconn", "1024"),),
        shm_size=2048,
        extra_hosts=(("db", "198.18.0.9"),),
        dns=("198.18.0.1",),
        labels=(("team", "shop"),),
        logging=Logging("json-file", (("max-size", "1m"),)),
        cpu_limit=0.5,
        memory_limit=4096,
        pids_limit=7,
        expose=(9000,),
        target_ports=(8080,),
        host_ports=((53, 5353, "udp"),),
    )
    got = body_of(spec)
    host = got.pop("HostConfig")
    assert (got["Cmd"], got["Entrypoint"]) == (["serve", "--fast"], ["/bin/tini", "--"])
    assert got["Env"] == ["A=1", "B={{ x }}"]
    assert got["ExposedPorts"] == {"9000/tcp": {}, "8080/tcp": {}, "5353/udp": {}}
    assert got["Volumes"] == {"/scratch": {}}
    assert got["Healthcheck"] == {
        "Test": ["CMD", "true"],
        "Interval": 5_000_000_000,
        "Timeout": 500_000_000,
        "StartPeriod": 1_000_000_000,
        "Retries": 2,
    }
    assert (got["User"], got["WorkingDir"], got["Hostname"], got["StopSignal"]) == (
        "1000",
        "/srv",
        "box",
        "SIGQUIT",
    )
    assert got["Labels"]["team"] == "shop"
    assert host == {
        "NetworkMode": "gitops-shop",
        "Binds": ["shop_data:/data:nocopy", "/srv/app:/etc/app:ro"],
        "Tmpfs": {"/tmp": "size=1024,mode=1777"},
        "PortBindings": {"5353/udp": [{"HostPort": "53"}]},
        "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3},
        "ReadonlyRootfs": True,
        "Init": True,
        "CapAdd": ["NET_ADMIN"],
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "Ulimits": [{"Name": "nofile", "Soft": 10, "Hard": 20}],
        "Sysctls": {"net.core.somaxconn": "1024"},
        "ShmSize": 2048,
        "ExtraHosts": ["db:198.18.0.9"],
        "Dns": ["198.18.0.1"],
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m"}},
        "NanoCpus": 500_000_000,
        "Memory": 4096,
        "PidsLimit": 7,
    }


def test_an_empty_command_takes_the_images_away_and_none_leaves_it() -> None:
    assert body_of(ContainerSpec("web:1", entrypoint=(), command=()))["Entrypoint"] == []
    assert "Cmd" not in body_of(ContainerSpec("web:1"))


def test_the_users_labels_cannot_replace_ours() -> None:
    assert (
        body_of(ContainerSpec("web:1", labels=(("gitops.app", "other"),)))["Labels"]["gitops.app"] == "shop"
    )


def test_the_service_file_names_the_volumes_with_their_options() -> None:
    service = Service("web", ContainerSpec("web:1", mounts=(Mount("volume", "/data", "data"),)))
    stack = replace(
        Stack("shop", "a" * 40, (service,)), volumes=(("data", (("type", "nfs"),)), ("other", ()))
    )
    assert json.loads(service_file(stack, service))["volumes"] == {"shop_data": {"type": "nfs"}}


def test_what_is_reserved_is_told_by_labels_and_is_part_of_the_spec() -> None:
    spec = ContainerSpec("web:1", reserved=Size(250, 1024))
    assert body_of(spec)["Labels"].items() >= {"gitops.cpus": "250", "gitops.memory": "1024"}.items()
    assert not {"gitops.cpus", "gitops.memory"} & body_of(ContainerSpec("web:1"))["Labels"].keys()
    assert spec.digest != ContainerSpec("web:1").digest
