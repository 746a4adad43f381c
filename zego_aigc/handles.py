"""Handles own a lifetime: what ``async with`` makes on entry, it ends on exit, whatever happens in between.

::

    async with client.digital_human_agent(CreateDigitalHumanAgentInstance(...)) as agent:
        await agent.say("Hello!")

The ending is shielded from cancellation and bounded in time. What could not be ended is tried again by
``client.aclose()``, which returns the ids of what is left.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Generic, NoReturn, Self, TypeVar

import anyio

from zego_aigc import aiagent, digitalhuman
from zego_aigc.calls.lifetimes import Life
from zego_aigc.errors import ConfigurationError, QuotaExceeded, TimedOut, ZegoError
from zego_aigc.schema.missing_names import missing_member

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from zego_aigc.aiagent._control import Priority, SamePriorityOption
    from zego_aigc.callbacks.subscriptions import Subscription
    from zego_aigc.calls.lifetimes import Lifetimes
    from zego_aigc.schema.actions import Action
    from zego_aigc.transport.audio import AudioStream
    from zego_aigc.transport.pcm import AudioFormat

__all__ = ["AgentInstance", "Handle", "LiveAgentInstance", "StreamTaskHandle"]

ResultT = TypeVar("ResultT")
AgentT = TypeVar("AgentT", bound=aiagent.CreatedAgentInstance)


class Handle(Generic[ResultT]):
    """Makes something on entry and ends it on exit; or holds what ``client.start()`` made or ``client.attach()`` found.

    Args:
        lifetimes: what makes and ends things.
        life: what to make, or what was made before.
        fallback: what to make in its place if there is none to be had (``QuotaExceeded``).
        owner: for whom it is made, where there is a registry.
    """

    def __init__(self, lifetimes: Lifetimes, life: Life, fallback: Life | None = None, owner: str | None = None) -> None:
        self._lifetimes = lifetimes
        self._life = life
        self._fallback = fallback
        self._owner = owner
        self._entered = False

    @property
    def created(self) -> ResultT:
        """What the create call returned. Of what was attached to, only the id is known.

        Raises:
            ConfigurationError: the handle was not entered.
        """
        if self._life.made_id is None:
            name = type(self._life.action).__name__
            raise ConfigurationError(f"use 'async with' first, or client.start(): {name} has not been called yet")
        result: ResultT = self._life.result
        return result

    @property
    def id(self) -> str:
        """The AgentInstanceId or TaskId."""
        self.created  # noqa: B018 - it says what is wrong
        assert self._life.made_id is not None
        return self._life.made_id

    @property
    def action(self) -> Action[ResultT]:
        """What made it, or is to make it: the fallback where that was made in its place."""
        action: Action[ResultT] = self._life.action
        return action

    @property
    def fell_back(self) -> bool:
        """Whether the fallback was made."""
        return self._fallback is not None and self._life is self._fallback

    async def end(self) -> None:
        """Delete or stop it, whatever happens to the caller meanwhile. Doing so again does nothing.

        What cannot be ended in time is tried again in the background.

        Raises:
            ZegoError: why it could not be ended in time.
        """
        if self._life.made_id is not None and (error := await self._lifetimes.end(self._life)) is not None:
            raise error

    if not TYPE_CHECKING:  # to a type checker, awaiting a handle stays the mistake that it is

        def __await__(self):  # noqa: ANN204 - it returns nothing
            raise ConfigurationError(
                "a handle is entered and not awaited: write 'async with ... as handle:', which makes the "
                f"{self._life.life.makes} and ends it with the block, or 'handle = await client.start(create)' and later "
                "'await handle.end()'"
            )

    async def start(self, *, timeout: float | None = None) -> None:
        """Make it; ``client.start()`` does so.

        Args:
            timeout: deadline in seconds, instead of the client's.
        """
        try:
            # With something to fall back to, nothing is waited for.
            await self._lifetimes.start(self._life, timeout=timeout, owner=self._owner, wait=self._fallback is None)
        except QuotaExceeded:
            if self._fallback is None:
                raise
            await self._lifetimes.start(self._fallback, timeout=timeout, owner=self._owner)
            self._life = self._fallback

    async def __aenter__(self) -> Self:
        if self._entered:
            raise ConfigurationError("this handle is in use or was used: make a new one")
        self._entered = True
        if self._life.made_id is None:
            await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        error = await self._lifetimes.end(self._life)
        if error is not None and kind is None:
            raise error

    if not TYPE_CHECKING:  # to a type checker, what is not there stays the mistake that it is

        def __getattr__(self, name: str) -> NoReturn:
            raise missing_member(type(self), name)

        def __enter__(self) -> NoReturn:
            raise TypeError("a handle is asynchronous: use 'async with ... as handle'")

        def __exit__(self, *_: object) -> None: ...

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._life.made_id or 'not made yet'}>"


class _Agent(Handle[AgentT], Generic[AgentT]):
    """What every kind of agent instance can do."""

    async def say(
        self,
        text: str,
        *,
        add_history: bool | None = None,
        priority: Priority | None = None,
        same_priority_option: SamePriorityOption | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> aiagent.Round:
        """Have a text spoken, up to 300 characters.

        The options are fields of :class:`~zego_aigc.aiagent.SendAgentInstanceTTS`.
        """
        action = aiagent.SendAgentInstanceTTS(
            agent_instance_id=self.id,
            text=text,
            add_history=add_history,
            priority=priority,
            same_priority_option=same_priority_option,
            extra=extra,
        )
        return await self._lifetimes.caller.call(action)

    def events(self, *, max_waiting: int = 256) -> Subscription:
        """The instance's callbacks as they come, until it ends: ``async for event in agent.events()``.

        They have to be handed to :meth:`zego_aigc.Client.observe`: ``router.on(Event)(client.observe)``. Only those that reach
        this process are seen.

        Args:
            max_waiting: events that are kept for a reader that is slower than they come; then the oldest are dropped, and
                counted in ``missed``.
        """
        return self._lifetimes.events.follow(self.id, max_waiting)

    async def joined(self, *, timeout: float = 30.0) -> None:
        """Wait for the callback AgentInstanceCreated: before it the instance neither hears nor can be heard.

        Args:
            timeout: seconds.

        Raises:
            TimedOut: it did not come in time; callbacks have to be handed to :meth:`zego_aigc.Client.observe`.
            ZegoError: the instance has ended.
        """
        await self._lifetimes.events.joined(self.id, timeout)


class LiveAgentInstance(_Agent[aiagent.CreatedDigitalHumanAgentInstance]):
    """A live digital human: it speaks what it is told, and listens to nobody."""


class AgentInstance(_Agent[AgentT], Generic[AgentT]):
    """An agent in a room, with or without a digital human's face.

    What talks to the service raises what :meth:`zego_aigc.Client.call` raises; once the instance has ended that is
    :class:`~zego_aigc.NotFound`. Speech is never sent twice: after a lost answer it is :class:`~zego_aigc.OutcomeUnknown`.
    """

    async def ask(
        self,
        text: str,
        *,
        system_prompt: str | None = None,
        add_question_to_history: bool | None = None,
        add_answer_to_history: bool | None = None,
        priority: Priority | None = None,
        same_priority_option: SamePriorityOption | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> aiagent.Round:
        """Put a text to the language model as if the user had said it; the agent speaks the answer.

        The options are fields of :class:`~zego_aigc.aiagent.SendAgentInstanceLLM`.
        """
        action = aiagent.SendAgentInstanceLLM(
            agent_instance_id=self.id,
            text=text,
            system_prompt=system_prompt,
            add_question_to_history=add_question_to_history,
            add_answer_to_history=add_answer_to_history,
            priority=priority,
            same_priority_option=same_priority_option,
            extra=extra,
        )
        return await self._lifetimes.caller.call(action)

    async def interrupt(self) -> aiagent.Round:
        """Stop the agent's speech."""
        return await self._lifetimes.caller.call(aiagent.InterruptAgentInstance(agent_instance_id=self.id))

    async def status(self) -> aiagent.QueriedAgentInstanceStatus:
        """What the agent is doing."""
        return await self._lifetimes.caller.call(aiagent.QueryAgentInstanceStatus(agent_instance_id=self.id))

    async def messages(self) -> Sequence[aiagent.HistoryMessage]:
        """The conversation so far, oldest first."""
        result = await self._lifetimes.caller.call(aiagent.GetAgentInstanceMsgList(agent_instance_id=self.id))
        return result.message_list

    async def add_messages(self, messages: Sequence[aiagent.Message]) -> None:
        """Append to the conversation without having anything spoken."""
        await self._lifetimes.caller.call(aiagent.AddAgentInstanceMsg(agent_instance_id=self.id, messages=messages))

    async def reset_messages(self) -> None:
        """Forget the conversation."""
        await self._lifetimes.caller.call(aiagent.ResetAgentInstanceMsgList(agent_instance_id=self.id))

    async def update(
        self,
        *,
        rtc: aiagent.UpdateRTC | None = None,
        llm: aiagent.LLM | None = None,
        tts: aiagent.TTS | None = None,
        asr: aiagent.ASR | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        """Change the running instance. LLM, TTS and ASR are replaced whole; what is not given stays."""
        await self._lifetimes.caller.call(
            aiagent.UpdateAgentInstance(agent_instance_id=self.id, rtc=rtc, llm=llm, tts=tts, asr=asr, extra=extra)
        )

    async def start_listening(self, *, user_id: str | None = None, sequence: int | None = None) -> aiagent.Round:
        """Walkie-talkie mode: the user presses the button. Numbers in `sequence` grow over both calls."""
        action = aiagent.StartListening(agent_instance_id=self.id, user_id=user_id, sequence=sequence)
        return await self._lifetimes.caller.call(action)

    async def stop_listening(self, *, user_id: str | None = None, sequence: int | None = None) -> aiagent.Round:
        """Walkie-talkie mode: the user lets go of the button, and the agent answers."""
        action = aiagent.StopListening(agent_instance_id=self.id, user_id=user_id, sequence=sequence)
        return await self._lifetimes.caller.call(action)


class StreamTaskHandle(Handle[digitalhuman.StreamTask]):
    """A digital human's video stream.

    What talks to the service raises what :meth:`zego_aigc.Client.call` raises; once the task has ended that is
    :class:`~zego_aigc.NotFound`. A drive is never sent twice: after a lost answer it is :class:`~zego_aigc.OutcomeUnknown`.
    """

    async def drive_text(
        self,
        text: str,
        tts_config: digitalhuman.TTSConfig,
        *,
        interrupt_mode: int | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> digitalhuman.Drive:
        """Have a text spoken, 1 to 1800 characters.

        Args:
            text: what to say.
            tts_config: the voice.
            interrupt_mode: a :class:`~zego_aigc.digitalhuman.DriveInterruptMode`: 0 waits for its turn (default), 1 cuts in.
            extra: fields of :class:`~zego_aigc.digitalhuman.DriveByText` that are newer than this library.
        """
        action = digitalhuman.DriveByText(
            task_id=self.id, text=text, tts_config=tts_config, interrupt_mode=interrupt_mode, extra=extra
        )
        return await self._lifetimes.caller.call(action)

    async def drive_audio(
        self,
        audio_url: str,
        *,
        interrupt_mode: int | None = None,
        voice_channel: int | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> digitalhuman.Drive:
        """Have an mp3 or wav file spoken.

        Args:
            audio_url: where the file is.
            interrupt_mode: a :class:`~zego_aigc.digitalhuman.DriveInterruptMode`: 0 waits for its turn (default), 1 cuts in.
            voice_channel: a :class:`~zego_aigc.digitalhuman.VoiceChannel`: 0 both channels mixed (default), 1 left, 2 right.
            extra: fields of :class:`~zego_aigc.digitalhuman.DriveByAudio` that are newer than this library.
        """
        action = digitalhuman.DriveByAudio(
            task_id=self.id, audio_url=audio_url, interrupt_mode=interrupt_mode, voice_channel=voice_channel, extra=extra
        )
        return await self._lifetimes.caller.call(action)

    async def drive_rtc(self, room_id: str, stream_id: str) -> digitalhuman.Drive:
        """Have the audio of an RTC stream spoken."""
        source = digitalhuman.SourceRTCConfig(room_id=room_id, stream_id=stream_id)
        return await self._lifetimes.caller.call(digitalhuman.DriveByRTCStream(task_id=self.id, rtc_config=source))

    async def act(self, action: str) -> None:
        """Perform an action of the digital human, by its name in GetDigitalHumanInfo."""
        await self._lifetimes.caller.call(digitalhuman.DoAction(task_id=self.id, action=action))

    async def interrupt(self) -> None:
        """Cut the running drive and drop those that wait."""
        await self._lifetimes.caller.call(digitalhuman.InterruptDriveTask(task_id=self.id))

    async def status(self) -> digitalhuman.StreamTaskStatus:
        """How the task is doing."""
        return await self._lifetimes.caller.call(digitalhuman.GetDigitalHumanStreamTaskStatus(task_id=self.id))

    async def streaming(self, *, within: float = 30.0, every: float = 0.5) -> digitalhuman.StreamTaskStatus:
        """Wait until the task streams.

        Args:
            within: seconds to wait at most.
            every: seconds between two looks.

        Raises:
            TimedOut: it does not stream in time; the message has its status.
            ZegoError: the service says that it failed, and why.
        """
        status: digitalhuman.StreamTaskStatus | None = None
        try:
            with anyio.fail_after(within):
                while (status := await self.status()).status is not digitalhuman.TaskStatus.STREAMING:
                    if status.status is digitalhuman.TaskStatus.INIT_FAILED:
                        reason = status.fail_reason or "no reason given"
                        raise ZegoError(f"the stream task {self.id} failed to start: {reason}. Stop it and make a new one")
                    await anyio.sleep(every)
        except TimeoutError as error:
            if isinstance(error, ZegoError):
                raise
            seen = "its status never came" if status is None else f"its status was {status.status.name} when last seen"
            raise TimedOut(
                f"the stream task {self.id} does not stream after {within:g} s: {seen}. Wait longer (within=...), or look at "
                "its status() for a FailReason",
                waited_for="streaming",
            ) from None
        return status

    def open_audio(
        self,
        *,
        sample_rate: int = 16000,
        channels: int = 1,
        voice_channel: int | None = None,
        source: AudioFormat | None = None,
        pace: bool = False,
        write_timeout: float = 10.0,
    ) -> AbstractAsyncContextManager[AudioStream]:
        """Drive the digital human with PCM audio over a WebSocket, for as long as the ``async with`` block runs.

        Args:
            sample_rate: what the service is to take: 16000 or 24000 Hz.
            channels: 1 or 2 (interleaved, at 16000 Hz or more).
            voice_channel: with 2 channels, which one the lips follow: 0 both mixed, 1 left, 2 right.
            source: what is written, if it is not 16-bit PCM of that rate and number of channels; it is turned into that
                (extra ``audio``).
            pace: send at the speed of speech, half a second ahead: what is cut by an interruption was then not sent for
                nothing. Otherwise audio is sent as fast as it is written.
            write_timeout: seconds for which the service may take nothing before a write gives up.

        Raises:
            InvalidRequest: the service does not take such audio; nothing was sent.
            ConnectFailed: the WebSocket cannot be opened.
            TransportError: it breaks, or the service closes it, before the end of the block; ``close_code`` and
                ``close_reason`` say how.
        """
        from zego_aigc.transport.audio import AudioBlock, open_audio
        from zego_aigc.transport.pcm import Converter, drive_format

        @asynccontextmanager
        async def drive_with_it() -> AsyncGenerator[AudioStream, None]:
            target = drive_format(sample_rate=sample_rate, channels=channels, voice_channel=voice_channel, source=source)
            Converter(source or target, target)  # complains now about a missing extra, not once the drive has begun
            drive = await self._lifetimes.caller.call(digitalhuman.DriveByWsStream(task_id=self.id))
            async with open_audio(
                self._lifetimes.caller.pool,
                drive,
                target,
                source=source or target,
                voice_channel=voice_channel,
                pace=pace,
                write_timeout=write_timeout,
                drive_ssl=self._lifetimes.drive_ssl,
                over=self._lifetimes.events.drive_over,
            ) as stream:
                yield stream

        return AudioBlock(drive_with_it())

    def events(self, *, max_waiting: int = 256) -> Subscription:
        """The task's callbacks as they come; see :meth:`zego_aigc.Client.observe`, which has to be given them."""
        return self._lifetimes.events.follow(self.id, max_waiting)

    async def drive_finished(self, drive: digitalhuman.Drive | str, *, timeout: float = 600.0) -> None:
        """Wait until a drive has been spoken, which a callback says.

        Args:
            drive: what ``drive_text`` and its like returned, or a DriveId.
            timeout: seconds.

        Raises:
            TimedOut: no callback said so in time; they have to be handed to :meth:`zego_aigc.Client.observe`.
            ZegoError: the drive failed.
        """
        await self._lifetimes.events.drive_over(drive if isinstance(drive, str) else drive.drive_id, timeout)


HANDLES: dict[str, type[Handle[Any]]] = {
    "agent instance": AgentInstance,
    "live digital human": LiveAgentInstance,
    "stream task": StreamTaskHandle,
}
"""The handles that have verbs of their own, by what a lifecycle says that it makes."""


def handle_of(
    lifetimes: Lifetimes, create: Action[ResultT], fallback: Action[Any] | None = None, owner: str | None = None
) -> Handle[ResultT]:
    """The handle for an Action that makes something.

    Raises:
        ConfigurationError: it makes nothing that could be ended, or the fallback makes something of another kind.
    """
    life = Life.of(lifetimes.inventory, create)
    other = None if fallback is None else life.other(fallback)
    return HANDLES.get(life.life.makes, Handle)(lifetimes, life, other, owner)


def attached(lifetimes: Lifetimes, made_id: str, made_by: type[Action[Any]] | None = None) -> Handle[Any]:
    """The handle for something that was made before; see :meth:`zego_aigc.Client.attach`."""
    life = lifetimes.attach(made_id, made_by)
    return HANDLES.get(life.life.makes, Handle)(lifetimes, life)
