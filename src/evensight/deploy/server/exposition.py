"""`GET /metrics`: figures for Prometheus, in a registry of this server's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from evensight.deploy.server.service import Service

CONTENT_TYPE = CONTENT_TYPE_LATEST
# From a hit on an idle machine to the deadline, in seconds.
LATENCIES = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)


class Figures:
    """What a server counts.

    Attributes:
        swaps: Models that were swapped in.
        refused_swaps: Models that were not, because they could not be loaded.
    """

    def __init__(self) -> None:
        self.swaps = self.refused_swaps = 0
        self._registry = CollectorRegistry()
        self._requests = Histogram(
            "evensight_request_seconds",
            "From the first byte of a request to its answer, by path and status.",
            ("path", "status"),
            buckets=LATENCIES,
            registry=self._registry,
        )
        self._batches = Histogram(
            "evensight_batch_images", "Images a call of the model.", buckets=BATCHES, registry=self._registry
        )
        self._predictions = Counter(
            "evensight_predictions", "Images answered, by class.", ("label",), registry=self._registry
        )
        self._errors = Counter(
            "evensight_errors", "Requests and images refused, by code.", ("code",), registry=self._registry
        )

    def watch(self, service: Service) -> None:
        """Shows what the parts of a service count themselves."""
        self._registry.register(_Watched(service))

    def request(self, path: str, status: int, seconds: float) -> None:
        """Counts a request that was answered."""
        self._requests.labels(path, str(status)).observe(seconds)

    def batch(self, count: int) -> None:
        """Counts a batch."""
        self._batches.observe(count)

    def prediction(self, label: str) -> None:
        """Counts an image that was answered."""
        self._predictions.labels(label).inc()

    def error(self, code: str) -> None:
        """Counts what was refused."""
        self._errors.labels(code).inc()

    def text(self) -> bytes:
        """Returns all figures in Prometheus' text format."""
        return generate_latest(self._registry)


class _Watched(Collector):
    """Figures that are read when they are asked for."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        """Yields them."""
        service = self._service
        info = GaugeMetricFamily("evensight_model", "1 for the artifact that answers now.", labels=("identity",))
        info.add_metric([service.engine.model.identity], 1)
        yield info
        yield GaugeMetricFamily("evensight_queue_images", "Images on their way.", service.engine.under_way)
        yield GaugeMetricFamily("evensight_requests", "Requests on their way, this one included.", service.under_way)
        yield CounterMetricFamily("evensight_swaps", "Models that were swapped in.", service.figures.swaps)
        yield CounterMetricFamily(
            "evensight_swaps_refused", "Models that could not be loaded.", service.figures.refused_swaps
        )
        if service.recorder is None:
            return
        recorder, journal = service.recorder, service.recorder.journal
        yield CounterMetricFamily("evensight_log_written", "Lines of the log.", journal.written)
        yield CounterMetricFamily("evensight_log_lost", "Lines that could not be written.", journal.lost)
        yield GaugeMetricFamily(
            "evensight_log_failing", "1 while the log cannot be written.", int(journal.failing is not None)
        )
        yield GaugeMetricFamily("evensight_log_waiting", "Answers that wait to be described.", recorder.waiting)
        yield CounterMetricFamily(
            "evensight_log_bare", "Answers logged without descriptions, outside the sample.", recorder.bare
        )
        yield CounterMetricFamily("evensight_images_lost", "Images that could not be kept.", recorder.unkept)
