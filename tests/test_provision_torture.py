"""A provisioning that is killed again and again; the long form is ``python -m benchmarks.torture``."""

from __future__ import annotations

import random
import sys

import pytest

from benchmarks.torture import torture


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="kills by signal")
def test_a_fleet_survives_kills_and_lost_answers() -> None:
    seed = random.randrange(10_000)
    verdict = torture(size=12, kills=5, seed=seed, quiet=True)
    assert verdict.good, f"with the seed {seed}: {verdict}"
    assert (verdict.entries, verdict.kills) == (40, 5)
