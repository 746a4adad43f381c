"""OpenTelemetry (extra ``otel``).

For a client a span for each attempt, and metrics, by the HTTP client conventions, and of how it uses its limit; for a callback
router metrics of what it takes, refuses and has in hand.

::

    telemetry = Telemetry()
    client = Client.from_env(on_attempt=telemetry.on_attempt, on_result=telemetry.on_result)
    observe_limiter(client)
    observe_router(router)

A span's parent is whatever span is current where the call is made. Queries, headers and bodies are never recorded: they
hold signatures and credentials.

Conventions: https://opentelemetry.io/docs/specs/semconv/http/http-spans/
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

try:
    from opentelemetry.metrics import CallbackOptions, Observation, get_meter
    from opentelemetry.trace import SpanKind, Status, StatusCode, get_tracer
except ModuleNotFoundError as _missing:
    raise ModuleNotFoundError(
        "zego_aigc.otel needs the extra 'otel': pip install 'zego_aigc[otel]'", name=_missing.name
    ) from _missing
from yarl import URL

from zego_aigc._version import __version__
from zego_aigc.errors import ApiError
from zego_aigc.schema.actions import ACTIONS
from zego_aigc.schema.codes import RETURN_CODES

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from zego_aigc.callbacks import CallbackRouter
    from zego_aigc.calls.hooks import AttemptEvent, CallEvent
    from zego_aigc.client import Client
    from zego_aigc.limits.limiter import LimiterStats

__all__ = ["Telemetry", "observe_limiter", "observe_router"]


class Telemetry:
    """Turns the events of a client's hooks into spans and metrics. One serves any number of clients.

    Spans are called ``POST <Action>``, of kind client, with ``http.request.method``, ``url.full`` (without the query),
    ``server.address``, ``server.port``, ``http.response.status_code``, ``http.request.resend_count``, ``error.type``,
    and ``zego.action``, ``zego.code``, ``zego.request_id``.

    Metrics, in seconds: ``http.client.request.duration`` for each attempt, from the limiter's grant to the end of its
    answer, and ``zego.client.call.duration`` for each call, waiting and retries included.

    Args:
        tracer_provider: the global one unless given.
        meter_provider: the global one unless given.
    """

    def __init__(self, *, tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None) -> None:
        self._tracer = get_tracer("zego_aigc", __version__, tracer_provider)
        meter = get_meter("zego_aigc", __version__, meter_provider)
        self._attempts = meter.create_histogram(
            "http.client.request.duration", unit="s", description="Duration of HTTP client requests."
        )
        self._calls = meter.create_histogram(
            "zego.client.call.duration",
            unit="s",
            description="Duration of calls, waiting for the limiter and retries included.",
        )

    def on_attempt(self, attempt: AttemptEvent) -> None:
        """For the client's hook of that name."""
        url = URL(attempt.url)
        attributes: dict[str, str | int] = {
            "http.request.method": "POST",
            "server.address": attempt.host,
            "server.port": url.port or 0,
            "zego.action": attempt.action,
        }
        if attempt.status is not None:
            attributes["http.response.status_code"] = attempt.status
        if (kind := _error_type(attempt)) is not None:
            attributes["error.type"] = kind
        self._attempts.record(attempt.seconds, attributes)
        end = time.time_ns()
        span = self._tracer.start_span(
            f"POST {attempt.action}",
            kind=SpanKind.CLIENT,
            attributes={**attributes, "url.full": attempt.url},
            start_time=end - int(attempt.seconds * 1e9),
        )
        if attempt.attempt > 1:
            span.set_attribute("http.request.resend_count", attempt.attempt - 1)
        if attempt.code is not None:
            span.set_attribute("zego.code", attempt.code)
        if attempt.request_id:
            span.set_attribute("zego.request_id", attempt.request_id)
        if kind is not None:
            span.set_status(Status(StatusCode.ERROR, kind))
        span.end(end)

    def on_result(self, call: CallEvent) -> None:
        """For the client's hook of that name."""
        attributes: dict[str, str | int] = {"zego.action": call.action, "server.address": call.host}
        if call.error is not None:
            attributes["error.type"] = call.error.name if isinstance(call.error, ApiError) else _name_of(call.error)
        self._calls.record(call.seconds, attributes)


def _error_type(attempt: AttemptEvent) -> str | None:
    """What went wrong, as one of few words: the name of the vendor's code, the HTTP status, or the error's class."""
    if attempt.error is not None:
        return _name_of(attempt.error)
    if attempt.code:
        known = RETURN_CODES.get(attempt.code)
        return known.name if known else str(attempt.code)
    if attempt.code is None or (attempt.status is not None and attempt.status >= 400):
        return str(attempt.status)
    return None


def _name_of(error: BaseException) -> str:
    return type(error).__qualname__


