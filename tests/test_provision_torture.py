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
    # The limit spreads so many agents over a second, within which the first end comes.
    verdict = torture(size=15, ends=6, seed=seed, quiet=True)
    # How fast calls are, and whether the run is over before its last end comes, is the machine's affair here.
    promised = verdict._replace(too_fast=0)
    assert promised.good, f"with the seed {seed}: {verdict}"
    assert verdict.entries == 50
    assert 0 < verdict.ends <= 6
