"""Agent instances: voice, digital human and live digital human; from creation to their end."""

from __future__ import annotations

import contextlib
import enum
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from zego_aigc.sandbox.clock import Timers
from zego_aigc.sandbox.conversation import Conversation, ModelFailure, Question, Reply, Timing, Traits, Utterance
from zego_aigc.sandbox.refusal import Refusal
from zego_aigc.sandbox.rooms import Presence
from zego_aigc.schema.naming import snake

if TYPE_CHECKING:
    from zego_aigc.aiagent import AdvancedConfig, MessageHistory
    from zego_aigc.sandbox.account import Account
    from zego_aigc.sandbox.callbacks import Delivery
    from zego_aigc.schema.lifecycle import Lifecycle, QuotaKind

__all__ = ["EndReason", "Instance", "InstanceKind"]

UNSWITCHED = frozenset({"AgentInstanceCreated", "AgentInstanceDeleted", "Exception"})
"""Events that come whatever CallbackConfig says."""

META_VENDORS = ("MiniMax", "ByteDance")
"""The voices with which AgentInstanceMetaInfo comes."""


class InstanceKind(enum.Enum):
    """What an instance is; decides which calls it takes."""

    VOICE = "voice"
    DIGITAL_HUMAN = "digital human"
    LIVE = "live digital human"


class EndReason(enum.IntEnum):
    """Why an instance ended: the Code of AgentInstanceDeleted."""

    DELETED = 0
    RTC_ERROR = 1201
    USER_ABSENT = 1202
    KICKED = 1203
    JOIN_FAILED = 1204
    DISCONNECTED = 1205
    PUBLISH_FAILED = 1206


