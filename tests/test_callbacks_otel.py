"""Metrics of a callback router, as OpenTelemetry's own SDK sees them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from callback_requests import SECRET, body_of

from zego_aigc.callbacks import CallbackRouter, LLMResult

pytest.importorskip("opentelemetry.sdk")

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from zego_aigc.otel import observe_router

pytestmark = pytest.mark.anyio


def collected(reader: InMemoryMetricReader) -> dict[str, dict[str, float]]:
    data = reader.get_metrics_data()
    assert data is not None
    metrics = [each for one in data.resource_metrics for scope in one.scope_metrics for each in scope.metrics]
    return {
        metric.name.removeprefix("zego.callbacks."): {
            str((point.attributes or {}).get("zego.result", "")): getattr(point, "value", 0)
            for point in metric.data.data_points
        }
        for metric in metrics
    }


async def test_what_a_router_takes_refuses_and_has_in_hand_is_reported() -> None:
    reader = InMemoryMetricReader()
    router = CallbackRouter(secret=SECRET, reorder_wait=3600, handler_timeout=0.05)
    observe_router(router, meter_provider=MeterProvider(metric_readers=[reader]))

    @router.on(LLMResult)
    async def handle(event: LLMResult) -> None:
        match event.data.text:
            case "fails":
                raise ValueError("deliberate")
            case "hangs":
                await asyncio.Event().wait()
            case _:
                pass

    async with router:
        following: Any = router.subscribe("i1")
        body = body_of("waits for earlier ones", sequence=10)
        for one in (body, body, body_of("x", secret="guess"), body_of("y", secret="guess")):
            router.receive(one)
        now = await asyncio.to_thread(collected, reader)  # readers have threads of their own
        assert now["in_hand"] == {"": 1}
        assert now["in_hand.size"] == {"": len(body)}
        assert now["oldest"][""] >= 0
        assert now["subscribers"] == {"": 1}
        assert now["received"] == {"taken": 1, "copy": 1, "bad_signature": 2}
        router.receive(body_of("fails", sequence=20))
        router.receive(body_of("hangs", sequence=30))
        following.close()
    now = collected(reader)
    assert now["in_hand"] == {"": 0}
    assert now["handled"] == {"done": 1, "failed": 1, "timed_out": 1}
    assert now["handler.time"][""] >= 0.05
