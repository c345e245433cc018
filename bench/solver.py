"""How few hosts would do, as OR-tools' CP-SAT finds or proves it. Runs in an environment of its own.

    solver.py < fleets.json > results.json

Each fleet: `hosts` and `containers` as [cores, memory] in units, containers with a count, and the
number of hosts that are `known` to do. Each result: the fewest hosts found, and the fewest that are possible.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from ortools.sat.python import cp_model  # type: ignore[import-not-found] # not in the tests' environment

LIMIT_S = 10.0


def solve(fleet: dict[str, Any]) -> dict[str, int]:
    """The fewest hosts found, and a bound below which there is no way."""
    hosts, containers, known = fleet["hosts"], fleet["containers"], fleet["known"]
    model = cp_model.CpModel()
    used = [model.new_bool_var("") for _ in hosts]
    there = [[model.new_int_var(0, count, "") for _ in hosts] for *_, count in containers]
    for (*_, count), row in zip(containers, there, strict=True):
        model.add(sum(row) == count)
    for number, whole in enumerate(hosts):
        for kind in (0, 1):
            taken = sum(c[kind] * row[number] for c, row in zip(containers, there, strict=True))
            model.add(taken <= whole[kind] * used[number])
    first: dict[tuple[int, ...], int] = {}
    for number, whole in enumerate(hosts):  # of hosts that are alike the first ones are used
        before = first.get(tuple(whole))
        if before is not None:
            model.add(used[before] >= used[number])
        first[tuple(whole)] = number
    model.add(sum(used) <= known)
    model.minimize(sum(used))
    solver = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds = LIMIT_S
    status = solver.solve(model)
    found = round(solver.objective_value) if status in {cp_model.OPTIMAL, cp_model.FEASIBLE} else known
    bound = -int(-solver.best_objective_bound // 1) if status != cp_model.UNKNOWN else 0
    return {"found": found, "bound": max(bound, _least(hosts, containers))}


def _least(hosts: list[list[int]], containers: list[list[int]]) -> int:
    """The largest hosts that have, taken together, what all containers need."""
    least = 0
    for kind in (0, 1):
        need = sum(container[kind] * container[2] for container in containers)
        number = 0
        for whole in sorted((host[kind] for host in hosts), reverse=True):
            if need <= 0:
                break
            need -= whole
            number += 1
        least = max(least, number)
    return least


if __name__ == "__main__":
    json.dump([solve(fleet) for fleet in json.load(sys.stdin)], sys.stdout)
