"""Spans and metrics of a client, as OpenTelemetry's own SDK sees them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from requests_made import llm, register, voice

from zego_aigc import Client, NotFound, aiagent
from zego_aigc.calls.retry import RetryPolicy
from zego_aigc.sandbox import Sandbox

pytest.importorskip("opentelemetry.sdk")

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from zego_aigc.otel import Telemetry, observe_limiter

pytestmark = pytest.mark.anyio


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(rate_limit=None) as running:
        yield running


class Recorded:
    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider(metric_readers=[self.reader])
        self.telemetry = Telemetry(tracer_provider=self.tracers, meter_provider=self.meters)

    def client(self, sandbox: Sandbox) -> Client:
        hooks: dict[str, Any] = {"on_attempt": self.telemetry.on_attempt, "on_result": self.telemetry.on_result}
        return sandbox.client(retry=RetryPolicy(initial_backoff=0.001), **hooks)

    @property
    def spans(self) -> list[ReadableSpan]:
        return [span for span in self.exporter.get_finished_spans() if span.kind is SpanKind.CLIENT]

    def values(self, name: str) -> dict[tuple[Any, ...], float]:
        """What an observed instrument says, by the values of its attributes."""
        data = self.reader.get_metrics_data()
        assert data is not None
        metrics = [each for one in data.resource_metrics for scope in one.scope_metrics for each in scope.metrics]
        (metric,) = (each for each in metrics if each.name == name)
        points: list[Any] = list(metric.data.data_points)
        return {tuple((point.attributes or {}).values()): point.value for point in points}

    def points(self, name: str) -> list[tuple[dict[str, Any], int]]:
        data = self.reader.get_metrics_data()
        assert data is not None
        metrics = [each for one in data.resource_metrics for scope in one.scope_metrics for each in scope.metrics]
        (metric,) = (each for each in metrics if each.name == name)
        assert metric.unit == "s"
        return [(dict(point.attributes or {}), getattr(point, "count", 0)) for point in metric.data.data_points]


async def test_each_attempt_is_a_client_span_below_the_callers(sandbox: Sandbox) -> None:
    recorded = Recorded()
    sandbox.faults.on(aiagent.RegisterAgent).times(1).answer(503, b"busy")
    tracer = recorded.tracers.get_tracer("app")
    async with recorded.client(sandbox) as client:
        with tracer.start_as_current_span("visit") as visit:
            await client.call(register())
    first, look_up, second = recorded.spans
    assert [span.name for span in recorded.spans] == ["POST RegisterAgent", "POST QueryAgents", "POST RegisterAgent"]
    for span in (first, look_up, second):
        assert span.parent is not None
        assert span.parent.span_id == visit.get_span_context().span_id
        assert span.start_time is not None
        assert span.end_time is not None
        assert span.start_time < span.end_time
    attributes = dict(first.attributes or {})
    port = int(sandbox.url.rpartition(":")[2])
    assert attributes == {
        "http.request.method": "POST",
        "url.full": f"{sandbox.url}/",
        "server.address": "127.0.0.1",
        "server.port": port,
        "http.response.status_code": 503,
        "error.type": "503",
        "zego.action": "RegisterAgent",
    }
    assert first.status.status_code is StatusCode.ERROR
    again = dict(second.attributes or {})
    assert (again["http.request.resend_count"], again["zego.code"]) == (1, 0)
    assert again["zego.request_id"]
    assert second.status.status_code is StatusCode.UNSET


async def test_a_refusal_is_an_error_named_after_its_code_and_a_broken_connection_one_named_after_its_class(
    sandbox: Sandbox,
) -> None:
    recorded = Recorded()
    sandbox.faults.on(aiagent.ListAgents).times(1).cut_before_work()
    async with recorded.client(sandbox) as client:
        with pytest.raises(NotFound):
            await client.call(voice(agent_id="nobody"))
        await client.call(aiagent.ListAgents())
    assert [(span.attributes or {}).get("error.type") for span in recorded.spans] == ["AgentNotFound", "TransportError", None]


async def test_metrics_count_attempts_and_calls(sandbox: Sandbox) -> None:
    recorded = Recorded()
    sandbox.faults.on(aiagent.ListAgents).times(1).refuse(410000001)
    async with recorded.client(sandbox) as client:
        await client.call(aiagent.ListAgents())
        with pytest.raises(NotFound):
            await client.call(voice(agent_id="nobody"))
    attempts = {
        (point["zego.action"], point.get("error.type")): n for point, n in recorded.points("http.client.request.duration")
    }
    assert attempts == {("ListAgents", "SystemError"): 1, ("ListAgents", None): 1, ("CreateAgentInstance", "AgentNotFound"): 1}
    calls = {(point["zego.action"], point.get("error.type")): n for point, n in recorded.points("zego.client.call.duration")}
    assert calls == {("ListAgents", None): 1, ("CreateAgentInstance", "AgentNotFound"): 1}


async def test_spans_and_metrics_hold_no_secret_and_no_signature(sandbox: Sandbox) -> None:
    recorded = Recorded()
    sandbox.faults.on(aiagent.QueryAgents).times(1).garbage()
    async with recorded.client(sandbox) as client:
        await client.call(register(LLM=llm("planted-key-0001").to_wire()))
        await client.call(aiagent.QueryAgents(agent_ids=["guide"]))
    said = "".join(span.to_json() for span in recorded.spans) + str(recorded.points("http.client.request.duration"))
    assert "planted-key-0001" not in said
    assert sandbox.server_secret not in said
    assert "Signature" not in said


async def test_how_the_limit_is_used_is_observed_for_each_action_in_use(sandbox: Sandbox) -> None:
    recorded = Recorded()
    async with recorded.client(sandbox) as client:
        observe_limiter(client, meter_provider=recorded.meters)
        for _ in range(2):
            await client.call(aiagent.ListAgents())
        assert recorded.values("zego.limiter.sent") == {("ListAgents",): 2}
        assert recorded.values("zego.limiter.complaints") == {("ListAgents",): 0}
        assert recorded.values("zego.limiter.guard") == {("ListAgents",): 0.05}
        assert recorded.values("zego.limiter.withheld") == {("ListAgents",): 0}
        assert recorded.values("zego.limiter.waiting") == {("ListAgents", "foreground"): 0, ("ListAgents", "background"): 0}
        assert 0 < recorded.values("zego.limiter.round_trip")["ListAgents",] < 60
        assert 0 < recorded.values("zego.limiter.share")["ListAgents",] <= 1
