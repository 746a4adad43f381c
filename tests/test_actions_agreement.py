"""Client and sandbox accept and refuse the same bodies, for the same stated reasons, over a real socket."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from contract_data import ACTION_NAMES, bodies, breaks, plain_body, request_of, values, walk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zego_aigc.client import Client
from zego_aigc.errors import ApiError
from zego_aigc.limits.local_limiter import LocalLimiter
from zego_aigc.sandbox import Sandbox
from zego_aigc.schema import validation
from zego_aigc.schema.actions import ACTIONS

few = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))


@dataclass
class Services:
    """A sandbox without limits of rate and quota, and an event loop in another thread to call it from."""

    portal: BlockingPortal
    sandbox: Sandbox
    client: Client

    def reasons(self, name: str, body: dict[str, Any]) -> str | None:
        """Why the service does not take the body; None if it takes it, whatever comes of it then."""
        message = self.portal.call(self._call, name, body)
        (call,) = self.sandbox.recording.calls
        self.sandbox.recording.calls.clear()
        return None if call.request is not None else message

    async def _call(self, name: str, body: dict[str, Any]) -> str:
        try:
            await self.client.call_raw(name, body)
        except ApiError as error:
            return error.message.partition(": ")[2]  # the sandbox puts the code's name first
        return ""


@pytest.fixture(scope="module")
def services() -> Iterator[Services]:
    with start_blocking_portal() as portal, contextlib.ExitStack() as stack:
        sandbox = Sandbox(rate_limit=None, quota=None)
        stack.enter_context(portal.wrap_async_context_manager(sandbox))
        client = sandbox.client(limiter=LocalLimiter(limit=1_000_000))
        stack.enter_context(portal.wrap_async_context_manager(client))
        yield Services(portal, sandbox, client)


def our_reasons(name: str, body: dict[str, Any]) -> str | None:
    """Why the client would not send the body."""
    problems, _ = validation.validate(ACTIONS[name], body, extra_is_known=True)
    return "; ".join(map(str, problems)) or None


@pytest.mark.parametrize("name", ACTION_NAMES)
def test_both_refuse_every_break_for_the_same_reason(services: Services, name: str) -> None:
    for broken in breaks(name):
        ours = our_reasons(name, broken.body)
        assert ours is not None
        assert services.reasons(name, broken.body) == ours, broken


@pytest.mark.parametrize("name", ACTION_NAMES)
def test_both_accept_the_smallest_body(services: Services, name: str) -> None:
    assert our_reasons(name, plain_body(name)) is None
    assert services.reasons(name, plain_body(name)) is None


@pytest.mark.parametrize("name", ACTION_NAMES)
@few
@given(data=st.data())
def test_both_agree_on_any_body(services: Services, name: str, data: st.DataObject) -> None:
    body = copy.deepcopy(data.draw(bodies(name)))
    assert services.reasons(name, body) is None
    if paths := [(path, spec) for path, spec in walk(request_of(name)) if len(path) == 1]:
        (field,), spec = data.draw(st.sampled_from(paths))
        body[str(field)] = data.draw(
            st.none()
            | values(spec)
            | st.integers(-5, 100_000)
            | st.booleans()
            | st.text(max_size=150)
            | st.lists(st.none(), max_size=9)
        )
    assert services.reasons(name, body) == our_reasons(name, body)
