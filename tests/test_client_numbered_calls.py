"""StartListening and StopListening with a Sequence: repeated after a lost answer, and honest about what that shows."""

from __future__ import annotations

import msgspec
import pytest
from requests_made import register, voice

from zego_aigc import Client, Conflict, LocalLimiter, OutcomeUnknown
from zego_aigc.aiagent import AdvancedConfig, CommunicationMode, StartListening
from zego_aigc.calls.retry import RetryPolicy
from zego_aigc.sandbox import Sandbox

pytestmark = pytest.mark.anyio

QUICK = RetryPolicy(max_attempts=3, initial_backoff=0.001, max_backoff=0.01)


async def walkie_talkie(client: Client) -> str:
    await client.call(register())
    mode = AdvancedConfig(communication_mode=CommunicationMode.WALKIE_TALKIE)
    return (await client.call(msgspec.structs.replace(voice(), advanced_config=mode))).agent_instance_id


async def test_a_lost_call_that_had_not_arrived_is_made_by_the_repeat() -> None:
    async with Sandbox() as sandbox, sandbox.client(retry=QUICK, limiter=LocalLimiter(limit=100)) as client:
        instance = await walkie_talkie(client)
        sandbox.faults.on(StartListening).times(1).cut_before_work()
        response = await client.call_with_response(StartListening(agent_instance_id=instance, sequence=1))
        assert (response.attempts, response.result.round) == (2, 1)


async def test_a_repeat_that_is_outdated_by_its_own_first_attempt_is_no_conflict() -> None:
    async with Sandbox() as sandbox, sandbox.client(retry=QUICK, limiter=LocalLimiter(limit=100)) as client:
        instance = await walkie_talkie(client)
        sandbox.faults.on(StartListening).times(1).cut_after_work()
        with pytest.raises(OutcomeUnknown) as caught:
            await client.call(StartListening(agent_instance_id=instance, sequence=1))
        assert isinstance(caught.value.__cause__, Conflict)
        assert caught.value.attempts == 2
        with pytest.raises(Conflict):  # nothing was lost here: somebody else was faster
            await client.call(StartListening(agent_instance_id=instance, sequence=1))
