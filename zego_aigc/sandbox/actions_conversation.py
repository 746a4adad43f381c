"""Behaviour of the Actions on a conversation: what an agent is to say, its context, walkie-talkie turns."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from zego_aigc.aiagent import (
    AddAgentInstanceMsg,
    GetAgentInstanceMsgList,
    InterruptAgentInstance,
    QueryAgentInstanceStatus,
    ResetAgentInstanceMsgList,
    SendAgentInstanceLLM,
    SendAgentInstanceTTS,
    StartListening,
    StopListening,
)
from zego_aigc.sandbox.conversation import HIGH, LOW, MAX_QUEUED, MEDIUM, Cut, QueueFull, Utterance
from zego_aigc.sandbox.instances import Instance, InstanceKind
from zego_aigc.sandbox.refusal import Refusal
from zego_aigc.sandbox.registry import answers
from zego_aigc.sandbox.rooms import Presence

if TYPE_CHECKING:
    from zego_aigc.sandbox.app import App

__all__ = ["user_speaks"]

PRIORITIES = {"Low": LOW, "Medium": MEDIUM, "High": HIGH}


@answers(SendAgentInstanceLLM)
def ask(app: App, action: SendAgentInstanceLLM) -> dict[str, Any]:
    """Put a question to the agent as if the user had asked it."""
    instance = _addressed(app, action.agent_instance_id)
    instance.check_not_live("SendAgentInstanceLLM")
    utterance = Utterance(
        round=instance.conversation.next_round(),
        priority=PRIORITIES[action.priority or "Medium"],
        cut=Cut.SEND_LLM,
        question=action.text,
        system_prompt=action.system_prompt,
        keep_question=bool(action.add_question_to_history),
        remember=action.add_answer_to_history is not False,
    )
    _offer(app, instance, utterance, action.same_priority_option)
    return {"Round": utterance.round}


@answers(SendAgentInstanceTTS)
def say(app: App, action: SendAgentInstanceTTS) -> dict[str, Any]:
    """Have the agent say a text."""
    instance = _addressed(app, action.agent_instance_id)
    if instance.conversation.traits.silent:
        raise Refusal(410000003, "the instance was made with AdvancedConfig.DisableTTS: it cannot speak")
    priority, option = action.priority, action.same_priority_option
    if action.interrupt_mode is not None and priority is None:
        priority, option = ("High" if action.interrupt_mode == 1 else "Medium"), "ClearAndInterrupt"
    utterance = Utterance(
        round=instance.conversation.next_round(),
        priority=PRIORITIES[priority or "Medium"],
        cut=Cut.SEND_TTS,
        text=action.text,
        remember=action.add_history is not False,
    )
    _offer(app, instance, utterance, option)
    if instance.kind is InstanceKind.LIVE:
        instance.watch(app.clock.now())
    return {"Round": utterance.round}


@answers(QueryAgentInstanceStatus)
def status(app: App, action: QueryAgentInstanceStatus) -> dict[str, Any]:
    """What the agent is doing."""
    return {"Status": app.find_instance(action.agent_instance_id).conversation.status}


@answers(InterruptAgentInstance)
def interrupt(app: App, action: InterruptAgentInstance) -> dict[str, Any]:
    """Silence the agent."""
    return {"Round": app.find_instance(action.agent_instance_id).conversation.interrupt(app.clock.now())}


@answers(GetAgentInstanceMsgList)
def messages(app: App, action: GetAgentInstanceMsgList) -> dict[str, Any]:
    """The context, oldest first."""
    known = _conversing(app, action.agent_instance_id, "GetAgentInstanceMsgList").conversation.messages
    return {"Total": len(known), "MessageList": known}


@answers(ResetAgentInstanceMsgList)
def reset(app: App, action: ResetAgentInstanceMsgList) -> None:
    """Empty the context."""
    _conversing(app, action.agent_instance_id, "ResetAgentInstanceMsgList").conversation.messages.clear()


@answers(AddAgentInstanceMsg)
def add(app: App, action: AddAgentInstanceMsg) -> None:
    """Append to the context. Nothing else follows from it: no round, no answer, no callback."""
    instance = _conversing(app, action.agent_instance_id, "AddAgentInstanceMsg")
    instance.conversation.messages.extend(message.to_wire() for message in action.messages or ())


@answers(StartListening)
def start_listening(app: App, action: StartListening) -> dict[str, Any]:
    """Begin the user's turn in walkie-talkie mode."""
    instance = _turn(app, action)
    return {"Round": instance.conversation.listen(action.user_id or instance.user_id, app.clock.now())}


