from urllib.request import urlopen

import pytest
from prometheus_client import generate_latest

from shim.config import Metrics as Settings
from shim.errors import ShimError
from shim.log import EVENTS
from shim.metrics import EMULATION, Metrics
from tests.live.world import free_port

ENDED = {
    "event": "build-ended",
    "system": "aarch64-linux",
    "strategy": "cross",
    "seconds": 10.0,
}


def shown(metrics: Metrics) -> dict[str, float]:
    lines = generate_latest(metrics.registry).decode().splitlines()
    return {
        name: float(value)
        for name, _, value in (line.rpartition(" ") for line in lines if not line.startswith("#"))
    }


def test_builds_are_counted_by_system_strategy_and_outcome() -> None:
    metrics = Metrics()
    assert metrics.observe(None, "info", dict(ENDED)) == ENDED
    metrics.observe(
        None,
        "info",
        {
            "event": "build-failed",
            "system": "aarch64-linux",
            "strategy": "cross",
            "kind": "memory",
        },
    )
    found = shown(metrics)
    labels = 'strategy="cross",system="aarch64-linux"'
    assert found[f'nix_shim_builds_total{{outcome="ok",{labels}}}'] == 1
    assert found[f'nix_shim_builds_total{{outcome="memory",{labels}}}'] == 1
    assert found[f"nix_shim_build_seconds_sum{{{labels}}}"] == 10
    saved = found['nix_shim_saved_seconds_total{system="aarch64-linux"}']
    assert saved == 10 * (EMULATION - 1)


def test_findings_and_tables_are_counted() -> None:
    metrics = Metrics()
    for event in (
        {"event": "gate-finding", "rule": "leaks.triple", "severity": "note"},
        {"event": "gates-judged", "accepted": True, "examined": 1000},
        {"event": "table-asked", "known": False},
        {"event": "client-refused"},
        {"event": "some-other"},
    ):
        metrics.observe(None, "info", dict(event))
    found = shown(metrics)
    assert found['nix_shim_findings_total{rule="leaks.triple",severity="note"}'] == 1
    assert found["nix_shim_gate_bytes_total"] == 1000
    assert found['nix_shim_table_requests_total{known="false"}'] == 1
    assert found['nix_shim_refusals_total{event="client"}'] == 1


def test_every_event_that_is_counted_is_one_of_ours() -> None:
    assert set(Metrics()._counted) <= set(EVENTS)


def test_the_endpoint_answers_and_closes() -> None:
    metrics = Metrics()
    metrics.watch("builds_waiting", "Builds in the queue.", lambda: 3)
    settings = Settings(enable=True, port=free_port())
    server = metrics.serve(settings)
    try:
        with urlopen(f"http://127.0.0.1:{settings.port}/metrics", timeout=10) as answer:
            assert b"nix_shim_builds_waiting 3.0" in answer.read()
        with pytest.raises(ShimError, match=r"cannot listen on 127\.0\.0\.1"):
            Metrics().serve(settings)
    finally:
        server.shutdown()
        server.server_close()
