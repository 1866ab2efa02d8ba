"""Logging set-up: events with fields, to standard error, for a console or for the journal.

Event names are a closed list (`EVENTS`); a test compares it with what the code says.
"""

import logging
import sys
from typing import Final, Literal

import structlog

EVENTS: Final = {
    "build-crashed": "A build ended by our own mistake; the traceback follows.",
    "build-ended": "A judged derivation was answered: strategy, outcome, seconds.",
    "build-failed": "A strategy came to nothing: class and reason; the next one is tried.",
    "build-started": "A derivation is judged; the decision's lines follow.",
    "client-broke-protocol": "A client sent what the protocol does not allow and was dropped.",
    "client-gone": "A client closed its connection, or fell silent for too long.",
    "client-opened": "A client finished its handshake.",
    "client-refused": "A connection was turned away before its handshake.",
    "daemon-unreachable": "The gateway could not reach the daemon's socket for a session.",
    "gate-finding": "A gate found something in a planted output.",
    "gates-judged": "The gates looked at a planted output: verdict, files, bytes, seconds.",
    "gateway-ready": "The gateway's sockets are open; the event has the host key for boards.",
    "key-made": "A signing key was made; boards that check signatures want its public part.",
    "login-failed": "A connection to the gateway ended before a peer's key was shown.",
    "nix-daemon-died": "A nix-daemon of ours ended by itself and is started anew.",
    "nix-daemon-said": "A line of a nix-daemon's own output.",
    "operation-refused": "A peer asked for what peers may not do.",
    "peer-connected": "A peer logged in at the gateway.",
    "peer-gone": "A peer's SSH connection ended.",
    "planted": "A planted output passed every gate and entered the serving store.",
    "ready": "The socket is open.",
    "reload-failed": "The configuration was not taken again; the one before stays.",
    "reloaded": "The gateway took its peers from the configuration again.",
    "scan-ended": "A table was made anew, or could not be: outcome, seconds.",
    "scan-started": "A peer asked for what no table knows; its source is evaluated again.",
    "session-ended": "A session at the gateway ended: how, and how many bytes went each way.",
    "session-failed": "A session ended by our own mistake; the traceback follows.",
    "session-opened": "A peer's session reached the daemon.",
    "session-refused": "A peer asked the gateway for what it does not offer, or too much of it.",
    "stopping": "A signal asked us to end.",
    "table-loaded": "An equivalence table is in use.",
    "table-unusable": "A table that we made is damaged; the next scan replaces it.",
}
"""Event name -> what it means."""


def set_up(style: Literal["console", "json"], level: str) -> None:
    """Send events of at least `level` to standard error, as text or one JSON object a line."""
    render: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if style == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.StackInfoRenderer(),
            structlog.processors.format_exc_info,
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
