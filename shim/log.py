"""Logging set-up: events with fields, to standard error, for a console or for the journal.

Event names are a closed list (`EVENTS`); a test compares it with what the code says.
"""

import logging
import os
import sys
from typing import Any, Final, Literal

import structlog

EVENTS: Final = {
    "build-crashed": "A build ended by our own mistake; the traceback follows.",
    "build-ended": "A judged derivation was answered: strategy, outcome, seconds.",
    "build-failed": "A strategy came to nothing: class and reason; the next one is tried.",
    "build-refused": "A request for a build was refused, by policy or for forged output paths.",
    "build-started": "A derivation is judged; the decision's lines follow.",
    "client-broke-protocol": "A client sent what the protocol does not allow and was dropped.",
    "client-gone": "A client closed its connection, or fell silent for too long.",
    "client-opened": "A client finished its handshake.",
    "client-refused": "A connection was turned away before its handshake.",
    "command-refused": "A peer asked for a command that is not answered.",
    "command-started": "A peer's nix-store command is answered.",
    "daemon-unreachable": "The gateway could not reach the daemon's socket for a session.",
    "gate-finding": "A gate found something in a planted output.",
    "gates-judged": "The gates looked at a planted output: verdict, files, bytes, seconds.",
    "gateway-ready": "The gateway's sockets are open; the event has the host key for boards.",
    "import-taken-back": "Outputs of an import that was cut off were deleted again.",
    "import-unsettled": "They could not be; the next start tries again.",
    "inner-session-ended": "The session behind a serve session or command ended.",
    "inner-session-failed": "The session behind a serve session or command failed.",
    "key-made": "A signing key was made; boards that check signatures want its public part.",
    "log-not-kept": "A build's log could not be written down for `nix-shim log`.",
    "login-failed": "A connection to the gateway ended before a peer's key was shown.",
    "needs-restart": "Keys of the configuration have changed that only a restart takes.",
    "nix-daemon-died": "A nix-daemon of ours ended by itself and is started anew.",
    "nix-daemon-said": "A line of a nix-daemon's own output.",
    "not-recorded": "A session could not be recorded; it goes on.",
    "operation-refused": "A peer asked for what peers may not do.",
    "operator-dropped": "An operator's session was ended: no nix-daemon, or one side was silent.",
    "operator-not-judged": "An operator's words could not be followed; all go to the nix-daemon.",
    "operator-opened": "An operator was joined to the nix-daemon.",
    "operator-refused": "An operator could not be joined to the nix-daemon.",
    "paths-unprotected": "Paths could not be kept from the garbage collector.",
    "peer-connected": "A peer logged in at the gateway.",
    "peer-gone": "A peer's SSH connection ended.",
    "planted": "A planted output passed every gate and entered the serving store.",
    "question-failed": "A question of an operator met a mistake of ours; the traceback follows.",
    "ready": "The socket is open.",
    "reload-failed": "The configuration was not taken again; the one before stays.",
    "reloaded": "The configuration was taken again; new sessions go by it.",
    "repair-failed": "A rejected output could not be copied for a repair; the verdict stands.",
    "request-refused": "A client's request was answered with an error of ours.",
    "scan-ended": "A table was made anew, or could not be: outcome, seconds.",
    "scan-started": "A peer asked for what no table knows; its source is evaluated again.",
    "session-ended": "A session at the gateway ended: how, and how many bytes went each way.",
    "session-failed": "A session ended by our own mistake; the traceback follows.",
    "session-opened": "A peer's session reached the daemon.",
    "session-refused": "A peer asked the gateway for what it does not offer, or too much of it.",
    "settings-ignored": "A peer's settings that boards may not change were not passed on.",
    "stopped-at-once": "Sessions were ended early: `deadlines.drain`, or a second signal.",
    "stopping": "A signal asked us to end.",
    "table-asked": "The tables were asked for a derivation: known or not, and why not.",
    "table-loaded": "An equivalence table is in use.",
    "table-unusable": "A table that we made is damaged; the next scan replaces it.",
    "upload-dropped": 'An unsigned upload was taken and dropped (`uploads = "rederive"`).',
}
"""Event name -> what it means."""


PRIORITIES: Final = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
"""Level -> what the journal calls it (sd-daemon(3)): `<N>` before a line sets its priority."""


def set_up(
    style: Literal["console", "json"],
    level: str,
    observe: structlog.typing.Processor | None = None,
) -> None:
    """Send events of at least `level` to standard error.

    Args:
        style: text for people, or one JSON object a line; with a priority for the journal where
            standard error is one (`JOURNAL_STREAM`, systemd.exec(5)).
        level: least level that is shown.
        observe: sees every event from level info on, shown or not.
    """
    shown = logging.getLevelName(level.upper())
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
            *([] if observe is None else [observe, _at_least(shown)]),
            render,
            *([_prioritised] if style == "json" and "JOURNAL_STREAM" in os.environ else []),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            shown if observe is None else min(shown, logging.INFO)
        ),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def _at_least(level: int) -> structlog.typing.Processor:
    """Ends what is below `level`."""

    def check(_: Any, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        if logging.getLevelName(_PLAIN.get(method, method).upper()) < level:
            raise structlog.DropEvent
        return event

    return check


_PLAIN: Final = {"exception": "error", "warn": "warning"}


def _prioritised(_: Any, method: str, line: Any) -> str:
    return f"<{PRIORITIES[_PLAIN.get(method, method)]}>{line}"
