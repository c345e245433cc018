"""One-off jobs: `deploy.mode: replicated-job`, `x-job` and `x-fence`."""

from __future__ import annotations

from typing import cast

from gitops.desired.fields import Fields
from gitops.desired.problems import quoted
from gitops.model.stack import Job, RestartPolicy, When

MODE = "replicated-job"
_TIMEOUT_S = 600.0
_MOMENTS = ("pre-deploy", "in-order", "post-deploy")


def parse_job(service: Fields, deploy: Fields | None, mode: str) -> Job | None:
    """Reads what makes a service a job, and refuses what a job cannot have; None for what stays up.

    Args:
        service: the service.
        deploy: its `deploy`, or None.
        mode: what `deploy.mode` says, or empty.
    """
    # A bare `x-job:` is told to be no mapping: as an absent one it would leave a service that stays up.
    node = service.node.entries.get("x-job")
    fields = Fields(node, "x-job", service.at("x-job"), service.problems) if node else None
    fence = bool(service.boolean("x-fence"))
    if fields is None and mode != MODE:
        if fence:
            service.wrong("x-fence", "only a job is a fence", "`x-job` makes it one")
        return None
    if fields and deploy and mode not in {"", MODE}:
        deploy.wrong("mode", f"{quoted(mode)}, but `x-job` makes it a `{MODE}`", "leave one of them out")
    _refuse(service, deploy)
    return Job("in-order", _TIMEOUT_S, fence) if fields is None else _job(fields, fence=fence)


def _job(fields: Fields, *, fence: bool) -> Job:
    when = fields.choice("when", _MOMENTS) or "pre-deploy"
    timeout = fields.seconds("timeout")
    if timeout == 0:
        fields.wrong("timeout", "a job needs time", "leave it out for 10m")
    return Job(cast("When", when), _TIMEOUT_S if timeout is None else timeout, fence)


def _refuse(service: Fields, deploy: Fields | None) -> None:
    """What has no meaning for something that ends and is never served."""
    for fields, key, why in (
        (service, "ports", "a job is never served"),
        (service, "x-ingress", "a job is never served"),
        (service, "x-expose-to", "a job is never served"),
        (service, "x-rollout", "a job is run, not replaced"),
        (deploy, "update_config", "a job is run, not replaced"),
        (deploy, "rollback_config", "a job is run, not replaced"),
    ):
        if fields and fields.get(key):
            fields.problems.report(f"{fields.at(key)}: {why}", fields.place(key), "leave it out")


def never_restarted(service: Fields, deploy: Fields | None, given: RestartPolicy) -> RestartPolicy:
    """The restart policy of a job; reports another one that it was explicitly given."""
    policy = deploy if deploy and deploy.get("restart_policy") else None
    fields, key = (policy, "restart_policy") if policy else (service, "restart")
    if fields.get(key) and given.name != "no":
        hint = "leave it out: a job that failed fails the deployment"
        fields.problems.report(f"{fields.at(key)}: a job is not restarted", fields.place(key), hint)
    return RestartPolicy("no")
