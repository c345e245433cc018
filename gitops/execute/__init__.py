"""Runs a rendered deployment with ansible-runner, and tells what happened as data."""
