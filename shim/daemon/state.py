"""What the daemon remembers between runs: failed plants and what became of each build (SQLite).

One connection, used from the trio thread: statements are short and the file is local.  WAL with
`synchronous=NORMAL` keeps the file whole if we are killed at any instant.
"""

import json
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from protocol.store.path import StorePath
from shim.errors import ExitCode, ShimError

SCHEMA: Final = 1

TABLES: Final = """
CREATE TABLE IF NOT EXISTS failure (
  derivation TEXT NOT NULL, knowledge TEXT NOT NULL, reason TEXT NOT NULL, at REAL NOT NULL,
  PRIMARY KEY (derivation, knowledge)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS build (
  id INTEGER PRIMARY KEY, derivation TEXT NOT NULL, peer TEXT NOT NULL, strategy TEXT NOT NULL,
  outcome TEXT NOT NULL, started REAL NOT NULL, seconds REAL NOT NULL, findings TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS build_by_derivation ON build (derivation, id);
"""


@dataclass(frozen=True, slots=True)
class BuildRecord:
    """One attempt at a derivation by one strategy."""

    derivation: StorePath
    peer: str
    strategy: str
    outcome: str
    """`ok`, or what went wrong."""
    started: float
    """Seconds since the epoch."""
    seconds: float
    """Wall time."""
    findings: tuple[Mapping[str, str], ...] = ()
    """What the gates found, one JSON object each."""


class State:
    """The daemon's memory.

    `knowledge` names the version of table and program that a failure belongs to.
    """

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=NORMAL")
            (version,) = self._connection.execute("PRAGMA user_version").fetchone()
            if version not in (0, SCHEMA):
                raise ShimError(
                    f"the state `{path}` has schema {version}, this program knows {SCHEMA}",
                    hint="run the program that wrote it, or move the file away",
                    code=ExitCode.CONFIG,
                )
            self._connection.executescript(TABLES)
            self._connection.execute(f"PRAGMA user_version={SCHEMA}")
        except (sqlite3.Error, OSError) as error:
            raise ShimError(
                f"cannot use the state `{path}`: {error}",
                hint="move the file away; it holds failures and history, nothing that cannot go",
                code=ExitCode.UNAVAILABLE,
            ) from error

    def close(self) -> None:
        """Close the file; harmless when done twice."""
        self._connection.close()

    def remember_failure(self, derivation: StorePath, knowledge: str, reason: str) -> None:
        """Planting `derivation` failed; older knowledge about it goes."""
        with closing(self._connection.cursor()) as cursor:
            cursor.execute("BEGIN IMMEDIATE")
            cursor.execute("DELETE FROM failure WHERE derivation = ?", (derivation,))
            cursor.execute(
                "INSERT INTO failure VALUES (?, ?, ?, ?)",
                (derivation, knowledge, reason, time.time()),
            )
            cursor.execute("COMMIT")

    def failure(self, derivation: StorePath, knowledge: str) -> str | None:
        """Why planting `derivation` failed under the same knowledge, if it did."""
        row = self._connection.execute(
            "SELECT reason FROM failure WHERE derivation = ? AND knowledge = ?",
            (derivation, knowledge),
        ).fetchone()
        return None if row is None else str(row[0])

    def record(self, build: BuildRecord) -> None:
        """Keep what became of an attempt."""
        self._connection.execute(
            "INSERT INTO build (derivation, peer, strategy, outcome, started, seconds, findings)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                build.derivation,
                build.peer,
                build.strategy,
                build.outcome,
                build.started,
                build.seconds,
                json.dumps(list(build.findings)),
            ),
        )

    def builds(self, derivation: StorePath) -> list[BuildRecord]:
        """The attempts at `derivation`, oldest first."""
        rows = self._connection.execute(
            "SELECT derivation, peer, strategy, outcome, started, seconds, findings"
            " FROM build WHERE derivation = ? ORDER BY id",
            (derivation,),
        )
        return [
            BuildRecord(
                StorePath(drv),
                peer,
                strategy,
                outcome,
                started,
                seconds,
                tuple(json.loads(findings)),
            )
            for drv, peer, strategy, outcome, started, seconds, findings in rows
        ]
