"""What the daemon remembers between runs: failed plants and what became of each build (SQLite).

One connection, written to from the trio thread: statements are short and the file is local.  WAL
with `synchronous=NORMAL` keeps the file whole if we are killed at any instant.
"""

import json
import re
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final
from urllib.parse import quote

from protocol.store.path import StorePath
from shim.errors import ExitCode, ShimError

SCHEMA: Final = 3

TABLES: Final = """
CREATE TABLE IF NOT EXISTS failure (
  derivation TEXT NOT NULL, knowledge TEXT NOT NULL, reason TEXT NOT NULL, at REAL NOT NULL,
  PRIMARY KEY (derivation, knowledge)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS import (
  id INTEGER PRIMARY KEY, domain TEXT NOT NULL, paths TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS build (
  id INTEGER PRIMARY KEY, derivation TEXT NOT NULL, peer TEXT NOT NULL, strategy TEXT NOT NULL,
  outcome TEXT NOT NULL, started REAL NOT NULL, seconds REAL NOT NULL, findings TEXT NOT NULL,
  verdict TEXT NOT NULL DEFAULT '', grade TEXT NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS build_by_derivation ON build (derivation, id);
CREATE TABLE IF NOT EXISTS lookup (
  id INTEGER PRIMARY KEY, derivation TEXT NOT NULL, peer TEXT NOT NULL, reason TEXT NOT NULL,
  at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS scan (
  source TEXT PRIMARY KEY, started REAL NOT NULL, seconds REAL NOT NULL, outcome TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS output (
  path TEXT NOT NULL, derivation TEXT NOT NULL, PRIMARY KEY (path, derivation)
) WITHOUT ROWID;
"""

MIGRATION: Final = {
    1: """
ALTER TABLE build ADD COLUMN verdict TEXT NOT NULL DEFAULT '';
ALTER TABLE build ADD COLUMN grade TEXT NOT NULL DEFAULT '';
""",
    2: "",
}
"""Schema of a file -> what brings its tables to the next one; tables it lacks are made anyway."""


SELECT: Final = (
    "SELECT derivation, peer, strategy, outcome, started, seconds, findings, verdict, grade, id"
    " FROM build "
)
"""The fields of a `BuildRecord`, in their order."""

VERSION: Final = re.compile(r"-[^a-zA-Z]")
"""Where a version begins in a name."""

LOOKUPS: Final = 100_000
"""Look-ups that are kept; older ones go."""


@dataclass(frozen=True, slots=True)
class LookupCount:
    """How often a peer's requests had one answer from the tables."""

    peer: str
    reason: str
    """Why nothing was found; empty where something was."""
    count: int


@dataclass(frozen=True, slots=True)
class ScanRecord:
    """The last scan of a source."""

    source: str
    started: float
    """Seconds since the epoch."""
    seconds: float
    """Wall time."""
    outcome: str
    """`ok`, or what went wrong."""


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
    findings: tuple[Mapping[str, Any], ...] = ()
    """What the gates found, one JSON object each (`shim.gates.verdict.Finding.as_json`)."""
    verdict: str = ""
    """The gates' verdict in a line; empty when they were not asked."""
    grade: str = ""
    """Kind of the key that signed the outputs (`shim.keys.Made`); empty when we signed nothing."""
    outputs: tuple[StorePath, ...] = ()
    """Output paths of the derivation, so that they lead to it; not read back."""
    number: int = field(default=0, compare=False)
    """Rises from one record to the next; given when it is kept."""

    def as_json(self) -> dict[str, Any]:
        """What a list of builds says of it."""
        return {
            "derivation": self.derivation,
            "peer": self.peer,
            "strategy": self.strategy,
            "outcome": self.outcome,
            "grade": self.grade or None,
            "started": self.started,
            "seconds": self.seconds,
            "findings": len(self.findings),
        }


