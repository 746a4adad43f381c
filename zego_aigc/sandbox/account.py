"""What one AppId may do, and what all that lives in it shares: settings, limits, ids, callbacks."""

from __future__ import annotations

import itertools
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, Unpack

from zego_aigc.sandbox.catalogue import Catalogue
from zego_aigc.sandbox.gate import RateWindow
from zego_aigc.sandbox.guard import is_loopback_url
from zego_aigc.sandbox.refusal import Refusal
from zego_aigc.sandbox.rooms import Rooms
from zego_aigc.sandbox.settings import (
    DEFAULT_CALLBACK_SECRET,
    Pace,
    Quotas,
    RateRefusal,
    Settings,
    check_count,
    check_names,
    quotas_of,
)
from zego_aigc.schema.actions import Action, Service
from zego_aigc.schema.lifecycle import QuotaKind

if TYPE_CHECKING:
    from zego_aigc.sandbox.agents import Agent
    from zego_aigc.sandbox.callbacks import Delivery, Outbox
    from zego_aigc.sandbox.clock import Clock
    from zego_aigc.sandbox.conversation import Question
    from zego_aigc.sandbox.drives import SandboxDrive
    from zego_aigc.sandbox.ids import Ids
    from zego_aigc.sandbox.models import Models

__all__ = ["Account", "Shared"]

MAX_ENDED = 10_000
"""Ended tasks and drives that an account remembers, together."""

MAX_AUDIO = 64 << 20
"""Bytes of audio of ended drives that an account keeps; the last drive's is kept whatever its size."""

HolderT = TypeVar("HolderT")


@dataclass(frozen=True, slots=True)
class Shared:
    """What all accounts of a sandbox use together."""

    clock: Clock
    outbox: Outbox
    models: Models
    ids: Ids


class UniqueIds(Generic[HolderT]):
    """Ids that one holder at a time may have. The empty id is not counted."""

    def __init__(self) -> None:
        self._holders: dict[str, HolderT] = {}

    def holder(self, identity: str) -> HolderT | None:
        """What has the id, if anything has."""
        return self._holders.get(identity)

    def take(self, identity: str, holder: HolderT) -> bool:
        """Reserve an id. False if another holder has it."""
        return not identity or self._holders.setdefault(identity, holder) is holder

    def release(self, identity: str, holder: HolderT) -> None:
        """Free an id, if it is the holder's."""
        if self._holders.get(identity) is holder:
            del self._holders[identity]


class Removable(Protocol):
    """What can be put out of its room."""

    def kick(self, at: float) -> None:
        """Another login under its user id ends it."""


