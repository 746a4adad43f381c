"""What the agent says: a model of the app's own, which the service asks at ``/model``.

``examples/own_model.py`` shows how to pass an OpenAI-compatible upstream through instead.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from zego_aigc.llm import ChatRequest

GREETING = "Hello! Ask me about our opening hours, or about the weather."


async def answer(request: ChatRequest) -> AsyncIterator[str]:
    """Word by word, as a model's answers come. It is cancelled when the visitor cuts in."""
    question = request.text.lower()
    if "hour" in question or "open" in question:
        text = "We are open from nine to six, on Saturdays until four. Is there anything else?"
    elif "weather" in question:
        text = "It is sunny, with a light breeze. A good day for a walk."
    else:
        text = f"You said: {request.text}. I can tell you about our opening hours, or about the weather."
    for word in text.split(" "):
        yield f"{word} "
        await asyncio.sleep(0.02)