@answers(StopListening)
def stop_listening(app: App, action: StopListening) -> dict[str, Any]:
    """End the user's turn; the agent answers what it has understood."""
    instance = _turn(app, action)
    now = app.clock.now()
    text, instance.overheard = instance.overheard, ""
    return {"Round": _turn_is_over(instance, action.user_id or instance.user_id, text, now)}


def user_speaks(app: App, instance: Instance, text: str, seconds: float) -> None:
    """A user says something, beginning now and for `seconds`; an empty text is not understood (Exception 1004).

    It is heard once the agent has joined; in walkie-talkie mode, only between StartListening and StopListening.
    """
    conversation, now = instance.conversation, app.clock.now()
    if instance.walkie_talkie:
        if conversation.listening_round is not None:
            instance.overheard = f"{instance.overheard} {text}".strip()
        return
    round_ = conversation.listen(instance.user_id, now)

    def silence(at: float) -> None:
        if app.instances.get(instance.instance_id) is instance and conversation.listening_round == round_:
            _turn_is_over(instance, instance.user_id, text, at, seconds, spoken=True)

    app.clock.call_at(now + seconds, silence)


def _turn_is_over(instance: Instance, user_id: str, text: str, at: float, seconds: float = 1.0, *, spoken: bool = False) -> int:
    turn = instance.conversation.listening_round
    if turn is not None:
        if seconds >= 1:
            instance.notify("UserAudioData", {"UserId": user_id, "Round": turn, **SILENCE}, at)
        instance.notify("UserSpeakAction", {"UserId": user_id, "Action": "SPEAK_END", "Round": turn}, at)
        if text:
            instance.notify("ASRResult", {"UserId": user_id, "Round": turn, "Text": text}, at)
        elif spoken:
            instance.notify("Exception", {"Code": 1004, "Message": "speech without text", "Round": turn}, at)
    return instance.conversation.heard(text, at)


SILENCE: dict[str, str | int] = {"SampleRate": 16000, "Format": "pcm", "Audio": base64.b64encode(bytes(32_000)).decode()}
"""The beginning of what a user said, as UserAudioData carries it: a second of 16-bit silence."""


def _addressed(app: App, instance_id: str) -> Instance:
    """The instance that is to speak.

    Raises:
        Refusal: if it does not exist or is listening.
    """
    instance = app.find_instance(instance_id)
    if instance.walkie_talkie and instance.conversation.listening_round is not None:
        raise Refusal(410001013, f"agent instance {instance_id!r} is listening")
    return instance


def _conversing(app: App, instance_id: str, action: str) -> Instance:
    instance = app.find_instance(instance_id)
    instance.check_not_live(action)
    return instance


def _offer(app: App, instance: Instance, utterance: Utterance, option: str | None) -> None:
    try:
        instance.conversation.offer(utterance, enqueue=option == "Enqueue", at=app.clock.now())
    except QueueFull as error:
        # Not 410001006 or 410001007, which are for passing failures and would have a client try again.
        raise Refusal(410000003, f"{MAX_QUEUED} texts wait already: send it once one of them was spoken") from error


def _turn(app: App, action: StartListening | StopListening) -> Instance:
    """The instance that is to listen, or to stop.

    Raises:
        Refusal: if it is not in walkie-talkie mode, its user cannot be heard, or the Sequence is outdated.
    """
    instance = _conversing(app, action.agent_instance_id, type(action).__name__)
    if not instance.walkie_talkie:
        raise Refusal(410001042, "the instance was not made with AdvancedConfig.CommunicationMode 2")
    user_id = action.user_id or instance.user_id
    match app.rooms.presence(instance.room_id, user_id):
        case Presence.ABSENT:
            raise Refusal(410001016, f"user {user_id!r} is not in room {instance.room_id!r}")
        case Presence.PRESENT:
            raise Refusal(410001046, f"user {user_id!r} does not publish in room {instance.room_id!r}")
        case Presence.UNKNOWN | Presence.PUBLISHING:
            pass
    if action.sequence is not None:
        if action.sequence <= instance.sequences.get(user_id, -1):
            raise Refusal(410001043, f"Sequence {action.sequence} is not above {instance.sequences[user_id]}")
        instance.sequences[user_id] = action.sequence
    return instance
