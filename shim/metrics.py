"""What Prometheus is told: counted from the events that are logged, and read from the scheduler.

The events are the one account of what happens (`shim.log.EVENTS`); nothing else has to say it a
second time.  The endpoint runs in a thread of its own and answers `/metrics` only.
"""

from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, Final
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from shim.config import Metrics as Settings
from shim.errors import ExitCode, ShimError

EMULATION: Final = 8.0
"""How many times longer an emulated build takes than a cross one: what lz4 showed (README).  The
time saved is estimated by it, since nobody builds both ways to know."""

SECONDS: Final = (1, 3, 10, 30, 100, 300, 1000, 3000, 10000, 30000)
"""Upper ends of the ranges in which durations are counted."""


class Metrics:
    """One daemon's metrics."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._builds = self._counter(
            "builds", "Attempts to build that ended.", "system", "strategy", "outcome"
        )
        self._seconds = Histogram(
            "nix_shim_build_seconds",
            "Wall time of successful builds.",
            ("system", "strategy"),
            buckets=SECONDS,
            registry=self.registry,
        )
        self._saved = self._counter(
            "saved_seconds",
            f"Estimate of the time that cross builds saved: emulation takes {EMULATION:g} times"
            " as long.",
            "system",
        )
        self._tables = self._counter("table_requests", "Questions to the tables.", "known")
        self._findings = self._counter("findings", "What gates found.", "rule", "severity")
        self._examined = self._counter("gate_bytes", "Bytes that the gates looked at.")
        self._verdicts = self._counter("verdicts", "Verdicts of the gates.", "accepted")
        self._sessions = self._counter("sessions", "Clients that finished a handshake.", "peer")
        self._refused = self._counter(
            "refusals", "Clients, builds and operations refused.", "event"
        )
        self._counted: Mapping[str, Callable[[Mapping[str, Any]], None]] = {
            "build-ended": self._ended,
            "build-failed": self._failed,
            "client-opened": lambda event: self._sessions.labels(event.get("peer", "")).inc(),
            "client-refused": lambda _: self._refused.labels("client").inc(),
            "build-refused": lambda _: self._refused.labels("build").inc(),
            "operation-refused": lambda _: self._refused.labels("operation").inc(),
            "gate-finding": lambda event: self._findings.labels(
                event["rule"], event["severity"]
            ).inc(),
            "gates-judged": self._judged,
            "table-asked": lambda event: self._tables.labels(str(event["known"]).lower()).inc(),
        }

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"nix_shim_{name}", text, labels, registry=self.registry)

    def observe(
        self, _logger: Any, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """Count an event; a processor of structlog, which passes everything on."""
        if (count := self._counted.get(str(event.get("event")))) is not None:
            count(event)
        return event

    def _ended(self, event: Mapping[str, Any]) -> None:
        system, strategy, seconds = event["system"], event["strategy"], event["seconds"]
        self._builds.labels(system, strategy, "ok").inc()
        self._seconds.labels(system, strategy).observe(seconds)
        if strategy == "cross":
            self._saved.labels(system).inc(seconds * (EMULATION - 1))

    def _failed(self, event: Mapping[str, Any]) -> None:
        self._builds.labels(event["system"], event["strategy"], event["kind"]).inc()

    def _judged(self, event: Mapping[str, Any]) -> None:
        self._examined.inc(event["examined"])
        self._verdicts.labels(str(event["accepted"]).lower()).inc()

    def watch(self, name: str, text: str, read: Callable[[], float]) -> None:
        """Show a number that is read whenever Prometheus asks, from its thread.

        Args:
            name: without the prefix `nix_shim_`.
            text: what it is.
            read: must be safe to call from another thread.
        """
        Gauge(f"nix_shim_{name}", text, registry=self.registry).set_function(read)

    def serve(self, settings: Settings) -> WSGIServer:
        """Open the endpoint; `shutdown` and `server_close` of what is returned end it.

        Raises:
            ShimError: the address cannot be listened on.
        """
        try:
            server, _ = start_http_server(settings.port, settings.address, self.registry)
        except OSError as error:
            raise ShimError(
                f"cannot listen on {settings.address} port {settings.port}: {error.strerror}",
                hint="metrics.address and metrics.port",
                code=ExitCode.CONFIG,
            ) from error
        return server
