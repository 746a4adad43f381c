"""How an agent instance talks: rounds, priorities, the queue, the states over time, and what it remembers.

Statuses follow the vendor's: IDLE, LISTENING (to the user), THINKING (the language model), SPEAKING. Each is of a round,
and IDLE ends the round that it names. A round that the user starts goes SPEAK_BEGIN, LISTENING, SPEAK_END, ASRResult,
THINKING, LLMResult for each sentence, SPEAKING, IDLE.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from zego_aigc.sandbox.speech import Sentence, Sentences, SpeechFilter

__all__ = ["Conversation", "Cut", "ModelFailure", "Question", "QueueFull", "Reply", "Traits", "Utterance"]

MAX_QUEUED = 5
"""How many utterances may wait."""

LOW, MEDIUM, HIGH = range(3)
"""Priorities."""


class Cut:
    """Why speech was cut: the Reason of an Interrupted callback."""

    USER = 1
    SEND_LLM = 2
    SEND_TTS = 3
    INTERRUPT = 4


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What the language model is asked; given to the function that stands in for it, ``app.reply``."""

    agent_instance_id: str
    """Of the instance that is asked."""
    round: int
    """The turn of the conversation."""
    text: str
    """What the user said."""
    system_prompt: str
    """Of this turn, or of the instance's LLM; empty if neither has one."""
    messages: tuple[Mapping[str, str], ...]
    """The context: the last WindowSize messages, oldest first, without the question."""


class ModelFailure(Exception):
    """Raised by ``app.reply``: the language model fails, which is reported by an Exception callback.

    Args:
        code: an exception code of the vendor's, such as 2203 for refused credentials.
        message: its ``Message``.
    """

    def __init__(self, code: int = 2201, message: str = "the language model failed") -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message


@dataclass(slots=True, kw_only=True)
class Utterance:
    """Something that the agent says or is asked."""

    round: int
    priority: int = MEDIUM
    cut: int = Cut.SEND_TTS
    """What it counts as for the speech that it cuts."""
    text: str = ""
    """What it says; of a question, as much as is answered so far."""
    question: str | None = None
    system_prompt: str | None = None
    keep_question: bool = False
    """Whether the question goes into the context."""
    remember: bool = True
    """Whether what is said goes into the context."""
    spoken: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])
    """What is spoken, piece by piece, each with the time at which it begins."""
    mute: bool = False
    """Whether it was reported that there is no voice to speak it."""


class QueueFull(Exception):
    """Five utterances wait already."""


class Timing(Protocol):
    """As much of a timer as is needed here."""

    def cancel(self) -> None:
        """Forget it."""


class Traits(msgspec.Struct, frozen=True, kw_only=True):
    """What of an instance's configuration matters to how it talks."""

    window: int = 20
    deaf_while_speaking: bool = False
    """InterruptMode 1: the user's speech does not cut the agent."""
    silent: bool = False
    """DisableTTS: answers are texts only."""
    marks: tuple[str, str] | None = None
    """LLMMetaInfo's opening and closing marks."""
    character: float = 0.08
    """Seconds that a character takes to speak."""


class Reply:
    """Where the language model puts its answer to one question. Once the question was cut, it leads nowhere."""

    def __init__(self, conversation: Conversation, utterance: Utterance) -> None:
        self._conversation = conversation
        self.utterance = utterance
        self._sentences = Sentences(conversation.traits.marks)

    def text(self, piece: str, at: float) -> None:
        """More of the answer."""
        self._conversation.answered(self.utterance, list(self._sentences.feed(piece)), at)

    def end(self, at: float, piece: str = "") -> None:
        """The answer is complete, with a last `piece`."""
        self._conversation.answered(self.utterance, [*self._sentences.feed(piece), *self._sentences.flush()], at)
        self._conversation.complete(self.utterance, at)

    def fail(self, code: int, message: str, at: float) -> None:
        """There is no (further) answer. What is not yet a sentence is not spoken."""
        self._conversation.failed(self.utterance, code, message, at)


