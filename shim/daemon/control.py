"""What operators ask of the running daemon: how it is, and what it would do with a derivation.

One line of JSON each way, `{"ask": "status"}` or `{"ask": "explain", "derivation": PATH, "peer":
NAME}`; errors are `{"error": TEXT}`.  Nothing is changed from here.
"""

import json
import os
import time
from collections.abc import Mapping
from typing import Any, Final

import structlog
import trio

from protocol.store.path import BadStorePath, StorePath
from shim import __version__
from shim.config import DEFAULT_DOMAIN, Policy
from shim.daemon.building.builds import View
from shim.daemon.building.flight import Asker, Wanted
from shim.daemon.building.flightlog import FlightLog
from shim.daemon.clients.client import Pipe
from shim.daemon.nix.upstream import DaemonLost, DaemonRefused
from shim.daemon.services import Services
from shim.daemon.state import State
from shim.equivalence.source import Derivations, UnreadableDerivation
from shim.errors import ShimError
from shim.plan.explain import explained
from shim.session.policy import resolve

log = structlog.get_logger()

LIMIT: Final = 1 << 16
"""Longest question in bytes."""
RECENT: Final = 20
"""Builds of the past that a status names."""


async def control_session(domains: Mapping[str, Services], stream: Pipe) -> None:
    """Answer an operator's questions until it closes.

    Args:
        domains: by name.
        stream: the connection; closed by the caller.
    """
    buffer = b""
    while more := await stream.receive_some(LIMIT):
        buffer += more
        while b"\n" in buffer:
            line, _, buffer = buffer.partition(b"\n")
            answer = await _answer(domains, line)
            await stream.send_all(json.dumps(answer).encode() + b"\n")
        if len(buffer) > LIMIT:
            return


async def _answer(domains: Mapping[str, Services], line: bytes) -> dict[str, Any]:
    try:
        match json.loads(line):
            case {"ask": "status"}:
                return status(domains)
            case {"ask": "explain", "derivation": str(path), "peer": str(peer)}:
                return await _explain(domains, path, peer)
            case other:
                return {"error": f"`{str(other)[:80]}` is no question"}
    except ValueError as error:
        return {"error": f"not JSON: {error}"}
    except (ShimError, DaemonLost, DaemonRefused, BadStorePath) as error:
        return {"error": str(error)}
    except Exception:
        log.exception("question-failed")
        return {"error": "nix-shim made a mistake; its log has the details"}


def status(domains: Mapping[str, Services]) -> dict[str, Any]:
    """How the daemon is now."""
    services = domains[DEFAULT_DOMAIN]
    shared = services.builds.shared
    scheduler = shared.scheduler
    builds = [
        _build(name, view, shared.state)
        for name, each in domains.items()
        for view in each.builds.views()
    ]
    return {
        "version": __version__,
        "pid": os.getpid(),
        "time": time.time(),
        "stopping": services.sessions.stopping,
        "sessions": [
            {
                "peer": live.who.name,
                "standing": live.who.standing.value,
                "speaks": live.who.speaks,
                "domain": live.who.domain,
                "since": live.since,
                "doing": live.doing,
            }
            for live in sorted(services.sessions.live, key=lambda live: live.since)
        ],
        "builds": builds,
        "running": len(scheduler.running),
        "queue": [
            {
                "peer": ", ".join(sorted(each.peers())),
                "system": each.system,
                "strategy": each.strategy.value,
            }
            for each in scheduler.waiting
        ],
        "recent": [each.as_json() for each in shared.state.recent(RECENT)],
    }


def _build(domain: str, view: View, state: State) -> dict[str, Any]:
    name = view.derivation.name.removesuffix(".drv")
    strategy = view.strategy.value if view.strategy else None
    return {
        "domain": domain,
        "derivation": view.derivation,
        "system": view.system,
        "strategy": strategy,
        "doing": view.doing,
        "started": view.started,
        "estimate": state.typical_seconds(name, strategy) if strategy else None,
        "peers": sorted(view.peers),
    }


async def _explain(domains: Mapping[str, Services], path: str, peer: str) -> dict[str, Any]:
    config = domains[DEFAULT_DOMAIN].config
    services = domains[config.peer(peer).domain]
    drv = StorePath.parse(path, config.store_dir)
    derivation = await trio.to_thread.run_sync(_read, services, drv)
    wanted = Wanted(drv, derivation, derivation.output_paths())
    if not services.builds.judges(derivation):
        return {
            "derivation": drv,
            "judged": False,
            "why": f"builds for {derivation.platform} are left to the nix-daemon"
            if derivation.platform not in config.systems
            else "its outputs are not known before it is built: the nix-daemon builds it",
        }

    def policy(_: Wanted) -> Policy:
        return resolve(config.policy, config.rules, peer, derivation.platform, wanted.name)

    async def hear(_log: FlightLog, _alive: object) -> None:
        """Nothing is built, so nothing is said."""

    asker = Asker(peer, policy, services.graph(), hear)
    decision = await services.builds.decide(wanted, asker)
    return {"derivation": drv, "judged": True, "system": derivation.platform, **explained(decision)}


def _read(services: Services, drv: StorePath) -> Any:
    """The derivation, from the serving store or from where tables' derivations are."""
    config = services.config
    try:
        return services.graph()[drv]
    except UnreadableDerivation:
        return Derivations.open(config.evaluation.root, config.store_dir)[drv]
