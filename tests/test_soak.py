"""A soak with random faults. ``ZEGO_SOAK=20000`` makes it the long one; ``python tests/soaking.py`` runs it by itself."""

from __future__ import annotations

import os

import pytest
from soaking import soak

pytestmark = pytest.mark.anyio


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
async def test_after_a_soak_with_random_faults_the_services_books_and_the_clients_are_equal(seed: int) -> None:
    calls = int(os.environ.get("ZEGO_SOAK", "600"))
    books = await soak(calls, seed=seed)
    assert books.calls >= calls
    assert books.endings["done"] > calls / 2
    assert {"OutcomeUnknown", "cancelled"} <= books.endings.keys()
