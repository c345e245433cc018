"""What the commands report, as plain data with stable field names. Pure: everything read is an argument."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gitops.model.deployment import Deployment
from gitops.model.load import Reading
from gitops.model.observed import Container, Observed, ObservedHost
from gitops.model.plan import Place, Plan
from gitops.model.stack import Service
from gitops.plan import steps
from gitops.plan.constraints import unmet
from gitops.plan.drift import Drift, drifts
from gitops.plan.orphans import Orphan
from gitops.reconcile import Result
from gitops.store.retries import Retry

View = dict[str, Any]


def status_view(
    app: str,
    plan: Plan | None,
    observed: Observed,
    *,
    good: str,
    target: str,
    quarantined: Mapping[str, str],
    last: Deployment | None,
    paused: bool,
    message: str,
    changed: Sequence[str] = (),
    readings: Mapping[str, Reading] | None = None,
    retry: Retry | None = None,
    waits_for: str = "",
) -> View:
    """`gitops status APP`.

    Args:
        app: the application's name.
        plan: from what was observed to the commit that should run; None where that is not known.
        observed: the hosts.
        good: the last good commit, or empty.
        target: the newest commit seen on the branch, or empty.
        quarantined: reasons by commit.
        last: the latest deployment.
        paused: whether a person holds the application.
        message: why it is held back, or empty.
        changed: settings that decide what a commit says and are others now, `path: deploy -> ops`.
        readings: of services whose count of replicas follows their load, what was last read.
        retry: the commit that is tried again, as a host was at fault.
        waits_for: what the rollout that runs waits for, such as a person, or empty.
    """
    waits = retry is not None and retry.commit == target and target not in quarantined
    progressing = last is not None and last.outcome == "running"
    containers = observed.containers(app)
    names = _service_names(plan, containers)
    services = [_service_view(plan, name, observed, containers, progressing=progressing) for name in names]
    for view in services:
        service = plan.stack.service(view["name"]) if plan else None
        view["autoscale"] = _autoscale_view(service, (readings or {}).get(view["name"]))
    lost = [host.name for host in observed.hosts if not host.reachable]
    return {
        "app": app,
        "sync": _sync(plan, good, target, lost, changed),
        "health": _health(
            plan,
            services,
            [*lost, *(c.name for c in containers if c.crashing)],
            last=last,
            progressing=progressing,
            paused=paused,
        ),
        "commit": good,
        "target_commit": target,
        "quarantined": sorted(quarantined),
        "quarantine": [
            {"commit": sha, "reason": why}
            for sha, why in sorted(quarantined.items())
            if sha == target or not target
        ],
        "waits": waits_for,
        "retry": _retry_view(retry) if retry is not None and waits else None,
        "message": message,
        "settings_changed": list(changed),
        # What a rollout is about to bring is no drift.
        "drift": _drift_views(plan) if good and not progressing else [],
        "crashing": [
            {"what": f"{c.service}.{c.slot}", "host": c.host, "restarts": c.restarts}
            for c in containers
            if c.crashing
        ],
        "services": services,
        "hosts": [
            {"name": host.name, "state": _host_state(host, plan), "error": host.error}
            for host in observed.hosts
        ],
    }


def _retry_view(retry: Retry) -> View:
    """A commit that failed for a host, and when it is tried again."""
    return {
        "commit": retry.commit,
        "attempts": retry.attempts,
        "next_at": retry.at,
        "host": retry.host,
        "reason": retry.reason,
    }


def orphan_views(found: Sequence[Orphan]) -> list[View]:
    """Applications on hosts that gitops.yaml does not name."""
    return [
        {
            "app": each.app,
            "containers": each.containers,
            "hosts": list(each.hosts),
            "routes": list(each.routes),
            "deployed_here": each.ours,
            "text": str(each),
        }
        for each in found
    ]


def _host_state(host: ObservedHost, plan: Plan | None) -> str:
    if not host.reachable:
        return "unreachable"
    return "drained" if plan and host.name in dict(plan.out) else "ready"


def _drift_views(plan: Plan | None) -> list[View]:
    """What differs from the good commit, and what is left alone for now."""
    found = drifts(plan) if plan else ()
    rests = [Drift(each.rests, "", each.service, each.slot) for each in plan.resting] if plan else []
    return [{"what": each.subject, "host": each.host, "reason": each.reason} for each in (*found, *rests)]


def _sync(plan: Plan | None, good: str, target: str, lost: Sequence[str], changed: Sequence[str]) -> str:
    if plan is None or lost or not target:
        return "unknown"
    return "synced" if plan.empty and good == target and not changed else "out-of-sync"


def _health(
    plan: Plan | None,
    services: Sequence[View],
    troubled: Sequence[str],
    *,
    last: Deployment | None,
    progressing: bool,
    paused: bool,
) -> str:
    if paused:
        return "suspended"
    if progressing:
        return "progressing"
    if plan is None:
        return "unknown"
    short = any(service["healthy"] < service["desired"] for service in services)
    done_without = last is not None and last.degraded and last.commit == plan.commit and not plan.empty
    return "degraded" if short or troubled or done_without else "healthy"


def _service_names(plan: Plan | None, containers: Sequence[Container]) -> list[str]:
    wanted = [service.name for service in plan.stack.services] if plan else []
    return [*wanted, *sorted({c.service for c in containers} - set(wanted))]


def _everywhere(plan: Plan, service: Service, observed: Observed) -> int:
    """On how many hosts a global service runs: all that are not to be empty, and meet its constraints."""
    out = dict(plan.out)
    return sum(
        host.name not in out and not unmet(service, host, observed.host(host.name))
        for host in plan.whole_fleet.container_hosts
    )


def _service_view(
    plan: Plan | None,
    name: str,
    observed: Observed,
    containers: Sequence[Container],
    *,
    progressing: bool,
) -> View:
    """One service. An engine says `starting` until its first own check, long after ours has passed.

    Of a job none is desired to run; what counts is how many of its runs have finished.
    """
    fine = {"none", "healthy"} if progressing else {"none", "healthy", "starting"}
    service = plan.stack.service(name) if plan else None
    own = [c for c in containers if c.service == name]
    desired = 0
    if plan and service:
        desired = _everywhere(plan, service, observed) if service.mode == "global" else service.replicas
        desired = 0 if service.job else desired
    image, _, digest = (service.container.image if service else (own[0].image if own else "")).partition("@")
    return {
        "name": name,
        "image": image,
        "digest": digest,
        "desired": desired,
        "running": sum(c.running for c in own),
        "healthy": sum(c.running and c.health in fine for c in own),
        "job": service.job.when if service and service.job else None,
        "finished": sum(c.finished for c in own),
        "replicas": [
            {
                "slot": c.slot,
                "host": c.host,
                "container": c.name,
                "id": c.id,
                "state": _state(c),
                "restarts": c.restarts or 0,
                "port": c.ports[0][1] if c.ports else None,
                "commit": c.commit,
            }
            for c in sorted(own, key=lambda c: (c.slot, c.host, c.name))
        ],
    }


def _autoscale_view(service: Service | None, reading: Reading | None) -> View | None:
    """The bounds, the count within them, and what was last read for one replica."""
    if service is None or service.autoscale is None:
        return None
    bounds = service.autoscale
    return {
        "count": service.replicas,
        "min": bounds.min,
        "max": bounds.max,
        "read_at": reading.at if reading else "",
        "targets": [
            {
                "metric": metric,
                "target": target,
                "reading": round(reading.values[metric], 3) if reading and metric in reading.values else None,
            }
            for metric, target in bounds.targets
        ],
    }


def _state(container: Container) -> str:
    if container.job:
        return "finished" if container.finished else container.state
    return container.state if container.health == "none" else f"{container.state} ({container.health})"


def history_view(
    app: str,
    deployments: Sequence[Deployment],
    said: Mapping[str, Sequence[View]],
    scaled: Mapping[str, Sequence[View]] | None = None,
    healed: Mapping[str, Sequence[View]] | None = None,
) -> View:
    """`gitops history APP`: newest first.

    Args:
        app: the application's name.
        deployments: their records.
        said: by the id of a deployment, what its jobs have said.
        scaled: by the id of a deployment, which counts of replicas it was to change, and why.
        healed: likewise, what it has mended or tried to, where it deployed nothing new.
    """
    views = [
        {
            **deployment_view(each),
            "jobs": list(said.get(each.id, ())),
            "scaled": list((scaled or {}).get(each.id, ())),
            "drift": list((healed or {}).get(each.id, ())),
        }
        for each in deployments
    ]
    return {"app": app, "deployments": views}


def deployment_view(deployment: Deployment) -> View:
    """One deployment."""
    return {
        "id": deployment.id,
        "commit": deployment.commit,
        "previous_commit": deployment.previous_commit,
        "outcome": deployment.outcome,
        "degraded": deployment.degraded,
        "state": deployment.state,
        "reason": deployment.reason,
        "trigger": deployment.trigger,
        "started_at": deployment.started_at,
        "finished_at": deployment.finished_at,
        "duration_s": round(deployment.duration_s, 3),
        "phases": _phases(deployment),
        "changes": {
            "started": deployment.changes.started,
            "stopped": deployment.changes.stopped,
            "kept": deployment.changes.kept,
        },
    }


def _phases(deployment: Deployment) -> dict[str, float]:
    """Seconds by phase; one that was gone through again, without a lost host, counts in all."""
    total: dict[str, float] = {}
    for name, seconds in deployment.phases:
        total[name] = total.get(name, 0.0) + seconds
    return {name: round(seconds, 3) for name, seconds in total.items()}


def plan_view(plan: Plan, observed: Observed, finals: Mapping[Place, str], held: str = "") -> View:
    """`gitops plan APP`; of each place the diff is that of its first host, as all have the same fragment."""
    diff = [line for place, text in finals.items() for line in _diff(plan.app, place, text, observed)]
    return {
        "app": plan.app,
        "commit": plan.commit,
        "from_commit": plan.from_commit,
        "changes": plan.changes,
        "held": held,
        "absent": [{"host": each.host.name, "reason": each.reason} for each in plan.absent],
        "bound": [
            {"service": keep.service, "slot": keep.slot, "host": keep.host, "reason": keep.reason}
            for keep in plan.bound
        ],
        "waiting": [
            {"service": each.service, "slot": each.slot, "reason": each.reason} for each in plan.waiting
        ],
        "notes": plan.notes,
        "steps": [
            {
                "batch": step.batch,
                "action": step.action,
                "service": step.service,
                "slot": step.slot,
                "host": step.host,
                "reason": step.reason,
            }
            for step in steps(plan)
        ],
        "haproxy_diff": "\n".join(diff),
    }


def _diff(app: str, place: Place, final: str, observed: Observed) -> Iterator[str]:
    """What changes in a place's part of haproxy.cfg."""
    state = observed.host(place.hosts[0])
    current = dict(state.fragments).get(app, "") if state else ""
    of = f"haproxy.cfg of {', '.join(place.hosts)}"
    return difflib.unified_diff(
        current.splitlines(), final.splitlines(), f"{of} now", f"{of} planned", lineterm=""
    )


def result_view(result: Result) -> View:
    """`gitops sync` and `gitops rollback`."""
    return {
        "outcome": result.outcome,
        "commit": result.commit,
        "message": result.message,
        "deployment": deployment_view(result.deployment) if result.deployment else None,
    }
