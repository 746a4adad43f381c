"""Fixtures for suites of pytest: ``zego_sandbox``, a running sandbox, and ``zego_client``, a client of it.

They work in tests run by anyio's plugin and by pytest-asyncio, each test with a sandbox of its own. Settings come from a
marker, ``@pytest.mark.zego_sandbox(quota=3)``, or for many tests from a fixture ``zego_sandbox_settings`` of your own.

The module is loaded in every pytest run of an environment that has the library: it must stay light.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, Literal, get_args

import pytest

if TYPE_CHECKING:
    from zego_aigc.client import Client
    from zego_aigc.sandbox import Sandbox

LoopScope = Literal["function", "class", "module", "package", "session"]


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", "zego_sandbox(**settings): settings of the test's sandbox, as for Sandbox(...)")


@pytest.fixture
def zego_sandbox_settings() -> dict[str, Any]:
    """Settings of every test's sandbox, as for ``Sandbox(...)``. Define a fixture of this name to choose them."""
    return {}


@pytest.fixture
def zego_sandbox(request: pytest.FixtureRequest) -> Sandbox:
    """A running :class:`zego_aigc.sandbox.Sandbox`, the test's own, in the test's event loop."""
    sandbox: Sandbox = request.getfixturevalue(f"_zego_sandbox_{_runner(request)}")
    return sandbox


@pytest.fixture
def zego_client(request: pytest.FixtureRequest) -> Client:
    """An open :class:`zego_aigc.Client` of the test's sandbox."""
    client: Client = request.getfixturevalue(f"_zego_client_{_runner(request)}")
    return client


def _sandbox_opener() -> Callable[..., AsyncIterator[Sandbox]]:
    async def open_sandbox(request: pytest.FixtureRequest, zego_sandbox_settings: dict[str, Any]) -> AsyncIterator[Sandbox]:
        from zego_aigc.sandbox import Sandbox

        marker = request.node.get_closest_marker("zego_sandbox")
        settings: dict[str, Any] = {**zego_sandbox_settings, **(marker.kwargs if marker else {})}
        async with Sandbox(**settings) as sandbox:
            yield sandbox

    return open_sandbox


def _client_opener() -> Callable[..., AsyncIterator[Client]]:
    async def open_client(zego_sandbox: Sandbox) -> AsyncIterator[Client]:
        async with zego_sandbox.client() as client:
            yield client

    return open_client


def _runner(request: pytest.FixtureRequest) -> str:
    """Which of the fixtures below runs in the event loop of the test that asks."""
    if "anyio_backend" in request.fixturenames:
        return "anyio"
    if not request.config.pluginmanager.hasplugin("asyncio"):
        pytest.fail("zego_sandbox runs in an event loop: write an async test and mark it with pytest.mark.anyio", pytrace=False)
    marker = request.node.get_closest_marker("asyncio")
    scope = marker.kwargs.get("loop_scope") if marker else None
    return f"asyncio_{scope or _default_scope(request.config)}"


def _default_scope(config: pytest.Config) -> str:
    try:
        return str(config.getini("asyncio_default_test_loop_scope") or "function")
    except (KeyError, ValueError):  # older versions of pytest-asyncio do not have it
        return "function"


# An async fixture belongs to one plugin and, with pytest-asyncio, to one of its loops. Both are noted on the function
# itself, so each fixture is made of a function of its own.
_zego_sandbox_anyio = pytest.fixture(name="_zego_sandbox_anyio")(_sandbox_opener())
_zego_client_anyio = pytest.fixture(name="_zego_client_anyio")(_client_opener())

try:
    from pytest_asyncio import fixture as _asyncio_fixture
except ImportError:
    pass  # a suite run by anyio's plugin needs it as little as this one does
else:
    for _scope in get_args(LoopScope):
        for _name, _opener in (("_zego_sandbox", _sandbox_opener), ("_zego_client", _client_opener)):
            _declare: Any = _asyncio_fixture(loop_scope=_scope, name=f"{_name}_asyncio_{_scope}")
            globals()[f"{_name}_asyncio_{_scope}"] = _declare(_opener())
