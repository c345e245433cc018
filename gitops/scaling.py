"""One pass that changes counts of replicas: of the good commit, and of nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, replace

from gitops.application import Application
from gitops.journal import Report
from gitops.model.load import Scaling
from gitops.observe.hosts import observe
from gitops.plan.autoscale import counts_of, scaled
from gitops.planning import Terms, plan_for
from gitops.reconcile import Result, held_back, left_half_way, reached, recorded, recover
from gitops.rollout import Interrupted, Rollout


def scale(app: Application, scalings: Iterable[Scaling], interrupted: Interrupted, report: Report) -> Result:
    """Gives services of the good commit other counts of replicas, or leaves them all as they are.

    A count is recorded when it has been brought about and verified. Where that fails what was
    begun is undone; the commit is not at fault, and stays good.

    Args:
        app: the application.
        scalings: what was decided; one whose count has changed since is passed over.
        interrupted: as of `reconcile.Request`.
        report: told of every event of the deployment, in order; must not block.

    Raises:
        TransientError: nothing was changed: something does not answer, or is locked by another controller.
        PermanentError: nothing was changed: a setting is wrong.
    """
    recover(app, report)
    good = app.store.good(app.name)
    if good is None or (why := _held(app)):
        return Result("held", good or "", why if good else "nothing has been deployed yet")
    desired = app.at(good, app.settings_of_good(good))
    channels = app.connections.open(desired.fleet)
    observed = observe(channels, desired.fleet, app.hosts.away)
    present = app.counted(app.resolved(desired, channels, observed), observed)
    terms = Terms(tolerate=app.settings.tolerate_unreachable, jobs=False)
    as_it_is = plan_for(present, present, observed, app.premises, terms)
    if not as_it_is.empty and (why := held_back(app, as_it_is)):
        return Result("held", good, why)
    counts = counts_of(present.stack)
    current = [each for each in scalings if counts.get(each.service) == each.before]
    wanted = {**counts, **{each.service: each.after for each in current}}
    target = replace(present, stack=scaled(present.stack, wanted))
    if target == present:
        return Result("nothing", good)
    app.standby.warm()
    locked = app.connections.locked(app.name, reached(channels, observed.away))
    with locked, recorded(app, good, good, "scale", report, settings=desired.settings) as journal:
        for each in current:
            journal.tell("scale", str(each), data={**asdict(each), "text": str(each)})
        rollout = Rollout(app, target, present, channels, journal, observed.away)
        deployment = rollout.forward(interrupted, terms)
    return Result(deployment.outcome, good, deployment.reason, deployment)


def _held(app: Application) -> str:
    """Why the application is to be left as it is, or empty."""
    if app.store.paused(app.name):
        return "paused"
    last = app.store.last(app.name)
    failed = app.store.quarantined(app.name)
    if (retry := app.store.retries.of(app.name)) is not None:
        failed[retry.commit] = retry.reason
    if last is not None and last.commit in failed and left_half_way(app, last.commit):
        return f"{last.commit[:12]} was left half-way: {failed[last.commit]}"
    return ""
