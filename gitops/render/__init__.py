"""From a plan to files: playbook, inventory, haproxy.cfg. Pure: the same plan gives the same bytes."""

from __future__ import annotations

from gitops.render.deployment import ansible_cfg, deployment

__all__ = ["ansible_cfg", "deployment"]
