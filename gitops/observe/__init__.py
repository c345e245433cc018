"""Observation: what the hosts say, read through their channels, side by side."""
