"""The lab's client, under the name that tests know."""

from gitops.lab.load import Load, Report

__all__ = ["Load", "Report"]