class Instance:
    """A running agent instance.

    Args:
        account: whose it is.
        instances: the account's instances by id; it adds itself when it starts, and leaves when it ends.
        kind: what it is.
        request: the Action that makes it.
        config: LLM, TTS and ASR in wire form.
        at: when: Unix seconds on the sandbox's clock.
    """

    def __init__(
        self,
        account: Account,
        instances: dict[str, Instance],
        kind: InstanceKind,
        request: Any,
        config: Mapping[str, Any],
        at: float,
    ) -> None:
        self.account = account
        self._instances = instances
        self.kind = kind
        life: Lifecycle = request.lifecycle
        self.quota: QuotaKind | None = life.quota
        self.instance_id: str = account.snowflake()
        self.agent_id: str = request.agent_id
        self.created_at = at
        self.callback_config: Any = request.callback_config
        self.config: dict[str, Any] = dict(config)
        """LLM, TTS and ASR in wire form, as registered or as given."""
        rtc = None if kind is InstanceKind.LIVE and request.cdn is not None else request.rtc
        self.room_id: str = rtc.room_id if rtc else ""
        self.agent_stream_id: str = rtc.agent_stream_id if rtc else ""
        self.agent_user_id: str = rtc.agent_user_id if rtc else ""
        self.user_id: str = "" if kind is InstanceKind.LIVE else request.user_id
        self.user_stream_id: str = "" if kind is InstanceKind.LIVE else request.rtc.user_stream_id
        advanced: AdvancedConfig | None = request.advanced_config
        self.max_idle_time: float = life.idle_time(request) or math.inf
        conversing = None if kind is InstanceKind.LIVE else advanced
        self.walkie_talkie: bool = bool(conversing and conversing.communication_mode == 2)
        self.meta_keys: tuple[str, ...] = tuple(
            (conversing and conversing.llm_meta_info and conversing.llm_meta_info.send_meta_keys) or ()
        )
        self.sequences: dict[str, int] = {}
        """The last walkie-talkie Sequence of each user."""
        self.overheard = ""
        """What the user has said since StartListening."""
        self.closing: bool = False
        """Whether a graceful shutdown is under way."""
        self.asked: bool = False
        """Whether the language model was ever asked."""
        self.conversation: Conversation = Conversation(
            _traits(account, None if kind is InstanceKind.LIVE else request.message_history, conversing, advanced),
            call_at=account.clock.call_at,
            ask=self._ask,
            tts=lambda: self.config.get("TTS"),
            notify=self.notify,
            idle=self._idle,
        )
        if kind is not InstanceKind.LIVE and request.message_history is not None:
            self.conversation.messages.extend(self._history(request.message_history))
        self._timers = Timers(account.clock)

    # --- its life ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Enter the account: end an instance with the same user id, join the room in a moment, begin to idle."""
        account = self.account
        if (earlier := account.agent_user_ids.holder(self.agent_user_id)) is not None:
            earlier.kick(self.created_at)
        account.rooms.kick(self.agent_user_id)
        account.agent_user_ids.take(self.agent_user_id, self)
        # Voice instances are not refused for a stream id in use; the later one just fails to publish.
        publishes = account.stream_ids.take(self.agent_stream_id, self)
        self._instances[self.instance_id] = self
        account.alive[self.quota] += 1
        joins = self.created_at + account.pace.join
        if not publishes:
            self._timers.start("join", joins, lambda at: self.end(EndReason.PUBLISH_FAILED, at))
            return
        self._timers.start("join", joins, self._joined)
        self.watch(self.created_at)

    def watch(self, at: float) -> None:
        """Count the time anew that the instance may idle; not at all while its user is in the room."""
        self._timers.cancel("idle")
        if self.kind is InstanceKind.LIVE or self.presence() in {Presence.UNKNOWN, Presence.ABSENT}:
            self._timers.start("idle", at + self.max_idle_time, lambda due: self.end(EndReason.USER_ABSENT, due))

    def close(self, timeout: float, at: float) -> None:
        """End when IDLE, or after `timeout` seconds."""
        if self.conversation.status == "IDLE":
            self.end(EndReason.DELETED, at)
        else:
            self.closing = True
            self._timers.start("closing", at + timeout, lambda due: self.end(EndReason.DELETED, due))

    def kick(self, at: float) -> None:
        """Somebody else logs in under its user id."""
        self.end(EndReason.KICKED, at)

    def end(self, why: EndReason, at: float) -> None:
        """Leave the account, and send AgentInstanceDeleted."""
        if self._instances.pop(self.instance_id, None) is None:
            return
        self._timers.cancel_all()
        self.conversation.end()
        if why is not EndReason.DELETED and self.account.exceptions_at_end:
            message = f"the agent instance has ended: {why.name}"
            self.notify("Exception", {"Code": int(why), "Message": message, "Round": self.conversation.round}, at)
        self.account.alive[self.quota] -= 1
        self.account.stream_ids.release(self.agent_stream_id, self)
        self.account.agent_user_ids.release(self.agent_user_id, self)
        data: dict[str, Any] = {"Code": int(why), "DeletedTimestamp": int(at * 1000)}
        if self.asked:
            think = int(self.account.pace.think * 1000)
            data["LatencyData"] = {
                "LLMTTFT": think // 2,
                "LLMTPS": 50.0,
                "TTSAudioFirstFrameTime": think // 2,
                "TotalCost": think,
            }
        self.notify("AgentInstanceDeleted", data, at)

    def check_not_live(self, action: str) -> None:
        """Refuse what live digital humans do not take.

        Raises:
            Refusal: if it is a live one.
        """
        if self.kind is InstanceKind.LIVE:
            raise Refusal(410001049, f"a live digital human does not take {action}")

    def presence(self) -> Presence:
        """Whether its user is in its room."""
        return self.account.rooms.presence(self.room_id, self.user_id)

    # --- its callbacks -------------------------------------------------------------------------------------------

    def notify(self, event: str, data: Mapping[str, Any], at: float) -> None:
        """Send a callback, if it is switched on."""
        if event == "AgentInstanceMetaInfo":
            with contextlib.suppress(msgspec.DecodeError):
                values = msgspec.json.decode(data["MetaInfo"], type=dict[str, Any])
                chosen = {key: values[key] for key in self.meta_keys if key in values}
                if chosen and self.config.get("TTS", {}).get("Vendor", "").startswith(META_VENDORS):
                    self.send_callback(event, {**data, "MetaInfo": chosen}, at)
        elif event in UNSWITCHED or getattr(self.callback_config, snake(event), None) == 1:
            self.send_callback(event, data, at)

    def send_callback(self, event: str, data: Mapping[str, Any], at: float) -> Delivery:
        """Send a callback, whatever is switched on."""
        tag = self.callback_config.host_tag if self.callback_config is not None else None
        agent = self.account.agents.get(self.agent_id)
        identity = {
            "AgentUserId": self.agent_user_id,
            "AgentId": self.agent_id,
            "Name": agent.name if agent else "",
            "RoomId": self.room_id,
        }
        return self.account.send_agent_event(self.instance_id, event, data, at, identity=identity, host_tag=tag)

    def to_json(self) -> dict[str, Any]:
        """For ``/_sandbox/state``."""
        return {
            "AgentInstanceId": self.instance_id,
            "Kind": self.kind.value,
            "AgentId": self.agent_id,
            "UserId": self.user_id,
            "RoomId": self.room_id,
            "AgentStreamId": self.agent_stream_id,
            "AgentUserId": self.agent_user_id,
            "Status": self.conversation.status,
            "Round": self.conversation.round,
            "Closing": self.closing,
            "CreatedAt": self.created_at,
        }

    # --- within --------------------------------------------------------------------------------------------------

    def _history(self, history: MessageHistory) -> Iterable[Mapping[str, str]]:
        """What the conversation begins with: the messages given, or those of the user's ZIM chat."""
        if history.sync_mode == 1:
            return [message.to_wire() for message in history.messages or ()]
        count = history.zim.load_message_count if history.zim else None
        if count is None:
            count = 20 if history.window_size is None else history.window_size
        chat = self.account.zim_history.get(self.user_id, ())
        return chat[len(chat) - count :] if count < len(chat) else chat

    def _joined(self, at: float) -> None:
        self.conversation.joined = True
        self.notify("AgentInstanceCreated", {"CreatedTimestamp": int(at * 1000)}, at)

    def _idle(self, at: float) -> None:
        if self.closing:
            self.end(EndReason.DELETED, at)

    def _ask(self, utterance: Utterance, context: tuple[Mapping[str, str], ...], reply: Reply, at: float) -> Timing:
        """Have the language model answer: the one at LLM.Url where that may be called, else the scripted one."""
        llm: dict[str, Any] | None = self.config.get("LLM")
        if llm is None:
            message = "there is no LLM, neither registered nor given"
            return self.account.clock.call_at(at + self.account.pace.think, lambda when: reply.fail(2202, message, when))
        self.asked = True
        question = Question(
            agent_instance_id=self.instance_id,
            round=utterance.round,
            text=utterance.question or "",
            system_prompt=utterance.system_prompt or llm.get("SystemPrompt") or "",
            messages=context,
        )
        if self.account.calls_model(llm.get("Url", "")):
            info = {
                "room_id": self.room_id,
                "user_id": self.user_id,
                "agent_instance_id": self.instance_id,
                "agent_user_id": self.agent_user_id,
                "round_id": utterance.round,
                "time_stamp": int(at * 1000),
            }
            return self.account.models.ask(llm, question, info, reply, at)
        return self.account.clock.call_at(at + self.account.pace.think, lambda when: self._answer(question, reply, when))

    def _answer(self, question: Question, reply: Reply, at: float) -> None:
        try:
            text = self.account.answer(question)
        except ModelFailure as failure:
            reply.fail(failure.code, failure.message, at)
            return
        except BaseException:
            reply.end(at)
            raise
        reply.end(at, text)


def _traits(account: Account, history: MessageHistory | None, conversing: AdvancedConfig | None, advanced: Any) -> Traits:
    meta = conversing.llm_meta_info if conversing else None
    window = history.window_size if history else None
    return Traits(
        window=20 if window is None else window,
        deaf_while_speaking=bool(conversing and conversing.interrupt_mode == 1),
        silent=bool(advanced and advanced.disable_tts),
        marks=(meta.begin_characters, meta.end_characters) if meta and meta.begin_characters and meta.end_characters else None,
        character=account.pace.character,
    )
