import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shim.log import EVENTS

ROOT = Path(__file__).parents[2]
LEVELS = {"debug", "info", "warning", "error", "exception"}


def said() -> Iterator[str]:
    """Every event name that the code logs."""
    for path in (ROOT / "shim").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(
                    func=ast.Attribute(value=ast.Name(id="log"), attr=level),
                    args=[ast.Constant(value=str(event)), *_],
                ) if level in LEVELS:
                    yield event


def test_the_list_of_events_is_what_the_code_says() -> None:
    assert set(said()) == set(EVENTS)


def test_every_event_is_documented() -> None:
    page = (ROOT / "docs" / "operating.md").read_text()
    for event, meaning in EVENTS.items():
        assert f"| `{event}` | {meaning} |" in page


PROGRAM = """
import structlog
from shim import log
seen = []
def observe(_, method, event):
    seen.append((method, event["event"]))
    return event
log.set_up("json", "warning", {observe})
logger = structlog.get_logger()
logger.info("ready", socket="/x")
logger.warning("client-refused", why="y")
try:
    1 / 0
except ZeroDivisionError:
    logger.exception("session-failed")
print(seen)
"""


@pytest.mark.parametrize("journal", [False, True])
@pytest.mark.parametrize("observe", ["None", "observe"])
def test_lines_are_json_with_a_priority_for_the_journal(observe: str, *, journal: bool) -> None:
    environment = {"PYTHONPATH": str(ROOT)} | ({"JOURNAL_STREAM": "8:1"} if journal else {})
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("{observe}", observe)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env=environment,
    )
    refused, failed = done.stderr.splitlines()
    if journal:
        assert refused.startswith("<4>")
        assert failed.startswith("<3>")
        refused, failed = refused[3:], failed[3:]
    assert json.loads(refused)["why"] == "y"
    assert "ZeroDivisionError" in json.loads(failed)["exception"]
    assert ("('info', 'ready')" in done.stdout) == (observe == "observe")
