"""The registered coroutines, and running them so that none of them can do harm to another."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

from zego_aigc.callbacks._counters import Counters
from zego_aigc.callbacks.events import Event

__all__ = ["EventT", "Handler", "Handlers"]

logger: logging.Logger = logging.getLogger("zego_aigc")

EventT = TypeVar("EventT", bound=Event)
Handler = Callable[[EventT], Awaitable[None]]


class Handlers:
    """Coroutine functions by the kind of event that they are for."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._registered: list[tuple[type[Event], Handler[Any]]] = []
        self._by_kind: dict[type[Event], tuple[Handler[Any], ...]] = {}

    def __len__(self) -> int:
        return len(self._registered)

    def add(self, kinds: Iterable[type[Event]], handler: Handler[Any]) -> None:
        """Register a handler.

        Raises:
            TypeError: it is not a coroutine function of one argument.
        """
        if not (inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(type(handler).__call__)):
            raise TypeError(f"a handler must be a coroutine function (async def), not {handler!r}")
        if not _takes_an_event(handler):
            raise TypeError(f"a handler takes the event, and nothing else that is required: async def {_name(handler)}(event)")
        self._registered.extend((kind, handler) for kind in kinds)
        self._by_kind.clear()

    def of(self, kind: type[Event]) -> tuple[Handler[Any], ...]:
        """The handlers of a kind of event, in the order of registration; each once, also if its bases are registered too."""
        found = self._by_kind.get(kind)
        if found is None:
            matching = (handler for known, handler in self._registered if issubclass(kind, known))
            found = self._by_kind[kind] = tuple(dict.fromkeys(matching))
        return found

    async def run(self, handler: Handler[Any], event: Event, timeout: float, bound: str) -> bool:
        """Run one handler. What it raises, whatever that is, is logged, and so is a handler that takes too long.

        Args:
            handler: what to run.
            event: with what.
            timeout: seconds after which it is cancelled.
            bound: what the setting of that time is called.

        Returns:
            Whether it came to its end.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        done = False
        deadline = asyncio.timeout(timeout)
        try:
            async with deadline:
                await handler(event)
            done = True
        except (KeyboardInterrupt, SystemExit):
            raise  # the process is to end
        except BaseException as error:  # extensions written in Rust raise PanicException, which is no Exception
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise asyncio.CancelledError from error  # the router closes, whatever the handler makes of it
            if isinstance(error, TimeoutError) and deadline.expired():
                self._counters.timed_out += 1
                logger.error(  # noqa: TRY400 - where it was cancelled says nothing about why it took so long
                    "callback handler %s did not finish %s within %s=%g s and was cancelled: let it hand slow work to a queue, "
                    "or raise the bound",
                    _name(handler),
                    _about(event),
                    bound,
                    timeout,
                )
            elif isinstance(error, asyncio.CancelledError):
                logger.exception("callback handler %s was cancelled from within on %s", _name(handler), _about(event))
            else:
                logger.exception("callback handler %s failed on %s", _name(handler), _about(event))
        finally:
            self._counters.handler_seconds += loop.time() - began
            if done:
                self._counters.handled += 1
            else:
                self._counters.failed += 1
        return done


def _takes_an_event(handler: Handler[Any]) -> bool:
    try:
        inspect.signature(handler).bind(None)
    except TypeError:
        return False
    except ValueError:  # what it takes is not known
        pass
    return True


def _about(event: Event) -> str:
    """What a log may say of an event: not what people said."""
    order = "" if event.order is None else f" (Sequence {event.order})"
    return f"{type(event).__name__} of {event.subject}{order}"


def _name(handler: Handler[Any]) -> str:
    return getattr(handler, "__qualname__", None) or repr(handler)
