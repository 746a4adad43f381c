"""How an agent instance talks: rounds, priorities, the queue, the states over time, and what it remembers.

Statuses follow the vendor's: IDLE, LISTENING (to the user), THINKING (the language model), SPEAKING.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

__all__ = ["Conversation", "Cut", "ModelFailure", "Question", "QueueFull", "Traits", "Utterance"]

QUEUE = 5
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
    round: int
    text: str
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
    """What is spoken; of a question, once it is answered."""
    question: str | None = None
    system_prompt: str | None = None
    keep_question: bool = False
    """Whether the question goes into the context."""
    remember: bool = True
    """Whether what is spoken goes into the context."""
    spoken_since: float | None = None


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
    think: float = 0.4
    character: float = 0.08


class Conversation:
    """The talking side of one instance.

    Args:
        traits: how it talks.
        call_at: makes a timer on the sandbox's clock.
        answer: stands in for the language model; an empty answer is not spoken.
        voice: says whether there is a voice to speak with.
        notify: called for every event that can be a callback, as ``(event, data, at)``.
        idle: called whenever the agent has become IDLE.
    """

    def __init__(
        self,
        traits: Traits,
        *,
        call_at: Callable[[float, Callable[[float], None]], Timing],
        answer: Callable[[Utterance, tuple[Mapping[str, str], ...], float], str],
        voice: Callable[[Utterance, float], bool],
        notify: Callable[[str, Mapping[str, Any], float], None],
        idle: Callable[[float], None],
    ) -> None:
        self.traits = traits
        self.messages: list[Mapping[str, str]] = []
        self.status: str = "IDLE"
        self._status_round: int | None = None
        self.round: int = 0
        """The latest round given out."""
        self.listening_round: int | None = None
        """The round of the user's turn, between StartListening and StopListening or while the user speaks."""
        self._call_at = call_at
        self._answer = answer
        self._voice = voice
        self._notify = notify
        self._idle = idle
        self._current: Utterance | None = None
        self._queue: deque[Utterance] = deque()
        self._timer: Timing | None = None

    @property
    def waiting(self) -> int:
        """How many utterances are queued."""
        return len(self._queue)

    def next_round(self) -> int:
        """Give out a round; they grow and never repeat."""
        self.round += 1
        return self.round

    def offer(self, utterance: Utterance, *, enqueue: bool, at: float) -> None:
        """Say it, or have it answered: now, or when its turn comes.

        Of a higher priority than what goes on, it cuts in; of the same, it cuts in or waits as `enqueue` says; of a
        lower, it waits.

        Raises:
            QueueFull: if it would have to wait as the sixth.
        """
        current = self._current
        if current is None:
            self._begin(utterance, at)
        elif utterance.priority > current.priority or (utterance.priority == current.priority and not enqueue):
            self.cut(utterance.cut, at)
            self._begin(utterance, at)
        elif len(self._queue) >= QUEUE:
            raise QueueFull
        else:
            self._queue.append(utterance)

    def cut(self, reason: int, at: float) -> int | None:
        """Stop what is said or thought of, and forget what waits. The round that was cut, if there was one."""
        self._queue.clear()
        current, self._current = self._current, None
        self._stop_timer()
        if current is None:
            return None
        data: dict[str, Any] = {"Round": current.round, "Reason": reason}
        if current.spoken_since is not None:
            letters = int((at - current.spoken_since) / self.traits.character) if self.traits.character else len(current.text)
            data["PlayedText"] = current.text[:letters]
            self._remember(current, data["PlayedText"])
        else:
            self._remember_question(current)
        self._notify("Interrupted", data, at)
        return current.round

    def interrupt(self, at: float) -> int:
        """The InterruptAgentInstance call. The round that was cut, or the latest if nothing was said."""
        cut = self.cut(Cut.INTERRUPT, at)
        if cut is not None:
            self._rest(at)
        return self.round if cut is None else cut

    def listen(self, at: float) -> int:
        """The user's turn begins. Its round."""
        if not self._speaks_on():
            self.cut(Cut.USER, at)
        self.listening_round = self.next_round()
        if self._current is None:
            self._become("LISTENING", self.listening_round, at)
        return self.listening_round

    def heard(self, text: str, at: float) -> int:
        """The user's turn is over; an empty text means that nothing was understood. Its round."""
        turn, self.listening_round = self.listening_round, None
        if turn is None:
            return self.round
        if text:
            question = Utterance(round=turn, cut=Cut.USER, question=text, keep_question=True)
            try:
                self.offer(question, enqueue=True, at=at)
            except QueueFull:
                self._remember_question(question)  # heard, and never answered
        elif self._current is None:
            self._rest(at)
        return turn

    def end(self) -> None:
        """The instance is gone."""
        self._stop_timer()
        self._queue.clear()
        self._current = None

    def _speaks_on(self) -> bool:
        """Whether the user's speech leaves the agent's going on."""
        current = self._current
        return current is not None and (self.traits.deaf_while_speaking or current.priority == HIGH)

    def _begin(self, utterance: Utterance, at: float) -> None:
        self._current = utterance
        if utterance.question is None:
            self._speak(at)
        else:
            self._become("THINKING", utterance.round, at)
            self._timer = self._call_at(at + self.traits.think, self._speak)

    def _speak(self, at: float) -> None:
        current = self._current
        assert current is not None
        if current.question is not None:
            context = self.messages[-self.traits.window :] if self.traits.window else []
            try:
                answer = self._answer(current, tuple(context), at)
            except BaseException:
                self._finish(at)
                raise
            self._remember_question(current)
            current.text = self._tell_answer(current, answer, at)
        if self.traits.silent or not current.text or not self._voice(current, at):
            self._finish(at)
            return
        current.spoken_since = at
        self._become("SPEAKING", current.round, at)
        self._timer = self._call_at(at + len(current.text) * self.traits.character, self._finish)

    def _tell_answer(self, current: Utterance, answer: str, at: float) -> str:
        """Report an answer of the language model and return what of it is spoken."""
        if self.traits.marks is not None:
            begin, end = map(re.escape, self.traits.marks)
            for found in re.findall(f"{begin}(.*?){end}", answer, re.DOTALL):
                self._notify("AgentInstanceMetaInfo", {"Round": current.round, "MetaInfo": found}, at)
            answer = re.sub(f"{begin}.*?{end}", "", answer, flags=re.DOTALL)
        for sentence in re.findall(r"[^.!?。！？]+[.!?。！？]*\s*", answer):  # noqa: RUF001 - full-width marks end sentences too
            self._notify("LLMResult", {"Round": current.round, "Text": sentence.strip()}, at)
        return answer

    def _finish(self, at: float) -> None:
        current, self._current = self._current, None
        self._timer = None
        assert current is not None
        self._remember(current, current.text)
        if self._queue:
            self._begin(self._queue.popleft(), at)
        else:
            self._rest(at)

    def _rest(self, at: float) -> None:
        if self.listening_round is not None:
            self._become("LISTENING", self.listening_round, at)
        else:
            self._become("IDLE", None, at)
            self._idle(at)

    def _remember(self, utterance: Utterance, text: str) -> None:
        if utterance.remember and text:
            self.messages.append({"Role": "assistant", "Content": text})

    def _remember_question(self, utterance: Utterance) -> None:
        if utterance.keep_question and utterance.question:
            self.messages.append({"Role": "user", "Content": utterance.question})

    def _become(self, status: str, round_: int | None, at: float) -> None:
        if (status, round_) == (self.status, self._status_round):
            return
        before, self.status, self._status_round = self.status, status, round_
        data: dict[str, Any] = {"Status": status}
        if round_ is not None:
            data["Round"] = round_
        self._notify("AgentInstanceStatus", data, at)
        if before == "SPEAKING":
            self._notify("AgentSpeakAction", {"Action": "SPEAK_END"}, at)
        if status == "SPEAKING":
            self._notify("AgentSpeakAction", {"Action": "SPEAK_BEGIN"}, at)

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
