"""Whatever commits follow each other and whatever fails meanwhile: the edge serves what is said of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.labs import Lab
from support.sequences import run, world

pytestmark = pytest.mark.lab

COUNT = int(os.environ.get("GITOPS_SEQUENCES", "100"))
SEED = int(os.environ.get("GITOPS_SEED", "1"))


def test_file_running_plan_and_answers_agree_after_every_sequence(lab: Lab, tmp_path: Path) -> None:
    with world(lab, tmp_path) as it:
        for seed in range(SEED, SEED + COUNT):
            print(f"seed {seed}", end=": ", flush=True)  # noqa: T201 - to repeat what failed
            print(run(it, seed))  # noqa: T201 - likewise
        print(f"{it.asking.requests} requests")  # noqa: T201 - a measurement, with pytest -s
