"""A provisioning that is ended again and again, in every way; the long form is ``python -m benchmarks.torture``."""

from __future__ import annotations

import random
import sys

import pytest

from benchmarks.torture import torture


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="kills by signal")
def test_a_fleet_survives_every_end_of_its_process_and_lost_answers() -> None:
    seed = random.randrange(10_000)
    verdict = torture(size=12, ends=6, seed=seed, quiet=True)
    assert verdict.good, f"with the seed {seed}: {verdict}"
    assert (verdict.entries, verdict.ends) == (40, 6)
