"""Desired state: what one commit's files say, with every problem at its place."""

from gitops.desired.compose import load

__all__ = ["load"]
