"""A budget's places come back, whatever becomes of the conversations that held them."""

from __future__ import annotations

import pytest

from benchmarks import quota_soak

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


async def test_after_faults_and_cancellations_no_place_is_taken_and_nothing_lives() -> None:
    verdict = await quota_soak.soak(2000, seed=1)
    assert (verdict.taken, verdict.living) == (0, 0)
    assert verdict.calls >= 2000
