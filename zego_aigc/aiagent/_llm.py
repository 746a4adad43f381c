"""The language model that thinks for an agent."""

# ruff: noqa: PYI051 - known names help completion; any other string passes too
from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from zego_aigc.schema.actions import Wire
from zego_aigc.schema.constraints import Advice, Number, Secret, Text

__all__ = ["LLM", "RegisteredLLM"]

TRIAL_KEY = "zego_test"
"""Stands in for credentials during the two weeks after the service was activated."""

TRIAL_MODELS: Mapping[str, tuple[str, ...]] = {
    "https://api.minimax.chat/v1/text/chatcompletion_v2": ("MiniMax-Text-01",),
    "https://ark.cn-beijing.volces.com/api/v3/chat/completions": (
        "doubao-1-5-pro-32k-250115",
        "doubao-1-5-lite-32k-250115",
    ),
    "https://dashscope.aliyuncs.com/compatible-mode/v1/chat/completions": ("qwen-plus",),
    "https://api.stepfun.com/v1/chat/completions": ("step-2-16k",),
}
"""The models that the vendor lists for the trial key, by Url."""


class LLM(Wire, frozen=True, kw_only=True):
    """The language model behind an agent: any endpoint that speaks OpenAI's protocol, a provider's or your own."""

    vendor: Literal["OpenAIChat", "OpenAIResponses"] | str | None = None
    """The protocol of the endpoint: ``OpenAIChat`` for chat completions (default), ``OpenAIResponses`` for responses."""
    url: Annotated[str, Text(min_chars=1)]
    """The endpoint that is asked for every answer."""
    api_key: Annotated[str, Secret()] | None = None
    """The key that the endpoint wants, sent to it as a bearer token. Leave it out only for an endpoint of your own.
    ``zego_test`` works with the listed endpoints and models for two weeks after activation."""
    model: Annotated[str, Text(min_chars=1)]
    """The model's name at that endpoint."""
    system_prompt: str | None = None
    """What the model is told ahead of every conversation: its role, its rules, examples."""
    temperature: Annotated[float, Number(0, 2)] | None = None
    """0 to 2, default 0.7. Higher is more random."""
    top_p: Annotated[float, Number(0, 1)] | None = None
    """0 to 1, default 0.9. Lower keeps to the likelier words."""
    params: Mapping[str, Any] | None = None
    """More of the endpoint's own parameters, passed on as they are, such as ``{"max_tokens": 200}``."""
    add_agent_info: bool | None = None
    """Whether requests to the endpoint carry ``agent_info`` (ids of room, user and instance); default ``False``.
    Only with ``OpenAIChat``."""
    agent_extra_info: Mapping[str, Any] | None = None
    """A map of your own that requests to the endpoint carry as ``agent_extra_info``. Only with ``OpenAIChat``."""

    def rules(self) -> Iterable[Advice]:
        """Rules between the fields.

        - Advice: providers want an ApiKey.
        - Advice: the trial key works with listed endpoints and models only.
        - Advice: AddAgentInfo and AgentExtraInfo have no effect with OpenAIResponses.
        """
        if self.api_key and self.api_key != TRIAL_KEY and self.vendor != "OpenAIResponses":
            return ()
        return self._advice()

    def _advice(self) -> Iterable[Advice]:
        if not self.api_key:
            yield Advice("LLM.ApiKey is not set: right for an endpoint of your own, but providers want one")
        if self.api_key == TRIAL_KEY and self.model not in TRIAL_MODELS.get(self.url, ()):
            yield Advice(
                "LLM.Url with LLM.Model is not on the vendor's list for the trial key zego_test; "
                "the service may answer 410001047"
            )
        if self.vendor == "OpenAIResponses" and (self.add_agent_info or self.agent_extra_info):
            yield Advice("LLM.AddAgentInfo and LLM.AgentExtraInfo have no effect with OpenAIResponses")


class RegisteredLLM(LLM, frozen=True, kw_only=True):
    """The language model as the service returns it, with nothing required.

    It is an :class:`LLM`, so it may go back in an update. Fields that this library does not know are not in it: to keep
    them, build an ``LLM.from_wire()`` from the raw data that ``client.call_with_response()`` gives.
    """

    url: str = ""
    """The endpoint that is asked for every answer."""
    model: str = ""
    """The model's name at that endpoint."""
