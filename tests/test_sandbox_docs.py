"""The tests that docs/testing.md shows pass as they are printed."""

from __future__ import annotations

import re
from importlib.metadata import entry_points
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

PAGE = Path(__file__).parent.parent / "docs" / "testing.md"

PREAMBLE = """
from zego_aigc import OutcomeUnknown
from zego_aigc.aiagent import LLM, TTS, GetAgentInstanceMsgList

VOICE_OF_GUIDE = TTS(vendor="MiniMax", params={"app": {"api_key": "k"}})
"""


def test_the_tests_on_the_page_pass(pytester: pytest.Pytester) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    tests = [block for block in blocks if "async def test_" in block]
    assert len(tests) == 5
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n")
    pytester.makepyfile(PREAMBLE + "\n".join(tests))
    installed = any(point.value == "zego_aigc.pytest_plugin" for point in entry_points(group="pytest11"))
    options = [] if installed else ["-p", "zego_aigc.pytest_plugin"]
    pytester.runpytest_inprocess(*options).assert_outcomes(passed=6)
