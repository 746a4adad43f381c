"""What all tests share: asyncio as the backend of ``pytest.mark.anyio`` tests, and hypothesis without a stopwatch."""

from __future__ import annotations

import hypothesis
import pytest

# The machines that run this are shared: how long an example takes says nothing about the code.
hypothesis.settings.register_profile("shared machine", deadline=None)
hypothesis.settings.load_profile("shared machine")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
