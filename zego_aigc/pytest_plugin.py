"""Fixtures for suites of pytest.

``zego_sandbox``, a running sandbox, and ``zego_client``, a client of it, are for coroutine tests, run by anyio's plugin or by
pytest-asyncio, and run in the test's event loop. ``zego_live_sandbox`` runs in a thread of its own: for synchronous tests, and
for those whose app is called by a client that blocks. ``zego_session_sandbox`` is one such for the whole session.

Each test has a sandbox of its own. Settings come from a marker, ``@pytest.mark.zego_sandbox(quota=3)``, or for many tests from
a fixture ``zego_sandbox_settings`` of your own; those of the session's from ``zego_session_sandbox_settings``.

The module is loaded in every pytest run of an environment that has the library: it must stay light.
"""

from __future__ import annotations

import inspect
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import pytest

if TYPE_CHECKING:
    from zego_aigc.client import Client
    from zego_aigc.sandbox import LiveSandbox, Sandbox, SandboxSettings

LoopScope = Literal["function", "class", "module", "package", "session"]


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", "zego_sandbox(**settings): settings of the test's sandbox, as for Sandbox(...)")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> None:
    """Note on the error of a request that a test wrote down wrongly what is wrong with it, as a client's block does."""
    if (
        call.excinfo is not None
        and call.excinfo.errisinstance((TypeError, AttributeError))
        and "zego_aigc.schema.actions" in sys.modules
    ):
        from zego_aigc.schema.construction import note_mistake

        note_mistake(call.excinfo.value)


@pytest.fixture
def zego_sandbox_settings() -> SandboxSettings:
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


@pytest.fixture
def zego_live_sandbox(request: pytest.FixtureRequest, zego_sandbox_settings: SandboxSettings) -> Iterator[LiveSandbox]:
    """A :class:`zego_aigc.sandbox.LiveSandbox`, the test's own: in a thread, with ``url``, ``env`` and synchronous control."""
    from zego_aigc.sandbox import LiveSandbox

    with LiveSandbox(**_settings(request, zego_sandbox_settings)) as live:
        yield live


@pytest.fixture(scope="session")
def zego_session_sandbox_settings() -> SandboxSettings:
    """Settings of the session's sandbox, as for ``Sandbox(...)``. Define a fixture of this name to choose them."""
    return {}


@pytest.fixture(scope="session")
def zego_session_sandbox(zego_session_sandbox_settings: SandboxSettings) -> Iterator[LiveSandbox]:
    """A :class:`zego_aigc.sandbox.LiveSandbox` that all tests of the session share."""
    from zego_aigc.sandbox import LiveSandbox

    with LiveSandbox(**zego_session_sandbox_settings) as live:
        yield live


def _settings(request: pytest.FixtureRequest, settings: SandboxSettings) -> SandboxSettings:
    marker = request.node.get_closest_marker("zego_sandbox")
    chosen: SandboxSettings = {**settings}
    if marker is not None:
        chosen.update(cast("SandboxSettings", marker.kwargs))
    return chosen


def _sandbox_opener() -> Callable[..., AsyncIterator[Sandbox]]:
    async def open_sandbox(request: pytest.FixtureRequest, zego_sandbox_settings: SandboxSettings) -> AsyncIterator[Sandbox]:
        from zego_aigc.sandbox import Sandbox
        from zego_aigc.sandbox.watchdog import Watchdog

        async with Sandbox(**_settings(request, zego_sandbox_settings)) as sandbox:
            assert sandbox.listening is not None
            watchdog = Watchdog(sandbox.listening, threading.get_ident())
            watchdog.start()
            try:
                yield sandbox
            finally:
                watchdog.stop()

    return open_sandbox


def _client_opener() -> Callable[..., AsyncIterator[Client]]:
    async def open_client(zego_sandbox: Sandbox) -> AsyncIterator[Client]:
        async with zego_sandbox.client() as client:
            yield client

    return open_client


def _runner(request: pytest.FixtureRequest) -> str:
    """Which of the fixtures below runs in the event loop of the test that asks."""
    function = getattr(request.node, "function", None)
    if function is not None and not inspect.iscoroutinefunction(inspect.unwrap(function)) and not _is_async(request):
        pytest.fail(
            f"{request.node.name} is synchronous, and zego_sandbox runs in a test's event loop: use zego_live_sandbox, "
            "or write an async test",
            pytrace=False,
        )
    if "anyio_backend" in request.fixturenames:
        return "anyio"
    if not request.config.pluginmanager.hasplugin("asyncio"):
        pytest.fail("zego_sandbox runs in an event loop: write an async test and mark it with pytest.mark.anyio", pytrace=False)
    marker = request.node.get_closest_marker("asyncio")
    scope = marker.kwargs.get("loop_scope") if marker else None
    return f"asyncio_{scope or _default_scope(request.config)}"


def _is_async(request: pytest.FixtureRequest) -> bool:
    """Whether a test that is no coroutine function runs in a loop all the same: hypothesis wraps those that it calls."""
    inner = getattr(getattr(request.node.function, "hypothesis", None), "inner_test", None)
    return inner is not None and inspect.iscoroutinefunction(inner)


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