class Conversation:
    """The talking side of one instance.

    Args:
        traits: how it talks.
        call_at: makes a timer on the sandbox's clock.
        ask: has the language model answer, as ``(utterance, context, reply, at)``; what it returns is cancelled when the
            question is cut.
        tts: the TTS object in wire form, or None where there is no voice.
        notify: called for every event that can be a callback, as ``(event, data, at)``.
        idle: called whenever the agent has nothing to say or to hear.
    """

    def __init__(
        self,
        traits: Traits,
        *,
        call_at: Callable[[float, Callable[[float], None]], Timing],
        ask: Callable[[Utterance, tuple[Mapping[str, str], ...], Reply, float], Timing],
        tts: Callable[[], Mapping[str, Any] | None],
        notify: Callable[[str, Mapping[str, Any], float], None],
        idle: Callable[[float], None],
    ) -> None:
        self.traits = traits
        self.messages: list[Mapping[str, str]] = []
        self.joined: bool = False
        """Whether the agent is in its room. Before that, it neither speaks nor answers nor hears."""
        self.status: str = "IDLE"
        self._status_round: int = 0
        self.round: int = 0
        """The latest round given out."""
        self.listening_round: int | None = None
        """The round of the user's turn, between StartListening and StopListening or while the user speaks."""
        self._call_at = call_at
        self._ask = ask
        self._tts = tts
        self._notify = notify
        self._idle = idle
        self._current: Utterance | None = None
        self._filter = SpeechFilter({})
        self._queue: deque[Utterance] = deque()
        self._timers: list[Timing] = []
        """What is to happen in the current round: the model's answer, metadata, the end of the speech."""

    @property
    def waiting(self) -> int:
        """How many utterances are queued."""
        return len(self._queue)

    def next_round(self) -> int:
        """Give out a round; they grow and never repeat."""
        self.round += 1
        return self.round

    # --- what comes in -------------------------------------------------------------------------------------------

    def offer(self, utterance: Utterance, *, enqueue: bool, at: float) -> None:
        """Say it, or have it answered: now, or when its turn comes.

        Of a higher priority than what goes on, it cuts in; of the same, it cuts in or waits as `enqueue` says; of a
        lower, it waits. While the user speaks, only what has high priority is spoken; the rest waits.

        Raises:
            QueueFull: if it would have to wait as the sixth.
        """
        if not self.joined:
            return
        current = self._current
        if current is None and (self.listening_round is None or utterance.priority == HIGH):
            self._begin(utterance, at)
        elif current is not None and (
            utterance.priority > current.priority or (utterance.priority == current.priority and not enqueue)
        ):
            self.cut(utterance.cut, at)
            self._begin(utterance, at)
        else:
            if not enqueue:  # what waits of the same priority gives way, as what is spoken of it would
                self._queue = deque(waiting for waiting in self._queue if waiting.priority != utterance.priority)
            if len(self._queue) >= MAX_QUEUED:
                raise QueueFull
            self._queue.append(utterance)

    def cut(self, reason: int, at: float) -> int | None:
        """Stop what is said or thought of, and forget what waits. The round that was cut, if there was one."""
        self._queue.clear()
        current, self._current = self._current, None
        self._stop_timers()
        if current is None:
            return None
        data: dict[str, Any] = {"Round": current.round, "Reason": reason}
        self._remember_question(current)
        if current.spoken:
            data["PlayedText"] = self._played(current, at)
            self._remember(current, data["PlayedText"])
        self._notify("Interrupted", data, at)
        self._become("IDLE", current.round, at)
        return current.round

    def interrupt(self, at: float) -> int:
        """The InterruptAgentInstance call. The round that was cut, or the latest if nothing was said."""
        cut = self.cut(Cut.INTERRUPT, at)
        if cut is not None:
            self._rest(at)
        return self.round if cut is None else cut

    def listen(self, user_id: str, at: float) -> int:
        """The user's turn begins. Its round."""
        turn = self.next_round()
        if not self.joined:
            return turn
        self._notify("UserSpeakAction", {"UserId": user_id, "Action": "SPEAK_BEGIN", "Round": turn}, at)
        if not self._speaks_on():
            self.cut(Cut.USER, at)
        self.listening_round = turn
        if self._current is None:
            self._become("LISTENING", turn, at)
        return turn

    def heard(self, text: str, at: float) -> int:
        """The user's turn is over; an empty text means that nothing was understood. Its round."""
        turn, self.listening_round = self.listening_round, None
        if turn is None:
            return self.round
        question = Utterance(round=turn, cut=Cut.USER, question=text, keep_question=True)
        if text and self._current is None:
            self._begin(question, at)  # what has waited for the user waits for the answer, too
        elif text and len(self._queue) < MAX_QUEUED:
            self._queue.append(question)
        elif text:
            self._remember_question(question)  # heard, and never answered
        elif self._current is None:
            self._become("IDLE", turn, at)
            self._rest(at)
        return turn

    def end(self) -> None:
        """The instance is gone."""
        self._stop_timers()
        self._queue.clear()
        self._current = None

    # --- what the model says -------------------------------------------------------------------------------------

    def answered(self, utterance: Utterance, sentences: Sequence[Sentence], at: float) -> None:
        """Sentences of the answer have come."""
        if utterance is not self._current:
            return
        for sentence in sentences:
            utterance.text += sentence.text
            if text := sentence.text.strip():
                self._notify("LLMResult", {"Round": utterance.round, "Text": text}, at)
        if not self.traits.silent:
            for sentence in sentences:
                self._speak(utterance, sentence, at)

    def complete(self, utterance: Utterance, at: float) -> None:
        """The answer is complete: once it is spoken, the round is over."""
        if utterance is not self._current:
            return
        self._remember_question(utterance)
        if utterance.spoken and (end := self._speech_end(utterance)) > at:
            self._timers.append(self._call_at(end, self._finish))
        else:
            self._finish(at)

    def failed(self, utterance: Utterance, code: int, message: str, at: float) -> None:
        """The model fails, or has broken off: the agent falls silent after what it had said."""
        if utterance is self._current:
            self._notify("Exception", {"Code": code, "Message": message, "Round": utterance.round}, at)
            self.complete(utterance, at)

    # --- within --------------------------------------------------------------------------------------------------

    def _speaks_on(self) -> bool:
        """Whether the user's speech leaves the agent's going on."""
        current = self._current
        return current is not None and (self.traits.deaf_while_speaking or current.priority == HIGH)

    def _begin(self, utterance: Utterance, at: float) -> None:
        self._current = utterance
        self._filter = SpeechFilter(self._tts() or {})
        if utterance.question is not None:
            self._become("THINKING", utterance.round, at)
            context = self.messages[-self.traits.window :] if self.traits.window else []
            self._timers.append(self._ask(utterance, tuple(context), Reply(self, utterance), at))
            return
        sentences = Sentences(self.traits.marks)
        text, utterance.text = utterance.text, ""
        for sentence in [*sentences.feed(text), *sentences.flush()]:
            utterance.text += sentence.text
            self._speak(utterance, sentence, at)
        self.complete(utterance, at)

    def _speak(self, utterance: Utterance, sentence: Sentence, at: float) -> None:
        """Speak a sentence after what is spoken already."""
        begins = max(at, self._speech_end(utterance))
        spoken = self._filter.spoken(sentence.text)
        if spoken and not utterance.spoken and (spoken := self._with_voice(utterance, spoken, at)):
            self._become("SPEAKING", utterance.round, at)
        for metadata in sentence.metadata:
            self._report_metadata({"Round": utterance.round, "MetaInfo": metadata}, begins, at)
        if spoken:
            utterance.spoken.append((begins, spoken))

    def _with_voice(self, utterance: Utterance, spoken: str, at: float) -> str:
        """What is spoken, which is nothing where there is no voice."""
        if self._tts() is not None:
            return spoken
        if not utterance.mute:
            utterance.mute = True
            message = "there is no TTS, neither registered nor given"
            self._notify("Exception", {"Code": 2302, "Message": message, "Round": utterance.round}, at)
        return ""

    def _report_metadata(self, data: Mapping[str, Any], when: float, at: float) -> None:
        if when <= at:
            self._notify("AgentInstanceMetaInfo", data, at)
        else:
            self._timers.append(self._call_at(when, lambda due: self._notify("AgentInstanceMetaInfo", data, due)))

    def _speech_end(self, utterance: Utterance) -> float:
        if not utterance.spoken:
            return 0.0
        begins, text = utterance.spoken[-1]
        return begins + len(text) * self.traits.character

    def _played(self, utterance: Utterance, at: float) -> str:
        """What of it has been spoken."""
        pace = self.traits.character
        return "".join(
            text[: int(round((at - begins) / pace, 6))] if pace else text for begins, text in utterance.spoken if begins < at
        )

    def _finish(self, at: float) -> None:
        current, self._current = self._current, None
        self._stop_timers()
        assert current is not None
        self._remember(current, current.text)
        self._become("IDLE", current.round, at)
        self._rest(at)

    def _rest(self, at: float) -> None:
        """Nothing is said: go on with what waits, or hear, or idle."""
        if self.listening_round is not None:
            self._become("LISTENING", self.listening_round, at)
        elif self._queue:
            self._begin(self._queue.popleft(), at)
        else:
            self._idle(at)

    def _remember(self, utterance: Utterance, text: str) -> None:
        if utterance.remember and text:
            self.messages.append({"Role": "assistant", "Content": text})

    def _remember_question(self, utterance: Utterance) -> None:
        if utterance.keep_question and utterance.question:
            utterance.keep_question = False
            self.messages.append({"Role": "user", "Content": utterance.question})

    def _become(self, status: str, round_: int, at: float) -> None:
        if (status, round_) == (self.status, self._status_round):
            return
        before, self.status, self._status_round = self.status, status, round_
        self._notify("AgentInstanceStatus", {"Status": status, "Round": round_}, at)
        if before == "SPEAKING":
            self._notify("AgentSpeakAction", {"Action": "SPEAK_END"}, at)
        if status == "SPEAKING":
            self._notify("AgentSpeakAction", {"Action": "SPEAK_BEGIN"}, at)

    def _stop_timers(self) -> None:
        timers, self._timers = self._timers, []
        for timer in timers:
            timer.cancel()