class State:
    """The daemon's memory.

    `knowledge` names the version of table and program that a failure belongs to.
    """

    def __init__(self, path: Path, *, reading: bool = False) -> None:
        """Open the file.

        Args:
            path: the file.
            reading: only look, also while a daemon writes: nothing is made or brought up to date.

        Raises:
            ShimError: it cannot be used, or is of a schema that we do not know.
        """
        try:
            self._connection = _read(path) if reading else _write(path)
        except (sqlite3.Error, OSError) as error:
            raise ShimError(
                f"cannot use the state `{path}`: {error}",
                hint="name the daemon's configuration or its state directory"
                if reading
                else "move the file away; it holds failures and history, nothing that cannot go",
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

    def begin_import(self, domain: str, paths: frozenset[StorePath]) -> int:
        """`paths` are about to be imported into a domain's serving store; a number for it."""
        with closing(self._connection.cursor()) as cursor:
            cursor.execute(
                "INSERT INTO import (domain, paths) VALUES (?, ?)",
                (domain, json.dumps(sorted(paths))),
            )
            return int(cursor.lastrowid or 0)

    def end_import(self, number: int) -> None:
        """The import of that number is done, or taken back."""
        self._connection.execute("DELETE FROM import WHERE id = ?", (number,))

    def imports(self, domain: str) -> list[tuple[int, frozenset[StorePath]]]:
        """Imports that began and are not known to have ended."""
        rows = self._connection.execute(
            "SELECT id, paths FROM import WHERE domain = ? ORDER BY id", (domain,)
        )
        return [(number, frozenset(map(StorePath, json.loads(paths)))) for number, paths in rows]

    def record(self, build: BuildRecord) -> None:
        """Keep what became of an attempt."""
        with closing(self._connection.cursor()) as cursor:
            cursor.execute("BEGIN IMMEDIATE")
            cursor.execute(
                "INSERT INTO build (derivation, peer, strategy, outcome, started, seconds,"
                " findings, verdict, grade) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    build.derivation,
                    build.peer,
                    build.strategy,
                    build.outcome,
                    build.started,
                    build.seconds,
                    json.dumps(list(build.findings)),
                    build.verdict,
                    build.grade,
                ),
            )
            cursor.executemany(
                "INSERT OR IGNORE INTO output VALUES (?, ?)",
                [(path, build.derivation) for path in build.outputs],
            )
            cursor.execute("COMMIT")

    def derivations(self, path: StorePath) -> list[StorePath]:
        """The derivations known to make the output `path`; a `.drv` stands for itself."""
        if path.is_derivation:
            return [path]
        rows = self._connection.execute(
            "SELECT derivation FROM output WHERE path = ? ORDER BY derivation", (path,)
        )
        return [StorePath(drv) for (drv,) in rows]

    def record_lookup(self, derivation: StorePath, peer: str, reason: str) -> None:
        """Keep how the tables answered a request; `reason` is empty if they knew it."""
        with closing(self._connection.cursor()) as cursor:
            cursor.execute(
                "INSERT INTO lookup (derivation, peer, reason, at) VALUES (?, ?, ?, ?)",
                (derivation, peer, reason, time.time()),
            )
            cursor.execute("DELETE FROM lookup WHERE id <= ?", ((cursor.lastrowid or 0) - LOOKUPS,))

    def lookups(self, last: int) -> list[LookupCount]:
        """The `last` look-ups, counted by peer and reason, found ones first."""
        rows = self._connection.execute(
            "SELECT peer, reason, count(*) FROM (SELECT * FROM lookup ORDER BY id DESC LIMIT ?)"
            " GROUP BY peer, reason ORDER BY peer, reason",
            (last,),
        )
        return [LookupCount(*row) for row in rows]

    def record_scan(self, scan: ScanRecord) -> None:
        """Keep what became of the last scan of a source."""
        self._connection.execute(
            "INSERT OR REPLACE INTO scan VALUES (?, ?, ?, ?)",
            (scan.source, scan.started, scan.seconds, scan.outcome),
        )

    def scans(self) -> list[ScanRecord]:
        """The last scan of each source that had one."""
        rows = self._connection.execute(
            "SELECT source, started, seconds, outcome FROM scan ORDER BY source"
        )
        return [ScanRecord(*row) for row in rows]

    def builds(self, derivation: StorePath) -> list[BuildRecord]:
        """The attempts at `derivation`, oldest first."""
        return self._records("WHERE derivation = ? ORDER BY id", derivation)

    def recent(self, last: int, *, peer: str = "", after: int = 0) -> list[BuildRecord]:
        """The last attempts, newest first.

        Args:
            last: how many at most.
            peer: only those for this peer; empty: for all.
            after: only those whose number is greater.
        """
        return self._records(
            "WHERE id > ?1 AND (?2 = '' OR peer = ?2) ORDER BY id DESC LIMIT ?3", after, peer, last
        )

    def typical_seconds(self, name: str, strategy: str) -> float | None:
        """How long a package takes by a strategy: the median of its last successes, if any.

        Args:
            name: of the derivation, without `.drv`; another version of a package counts too.
            strategy: how it is made.
        """
        rows = self._connection.execute(
            "SELECT seconds FROM build WHERE strategy = ? AND outcome = 'ok'"
            " AND derivation GLOB ? ORDER BY id DESC LIMIT 9",
            (strategy, f"*/{'?' * 32}-{_versions(name)}"),
        ).fetchall()
        return median(seconds for (seconds,) in rows) if rows else None

    def _records(self, which: str, *values: object) -> list[BuildRecord]:
        return [_record(row) for row in self._connection.execute(SELECT + which, values)]


def _versions(name: str) -> str:
    """A pattern of GLOB for a `.drv` of any version of a package (`nix::DrvName`)."""
    found = VERSION.search(name)
    bare = re.sub(r"[*?\[]", "?", name[: found.start()] if found else name)
    return f"{bare}-[^a-zA-Z]*" if found else f"{bare}.drv"


def _record(row: tuple[Any, ...]) -> BuildRecord:
    derivation, peer, strategy, outcome, started, seconds, findings, verdict, grade, number = row
    return BuildRecord(
        StorePath(derivation),
        peer,
        strategy,
        outcome,
        started,
        seconds,
        tuple(json.loads(findings)),
        verdict,
        grade,
        number=number,
    )


def _write(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    # SQLite takes turns by itself (`sqlite3.threadsafety` 3); sessions' threads only read.
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    version = _version(connection, path)
    if version != SCHEMA:
        connection.executescript(
            f"BEGIN IMMEDIATE; {MIGRATION.get(version, '')} {TABLES}"
            f" PRAGMA user_version={SCHEMA}; COMMIT;"
        )
    return connection


def _read(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)
    if (version := _version(connection, path)) != SCHEMA:
        raise ShimError(
            f"the state `{path}` has schema {version}, this program knows {SCHEMA}",
            hint="start the daemon once: it brings its state up to date",
            code=ExitCode.CONFIG,
        )
    return connection


def _version(connection: sqlite3.Connection, path: Path) -> int:
    """The schema of a file; 0 when it is new."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version not in (0, SCHEMA, *MIGRATION):
        raise ShimError(
            f"the state `{path}` has schema {version}, this program knows {SCHEMA}",
            hint="run the program that wrote it, or move the file away",
            code=ExitCode.CONFIG,
        )
    return int(version)
