"""From a plan to files: playbook, inventory, haproxy.cfg. Pure: the same plan gives the same bytes.

Imported piece by piece: the program of a playbook needs `edge` alone, and waits for every import.
"""
