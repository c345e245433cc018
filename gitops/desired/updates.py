"""`update_config` and `rollback_config` of a service: how a version takes the place of another."""

from __future__ import annotations

from typing import cast

from gitops.desired.fields import Fields
from gitops.model.stack import FailureAction, Order, UpdateConfig

_ACTIONS = ("rollback", "pause", "continue")


def parse_update(deploy: Fields | None, order: Order) -> UpdateConfig:
    """Reads `update_config`; `order` is the one where it states none."""
    fields = deploy.child("update_config", "update_config") if deploy else None
    default = UpdateConfig(order=order)
    return _read(fields, default, _ACTIONS) if fields else default


def parse_rollback(deploy: Fields | None, update: UpdateConfig) -> UpdateConfig:
    """Reads `rollback_config`; a way back is in a hurry, else it goes as the update does."""
    fields = deploy.child("rollback_config", "rollback_config") if deploy else None
    default = UpdateConfig(0, update.order, update.monitor_s, "pause")
    given = fields.get("failure_action") if fields else None
    if fields and given and given.value == "rollback":
        message = f"{fields.at('failure_action')}: a rollback is not rolled back"
        fields.problems.report(message, given.where, "`pause` or `continue`", last=True)
    return _read(fields, default, _ACTIONS[1:]) if fields else default


def _read(fields: Fields, default: UpdateConfig, actions: tuple[str, ...]) -> UpdateConfig:
    parallelism, monitor = fields.integer("parallelism"), fields.seconds("monitor")
    return UpdateConfig(
        default.parallelism if parallelism is None else parallelism,
        cast("Order", fields.choice("order", ("start-first", "stop-first")) or default.order),
        default.monitor_s if monitor is None else monitor,
        cast("FailureAction", fields.choice("failure_action", actions) or default.failure_action),
        fields.seconds("delay") or 0.0,
        fields.ratio("max_failure_ratio"),
    )
