"""Print what is said, from callbacks.

The program has its own sandbox, which sends callbacks as the service does: signed, to the address that is set for it.
"""

import asyncio

from aiohttp import web

from zego_aigc.aiagent import LLM, RTC, TTS, CallbackConfig, RegisterAgent
from zego_aigc.callbacks import ASRResult, CallbackRouter, Event, LLMResult
from zego_aigc.sandbox import DEFAULT_CALLBACK_SECRET, Sandbox

GUIDE = RegisterAgent(
    agent_id="guide", llm=LLM.zego_test("qwen"), tts=TTS.minimax(api_key="zego_test", voice_id="female-shaonv")
)
router = CallbackRouter(secret=DEFAULT_CALLBACK_SECRET)


@router.on(ASRResult)
async def heard(event: ASRResult) -> None:
    print("user: ", event.data.text)


@router.on(LLMResult)
async def said(event: LLMResult) -> None:
    print("agent:", event.data.text)


async def main() -> None:
    app = web.Application()
    app.router.add_post("/callbacks", router.aiohttp_handler)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        async with router, Sandbox(callback_url=f"{site.name}/callbacks") as sandbox, sandbox.client() as client:
            router.on(Event)(client.observe)  # so that joined() is heard of
            await client.ensure_agent(GUIDE)
            async with client.agent(
                agent_id="guide",
                user_id="visitor",
                rtc=RTC.for_user("visitor"),
                callback_config=CallbackConfig(asr_result=1, llm_result=1),
            ) as agent:
                await agent.joined()
                sandbox.user_speaks("Where are the dinosaurs?")  # a person would
                await sandbox.clock.advance(10)
                await sandbox.settled()
    finally:
        await runner.cleanup()


asyncio.run(main())