def observe_limiter(client: Client, *, meter_provider: MeterProvider | None = None) -> None:
    """Report what ``client.pool.limiter.stats()`` says of each Action that is in use, whenever metrics are collected.

    Metrics, each by ``zego.action``: ``zego.limiter.waiting`` (calls, by ``zego.line``: ``foreground`` or ``background``),
    ``zego.limiter.share`` (of the limit; 1 is all of it), ``zego.limiter.round_trip`` and ``zego.limiter.guard``
    (seconds), ``zego.limiter.withheld``, ``zego.limiter.sent`` and ``zego.limiter.complaints`` (calls).

    Args:
        client: whose AppId and limiter. It is kept for as long as the meter provider is.
        meter_provider: the global one unless given.
    """
    meter = get_meter("zego_aigc", __version__, meter_provider)

    def in_use() -> Iterable[tuple[str, LimiterStats]]:
        for action in ACTIONS:
            stats = client.pool.limiter.stats(client.app_id, action)
            if stats.sent or stats.waiting or stats.waiting_background:
                yield action, stats

    def reading(read: Callable[[LimiterStats], float | None]) -> list[Callable[[CallbackOptions], Iterable[Observation]]]:
        """An instrument's callback: one number for each Action."""

        def observe(_: CallbackOptions) -> Iterable[Observation]:
            found = [(action, read(stats)) for action, stats in in_use()]
            return [Observation(value, {"zego.action": action}) for action, value in found if value is not None]

        return [observe]

    def waiting(_: CallbackOptions) -> Iterable[Observation]:
        for action, stats in in_use():
            yield Observation(stats.waiting, {"zego.action": action, "zego.line": "foreground"})
            yield Observation(stats.waiting_background, {"zego.action": action, "zego.line": "background"})

    name = "zego.limiter"
    meter.create_observable_gauge(f"{name}.waiting", [waiting], "{call}", "Calls that wait for the limiter.")
    meter.create_observable_gauge(
        f"{name}.share", reading(lambda stats: stats.share), "1", "The share of the limit that is used."
    )
    meter.create_observable_gauge(
        f"{name}.round_trip", reading(lambda stats: stats.round_trip), "s", "The smallest round trip seen of late."
    )
    meter.create_observable_gauge(
        f"{name}.guard", reading(lambda stats: stats.guard), "s", "By how much the delay of requests may vary."
    )
    meter.create_observable_gauge(
        f"{name}.withheld", reading(lambda stats: stats.withheld), "{call}", "Of the limit, what is left to others for a while."
    )
    meter.create_observable_counter(f"{name}.sent", reading(lambda stats: stats.sent), "{call}", "Requests that have left.")
    meter.create_observable_counter(
        f"{name}.complaints", reading(lambda stats: stats.complaints), "{call}", "Requests refused as too fast."
    )


def observe_router(router: CallbackRouter, *, meter_provider: MeterProvider | None = None) -> None:
    """Report what :meth:`CallbackRouter.stats` says whenever metrics are collected.

    Metrics: ``zego.callbacks.in_hand`` (events), ``zego.callbacks.in_hand.size`` (bytes), ``zego.callbacks.oldest`` (seconds),
    ``zego.callbacks.subscribers``, ``zego.callbacks.received`` by ``zego.result`` (``taken``, ``copy``, or the reason of a
    refusal), ``zego.callbacks.handled`` by ``zego.result`` (``done``, ``failed``, ``timed_out``), and
    ``zego.callbacks.handler.time`` (seconds).

    Args:
        router: the router. It is kept for as long as the meter provider is.
        meter_provider: the global one unless given.
    """
    meter = get_meter("zego_aigc", __version__, meter_provider)

    def reading(read: Callable[[], Mapping[str, float]]) -> list[Callable[[CallbackOptions], Iterable[Observation]]]:
        """An instrument's callback: one number for each result, or one without."""

        def observe(_: CallbackOptions) -> Iterable[Observation]:
            return [Observation(value, {"zego.result": result} if result else None) for result, value in read().items()]

        return [observe]

    def received() -> dict[str, float]:
        stats = router.stats()
        return {"taken": stats.taken, "copy": stats.copies, **stats.refused}

    def handled() -> dict[str, float]:
        stats = router.stats()
        return {"done": stats.handled, "failed": stats.failed - stats.timed_out, "timed_out": stats.timed_out}

    for name, unit, description, read in (
        ("in_hand", "{event}", "Events that wait for handlers or are being handled.", lambda: {"": router.stats().in_hand}),
        ("in_hand.size", "By", "The size of their bodies.", lambda: {"": router.stats().in_hand_bytes}),
        ("oldest", "s", "How long the oldest of them has been in hand.", lambda: {"": router.stats().oldest}),
        ("subscribers", "{subscriber}", "Open subscriptions.", lambda: {"": router.stats().subscribers}),
    ):
        meter.create_observable_gauge(f"zego.callbacks.{name}", reading(read), unit, description)
    for name, unit, description, read in (
        ("received", "{callback}", "Callbacks by what became of them.", received),
        ("handled", "{run}", "Runs of handlers by how they ended.", handled),
        ("handler.time", "s", "Time that handlers ran.", lambda: {"": router.stats().handler_seconds}),
    ):
        meter.create_observable_counter(f"zego.callbacks.{name}", reading(read), unit, description)
