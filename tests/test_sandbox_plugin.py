"""The fixtures that come with the library, in suites of both async plugins."""

from __future__ import annotations

from importlib.metadata import entry_points

import pytest

pytest_plugins = ["pytester"]

SUITE = """
    import pytest
    from zego_aigc.aiagent import RegisterAgent

    {anyio_backend}

    {mark}
    async def test_a_sandbox_runs(zego_sandbox, zego_client):
        await zego_client.call(RegisterAgent(agent_id="a"))
        assert zego_sandbox.received(RegisterAgent) == [RegisterAgent(agent_id="a")]
        await zego_sandbox.clock.advance(10)

    {mark}
    async def test_each_test_has_its_own(zego_client):
        await zego_client.call(RegisterAgent(agent_id="a"))

    {mark}
    @pytest.mark.zego_sandbox(quota=3)
    async def test_a_marker_chooses_settings(zego_sandbox):
        assert zego_sandbox.app.quotas.agents == 3
        assert zego_sandbox.app.rate_limit == 10

    class TestSettings:
        @pytest.fixture
        def zego_sandbox_settings(self):
            return {{"rate_limit": 4, "quota": 5}}

        {mark}
        @pytest.mark.zego_sandbox(quota=6)
        async def test_a_fixture_chooses_settings_too(self, zego_sandbox):
            assert (zego_sandbox.app.rate_limit, zego_sandbox.app.quotas.agents) == (4, 6)
"""

ANYIO_BACKEND = """@pytest.fixture
    def anyio_backend():
        return "asyncio"
"""


@pytest.fixture
def options(pytester: pytest.Pytester) -> list[str]:
    """What a run needs: the plugin, where the library is used without being installed."""
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n")
    installed = any(point.value == "zego_aigc.pytest_plugin" for point in entry_points(group="pytest11"))
    return [] if installed else ["-p", "zego_aigc.pytest_plugin"]


def test_the_fixtures_work_with_anyio(pytester: pytest.Pytester, options: list[str]) -> None:
    pytester.makepyfile(SUITE.format(mark="@pytest.mark.anyio", anyio_backend=ANYIO_BACKEND))
    pytester.runpytest_inprocess(*options).assert_outcomes(passed=4)


def test_the_fixtures_work_with_pytest_asyncio_in_any_of_its_loops(pytester: pytest.Pytester, options: list[str]) -> None:
    pytest.importorskip("pytest_asyncio")
    marks = {"strict": "@pytest.mark.asyncio", "module": '@pytest.mark.asyncio(loop_scope="module")'}
    pytester.makepyfile(**{f"test_{name}": SUITE.format(mark=mark, anyio_backend="") for name, mark in marks.items()})
    pytester.runpytest_inprocess(*options).assert_outcomes(passed=8)


def test_the_fixtures_work_with_pytest_asyncio_in_auto_mode(pytester: pytest.Pytester, options: list[str]) -> None:
    pytest.importorskip("pytest_asyncio")
    pytester.makepyfile(SUITE.format(mark="", anyio_backend=""))
    pytester.runpytest_inprocess(*options, "--asyncio-mode=auto").assert_outcomes(passed=4)


def test_a_test_that_no_plugin_runs_gets_an_error_that_says_what_to_do(pytester: pytest.Pytester, options: list[str]) -> None:
    pytester.makeini("[pytest]\n")
    pytester.makepyfile("async def test_it(zego_sandbox): pass")
    result = pytester.runpytest_inprocess(*options, "-p", "no:asyncio")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*mark it with pytest.mark.anyio*"])


def test_the_plugin_loads_nothing_heavy(pytester: pytest.Pytester) -> None:
    script = pytester.makepyfile(
        heavy="import sys, zego_aigc.pytest_plugin\nassert not {'aiohttp', 'zego_aigc.sandbox'} & set(sys.modules)"
    )
    assert pytester.runpython(script).ret == 0


def test_a_misspelt_field_in_a_test_is_noted_in_its_report(pytester: pytest.Pytester, options: list[str]) -> None:
    pytester.makepyfile("from zego_aigc.aiagent import LLM\n\n\ndef test_it():\n    LLM(url='u', modle='m')\n")
    result = pytester.runpytest(*options)
    result.stdout.fnmatch_lines(["*modle is not a field; did you mean model?*", "*model is required*"])
