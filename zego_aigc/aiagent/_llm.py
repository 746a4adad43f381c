"""The language model that thinks for an agent."""

# ruff: noqa: PYI051 - known names help completion; any other string passes too
from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self, TypedDict

from zego_aigc.errors import InvalidRequest, Problem
from zego_aigc.schema.actions import Wire
from zego_aigc.schema.constraints import Advice, Number, OneOf, Secret, Text
from zego_aigc.schema.naming import did_you_mean

if TYPE_CHECKING:
    from typing import Unpack

__all__ = ["LLM", "LLMOptions", "RegisteredLLM"]

TRIAL_KEY = "zego_test"
"""Stands in for credentials during the two weeks after the service was activated."""

OPENAI_URL = "https://api.openai.com/v1/chat/completions"

Provider = Literal["minimax", "doubao", "qwen", "stepfun"]
"""Whom the trial key stands for: MiniMax, Doubao of Volcano Engine, Qwen of Aliyun, Stepfun."""


class Trial(NamedTuple):
    """A provider's endpoint, and its models that the trial takes."""

    url: str
    models: tuple[str, ...]


TRIALS: Mapping[Provider, Trial] = {
    "minimax": Trial("https://api.minimax.chat/v1/text/chatcompletion_v2", ("MiniMax-Text-01",)),
    "doubao": Trial(
        "https://ark.cn-beijing.volces.com/api/v3/chat/completions",
        ("doubao-1-5-pro-32k-250115", "doubao-1-5-lite-32k-250115"),
    ),
    "qwen": Trial("https://dashscope.aliyuncs.com/compatible-mode/v1/chat/completions", ("qwen-plus",)),
    "stepfun": Trial("https://api.stepfun.com/v1/chat/completions", ("step-2-16k",)),
}
"""What the vendor lists for the trial key."""

TRIAL_MODELS: Mapping[str, tuple[str, ...]] = {trial.url: trial.models for trial in TRIALS.values()}
"""The models that the vendor lists for the trial key, by Url."""


class LLMOptions(TypedDict, total=False):
    """What the constructors for the providers take beside key and model: the other fields of :class:`LLM`."""

    system_prompt: str | None
    temperature: float | None
    top_p: float | None
    params: Mapping[str, Any] | None
    add_agent_info: bool | None
    agent_extra_info: Mapping[str, Any] | None
    extra: Mapping[str, Any] | None


class LLM(Wire, frozen=True, kw_only=True):
    """The language model behind an agent: any endpoint that speaks OpenAI's protocol, a provider's or your own.

    ``LLM.openai()`` and its siblings know the address of each provider, ``LLM.zego_test()`` the models of the trial, and
    ``LLM(url=..., model=...)`` takes your own endpoint.
    """

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

    @classmethod
    def openai(cls, *, api_key: str, model: str, **options: Unpack[LLMOptions]) -> Self:
        """OpenAI's chat completions.

        Args:
            api_key: the key of your account there.
            model: the model's name there.
            **options: the other fields of LLM.

        Raises:
            InvalidRequest: the key or the model is empty.
        """
        return cls._of("openai", OPENAI_URL, api_key, model, options)

    @classmethod
    def minimax(cls, *, api_key: str, model: str = "MiniMax-Text-01", **options: Unpack[LLMOptions]) -> Self:
        """MiniMax, at the address that the vendor documents.

        Args:
            api_key: the key of your account there.
            model: the model's name there.
            **options: the other fields of LLM.

        Raises:
            InvalidRequest: the key or the model is empty.
        """
        return cls._of("minimax", TRIALS["minimax"].url, api_key, model, options)

    @classmethod
    def doubao(cls, *, api_key: str, model: str = "doubao-1-5-pro-32k-250115", **options: Unpack[LLMOptions]) -> Self:
        """Doubao of Volcano Engine (ByteDance), at the address that the vendor documents.

        Args:
            api_key: the key of your account there.
            model: the model's name there.
            **options: the other fields of LLM.

        Raises:
            InvalidRequest: the key or the model is empty.
        """
        return cls._of("doubao", TRIALS["doubao"].url, api_key, model, options)

    @classmethod
    def qwen(cls, *, api_key: str, model: str = "qwen-plus", **options: Unpack[LLMOptions]) -> Self:
        """Qwen of Aliyun's Model Studio, at the address that the vendor documents.

        Args:
            api_key: the key of your account there.
            model: the model's name there.
            **options: the other fields of LLM.

        Raises:
            InvalidRequest: the key or the model is empty.
        """
        return cls._of("qwen", TRIALS["qwen"].url, api_key, model, options)

    @classmethod
    def stepfun(cls, *, api_key: str, model: str = "step-2-16k", **options: Unpack[LLMOptions]) -> Self:
        """Stepfun, at the address that the vendor documents.

        Args:
            api_key: the key of your account there.
            model: the model's name there.
            **options: the other fields of LLM.

        Raises:
            InvalidRequest: the key or the model is empty.
        """
        return cls._of("stepfun", TRIALS["stepfun"].url, api_key, model, options)

    @classmethod
    def zego_test(cls, provider: Provider = "qwen", *, model: str | None = None, **options: Unpack[LLMOptions]) -> Self:
        """A provider without an account there: for two weeks after AI Agent was activated.

        Args:
            provider: ``"minimax"``, ``"doubao"``, ``"qwen"`` or ``"stepfun"``.
            model: one of those that the trial takes of that provider; its first one unless given.
            **options: the other fields of LLM.

        Raises:
            InvalidRequest: the trial does not take the provider or the model; the message names those that it takes.
        """
        trial = TRIALS.get(provider)
        if trial is None:
            message = f"must be {OneOf(tuple(TRIALS))} (got {provider!r}){did_you_mean(str(provider), TRIALS)}"
            raise InvalidRequest([Problem("provider", "choice", message)], action="LLM.zego_test()")
        if model is not None and model not in trial.models:
            message = f"must be {OneOf(trial.models)} with {provider} in the trial (got {model!r})"
            raise InvalidRequest([Problem("Model", "choice", message)], action="LLM.zego_test()")
        return cls(url=trial.url, api_key=TRIAL_KEY, model=model or trial.models[0], **options)

    @classmethod
    def _of(cls, name: str, url: str, api_key: str, model: str, options: LLMOptions) -> Self:
        empty = [field for field, value in (("ApiKey", api_key), ("Model", model)) if not value]
        if empty:
            problems = [Problem(field, "required", "is required, and is empty") for field in empty]
            raise InvalidRequest(problems, action=f"LLM.{name}()")
        return cls(url=url, api_key=api_key, model=model, **options)

    def rules(self) -> Iterable[Advice]:
        """Rules between the fields.

        - Advice: providers want an ApiKey.
        - Advice: the trial key works with listed endpoints and models only.
        - Advice: AddAgentInfo and AgentExtraInfo have no effect with OpenAIResponses.
        """
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
