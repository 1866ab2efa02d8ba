"""Freshness: tables that are made anew when a peer asks for what none of them knows.

One scan at a time, in the background, as a process of its own (`nix-shim table scan`): its memory
goes with it, and it can be stopped.  The request that caused it is not held up; the next one finds
the new table.  A scan that fails leaves the old table in use.
"""

import os
import signal
import sys
import time
from contextlib import suppress
from typing import Final

import structlog
import trio

from shim.config import Config, TableSource
from shim.daemon.state import ScanRecord, State
from shim.daemon.tables import Tables
from shim.errors import ShimError

log = structlog.get_logger()

SAID: Final = 3
"""Last lines of a failed scan that are kept."""

PATIENCE: Final = 5
"""Seconds for a scan to end after SIGTERM."""


class Scans:
    """See the module."""

    def __init__(self, config: Config, tables: Tables, state: State) -> None:
        self._config = config
        self._tables = tables
        self._state = state
        self._waiting: dict[str, TableSource] = {}
        self._wake = trio.Event()
        self._started: dict[str, float] = {}

    def unknown(self, peer: str) -> None:
        """`peer` asked for what no table knows: see to its sources, as soon as they may run."""
        for name, source in self._config.sources.items():
            if not source.peers or peer in source.peers:
                self._waiting[name] = source
        if self._waiting:
            self._wake.set()

    async def run(self) -> None:
        """Scan what is due, one source after the other, for ever."""
        while True:
            await self._wake.wait()
            name, due = min(
                ((name, self._due(name, source)) for name, source in self._waiting.items()),
                key=lambda each: each[1],
            )
            # What is asked for meanwhile may be due earlier: the pause ends when it is asked.
            self._wake = trio.Event()
            with trio.move_on_at(due):
                await self._wake.wait()
                continue
            source = self._waiting.pop(name)
            if self._waiting:
                self._wake.set()
            self._started[name] = trio.current_time()
            await self._scan(name, source)

    def _due(self, name: str, source: TableSource) -> float:
        started = self._started.get(name)
        return trio.current_time() if started is None else started + source.interval

    async def _scan(self, name: str, source: TableSource) -> None:
        begun = time.time()
        log.info("scan-started", source=name)
        outcome = await self._outcome(name, source)
        if outcome == "ok":
            try:
                # A planner may hold its lock for long, and files may have tens of MiB.
                await trio.to_thread.run_sync(self._reload)
            except ShimError as error:
                outcome = str(error)
        seconds = time.time() - begun
        self._state.record_scan(ScanRecord(name, begun, seconds, outcome))
        log.info("scan-ended", source=name, outcome=outcome, seconds=round(seconds, 2))

    def _reload(self) -> None:
        self._tables.become(Tables.load(self._config))

    async def _outcome(self, name: str, source: TableSource) -> str:
        """`ok`, or why there is no new table."""
        table = self._config.table_of(name)
        try:
            table.parent.mkdir(parents=True, exist_ok=True)
            with trio.fail_after(source.timeout):
                done = await trio.run_process(
                    [
                        *(sys.executable, "-m", "shim", "table", "scan", *source.scan),
                        *("--derivations", str(self._config.evaluation.root)),
                        *("--store-dir", self._config.store_dir, "--output", str(table)),
                    ],
                    capture_stdout=True,
                    capture_stderr=True,
                    check=False,
                    deliver_cancel=_end,
                    start_new_session=True,
                )
        except trio.TooSlowError:
            return f"it took longer than {source.timeout:g} s (sources.{name}.timeout)"
        except OSError as error:
            return str(error)
        if done.returncode == 0:
            return "ok"
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        return " ".join(lines[-SAID:]) or f"it ended with {done.returncode}"


async def _end(process: trio.Process) -> None:
    """Stop a scan and the Nix programs it started: its session is a process group.

    A Nix that waits for a file ignores SIGTERM, so the group is killed in any case.
    """
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with trio.move_on_after(PATIENCE):
            await process.wait()