class Account:
    """An account with its limits: the part of an :class:`~zego_aigc.sandbox.App` that instances, tasks and agents use.

    Every setting may be changed while the sandbox runs and counts from the next call on.

    Args:
        shared: the sandbox's.
        app_id: 1 to 4294967295.
        server_secret: what calls are signed with.
        settings: see :class:`~zego_aigc.sandbox.Settings`.

    Raises:
        TypeError: for an unknown setting.
        ValueError: for an `app_id`, a quota or a limit out of range, or a callback's address on another machine.
    """

    def __init__(self, shared: Shared, app_id: int, server_secret: str, **settings: Unpack[Settings]) -> None:
        if not 0 < app_id < 2**32:
            raise ValueError(f"app_id must be 1 to {2**32 - 1}, not {app_id}")
        check_names(settings)
        self.clock: Clock = shared.clock
        self.outbox: Outbox = shared.outbox
        self.models: Models = shared.models
        self.ids: Ids = shared.ids
        self.app_id = app_id
        self.server_secret = server_secret
        self.quotas: Quotas = quotas_of(settings.get("quota", 10))
        self.rate_limit: int | None = settings.get("rate_limit", 10)
        check_count("rate_limit", self.rate_limit)
        self.rate_window: float = settings.get("rate_window", 1.0)
        self.rate_limits: dict[str, int | None] = {}
        """Limits of single Actions that differ, by Action name."""
        self.rate_refusals: dict[Service, RateRefusal] = {
            Service.AI_AGENT: RateRefusal(410001029, status=429),  # the only code that is printed, so the status says it too
            Service.DIGITAL_HUMAN: RateRefusal(400010009),
        }
        """How calls over the limit are refused."""
        self.callback_url: str | None = settings.get("callback_url")
        self.callback_urls: dict[str, str] = dict(settings.get("callback_urls", {}))
        self.remote_callbacks: bool = settings.get("remote_callbacks", False)
        if not self.remote_callbacks:
            for url in filter(None, (self.callback_url, *self.callback_urls.values())):
                if not is_loopback_url(url):
                    raise ValueError(f"{url} is not on this machine: pass remote_callbacks=True to send callbacks there")
        self.callback_secret: str = settings.get("callback_secret", DEFAULT_CALLBACK_SECRET)
        self.pace: Pace = settings.get("pace") or Pace()
        self.catalogue: Catalogue = settings.get("catalogue") or Catalogue()
        self.reply: Callable[[Question], str] | None = settings.get("reply")
        self.llm: bool = settings.get("llm", False)
        self.exceptions_at_end: bool = settings.get("exceptions_at_end", False)
        self.zim_history: dict[str, Sequence[Mapping[str, str]]] = {}
        """What stands in the ZIM chats of users, by UserId: messages with ``Role`` and ``Content``, oldest first. New
        instances with MessageHistory.SyncMode 0 begin with the last of them."""
        self.configured = True
        """False has every call refused with 100000011, as by a gateway that cannot find the app's configuration."""
        self.services: set[Service] = set(Service)
        """The services that are enabled for the account."""
        self.refusals: dict[str, int] = {}
        """Codes that every call of an Action is refused with, by Action name or ``"*"``: an account without permission
        (400010001), a trial that has ended (410001035), a service that is not enabled (410000006, 400000002)..."""
        self.trials_ended: set[str] = set()
        """``"LLM"``, ``"TTS"``: for which the trial key ``zego_test`` does not work any more."""
        self.failing_streams: list[str] = []
        """FailReasons: each makes one new stream task fail to initialize, the first one first."""

        self.ws_url = ""
        """The origin of WebSocket addresses."""
        self.rooms: Rooms = Rooms()
        """Which users are in which rooms: ``sandbox.app.rooms.join(room_id, user_id)``."""
        self.agents: dict[str, Agent] = {}
        """Registered agents by AgentId."""
        self.alive: Counter[QuotaKind | None] = Counter()
        """How many count against each quota; under None, what counts against none."""
        self.stream_ids: UniqueIds[object] = UniqueIds()
        self.agent_user_ids: UniqueIds[Removable] = UniqueIds()
        self._windows: dict[str, RateWindow] = {}
        self._audio: deque[SandboxDrive] = deque()
        self._audio_bytes = 0
        self._retired: deque[tuple[dict[str, Any], str]] = deque()
        self._numbers = itertools.count(1)

    def calls_model(self, url: str) -> bool:
        """Whether an LLM.Url is really called."""
        return self.reply is None and (self.llm or is_loopback_url(url))

    def answer(self, question: Question) -> str:
        """What the model that is not called says.

        Raises:
            ModelFailure: if it fails.
        """
        return f"You said: {question.text}" if self.reply is None else self.reply(question)

    def admits(self, action: str, now: float) -> bool:
        """Count a call against the limit of its Action and say whether it is within."""
        limit = self.limit_of(action)
        if limit is None:
            return True
        window = self._windows.get(action)
        if window is None or not window.has(limit, self.rate_window):
            window = self._windows[action] = RateWindow(limit, self.rate_window)
        return window.admits(now)

    def too_fast(self, service: Service, message: str) -> Refusal:
        """What a call over the limit is refused with."""
        refusal = self.rate_refusals[service]
        return Refusal(refusal.code, message, status=refusal.status)

    def limit_of(self, action: str) -> int | None:
        """The calls of an Action that its window takes."""
        return self.rate_limits.get(action, self.rate_limit)

    def check_quota(self, action: type[Action[Any]]) -> None:
        """Refuse to make one more of what `action` makes where the account holds as many as it may.

        Raises:
            Refusal: with the code that the Action's lifecycle declares for it.
        """
        life = action.lifecycle
        if life is None or life.quota is None:
            return
        kind = life.quota
        alive, limit = self.alive[kind], getattr(self.quotas, kind)
        if limit is not None and alive >= limit:
            raise Refusal(life.full_codes[0], f"{alive} {kind.replace('_', ' ')} are alive; the account may hold {limit}")

    def retire(self, things: dict[str, Any], identity: str) -> None:
        """Note that one of `things` has ended: of those, only the last 10,000 are remembered."""
        self._retired.append((things, identity))
        if len(self._retired) > MAX_ENDED:
            held, oldest = self._retired.popleft()
            del held[oldest]

    def keep_audio(self, drive: SandboxDrive) -> None:
        """Note that a drive has ended: of the audio of those, only the last 64 MiB are kept."""
        self._audio.append(drive)
        self._audio_bytes += len(drive.pcm)
        while self._audio_bytes > MAX_AUDIO and len(self._audio) > 1:
            oldest = self._audio.popleft()
            self._audio_bytes -= len(oldest.pcm)
            oldest.pcm = bytearray()

    def snowflake(self) -> str:
        """A new id in the form of the vendor's instance ids: a decimal number beyond what a double can hold."""
        return str((int(self.clock.now() * 1000) << 22) + next(self._numbers))

    def send_agent_event(
        self,
        instance_id: str,
        event: str,
        data: Mapping[str, Any],
        at: float,
        *,
        identity: Mapping[str, str],
        host_tag: str | None = None,
    ) -> Delivery:
        """Send a callback of the AI Agent service."""
        envelope = {
            "AppId": self.app_id,
            "Event": event,
            "Timestamp": int(at * 1000),
            "AgentInstanceId": instance_id,
            **identity,
            "Sequence": int(self.snowflake()),
            "Data": data,
        }
        url = self.callback_urls.get(host_tag or "", self.callback_url)
        return self.outbox.post(instance_id, event, url, self.callback_secret, envelope, at, remote=self.remote_callbacks)

    def send_task_event(self, task_id: str, event_type: int, detail: Mapping[str, Any], at: float) -> Delivery:
        """Send a callback of the Digital Human service: 3 about a task, 4 about a drive."""
        envelope = {
            "AppId": self.app_id,
            "EventType": event_type,
            "Timestamp": str(int(at * 1000)),
            "EventTime": int(at * 1000),
            "TaskId": task_id,
            "Detail": detail,
        }
        return self.outbox.post(
            task_id, str(event_type), self.callback_url, self.callback_secret, envelope, at, remote=self.remote_callbacks
        )
