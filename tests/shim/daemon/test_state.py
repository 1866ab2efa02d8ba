import sqlite3
from pathlib import Path

import pytest

from protocol.store.path import StorePath
from shim.daemon.state import BuildRecord, ScanRecord, State
from shim.errors import ShimError

DRV = StorePath("/nix/store/g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-pigz-2.8.drv")
OUT = StorePath("/nix/store/g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-pigz-2.8")


def test_a_failure_belongs_to_its_knowledge(tmp_path: Path) -> None:
    state = State(tmp_path / "state.sqlite")
    state.remember_failure(DRV, "table 1", "ran a foreign program")
    assert state.failure(DRV, "table 1") == "ran a foreign program"
    assert state.failure(DRV, "table 2") is None
    state.remember_failure(DRV, "table 2", "leaks")
    assert state.failure(DRV, "table 1") is None


def test_memory_outlives_the_daemon(tmp_path: Path) -> None:
    first = State(tmp_path / "state.sqlite")
    first.remember_failure(DRV, "k", "why")
    record = BuildRecord(
        DRV, "board", "cross", "ok", 1.5, 2.5, ({"rule": "elf.machine"},), "passed", "checked"
    )
    first.record(record)
    first.close()
    second = State(tmp_path / "state.sqlite")
    assert second.failure(DRV, "k") == "why"
    assert second.builds(DRV) == [record]


def test_outputs_lead_to_their_derivations(tmp_path: Path) -> None:
    state = State(tmp_path / "state.sqlite")
    state.record(BuildRecord(DRV, "board", "cross", "ok", 1.0, 2.0, outputs=(OUT,)))
    state.record(BuildRecord(DRV, "board", "cross", "ok", 3.0, 2.0, outputs=(OUT,)))
    assert state.derivations(OUT) == [DRV]
    assert state.derivations(DRV) == [DRV]
    assert state.derivations(StorePath(f"{OUT}-man")) == []


def test_an_older_state_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    connection = sqlite3.connect(path)
    connection.executescript(
        """
        CREATE TABLE build (
          id INTEGER PRIMARY KEY, derivation TEXT NOT NULL, peer TEXT NOT NULL,
          strategy TEXT NOT NULL, outcome TEXT NOT NULL, started REAL NOT NULL,
          seconds REAL NOT NULL, findings TEXT NOT NULL
        );
        PRAGMA user_version=1;
        """
    )
    row = (DRV, "board", "cross", "ok", 1.0, 2.0, "[]")
    connection.execute("INSERT INTO build VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)", row)
    connection.commit()
    connection.close()
    with pytest.raises(ShimError, match="start the daemon once"):
        State(path, reading=True)
    assert State(path).builds(DRV) == [BuildRecord(DRV, "board", "cross", "ok", 1.0, 2.0)]
    State(path).record(BuildRecord(DRV, "board", "cross", "ok", 1.0, 2.0, verdict="passed"))
    assert [each.verdict for each in State(path, reading=True).builds(DRV)] == ["", "passed"]


def test_a_reader_makes_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    with pytest.raises(ShimError, match=r"state\.sqlite"):
        State(path, reading=True)
    assert not path.exists()
    State(path).close()
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        State(path, reading=True).remember_failure(DRV, "k", "why")


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    path.write_bytes(b"no database at all, and longer than a header would be" * 40)
    with pytest.raises(ShimError, match=r"state\.sqlite"):
        State(path)


def test_the_state_of_a_newer_program_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(ShimError, match="schema 99"):
        State(path)


def test_lookups_are_counted_by_peer_and_reason(tmp_path: Path) -> None:
    state = State(tmp_path / "state.sqlite")
    for peer, reason in [("old", ""), ("a", "no table knows it"), ("b", ""), ("a", ""), ("b", "")]:
        state.record_lookup(DRV, peer, reason)
    counted = [(one.peer, one.reason, one.count) for one in state.lookups(4)]
    assert counted == [("a", "", 1), ("a", "no table knows it", 1), ("b", "", 2)]


def test_old_lookups_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shim.daemon.state.LOOKUPS", 3)
    state = State(tmp_path / "state.sqlite")
    for _ in range(10):
        state.record_lookup(DRV, "a", "")
    assert [one.count for one in state.lookups(100)] == [3]


def test_the_last_scan_of_a_source_is_remembered(tmp_path: Path) -> None:
    state = State(tmp_path / "state.sqlite")
    state.record_scan(ScanRecord("attic", 1.0, 2.0, "out of memory"))
    last = ScanRecord("attic", 5.0, 2.0, "ok")
    state.record_scan(last)
    assert state.scans() == [last]


def test_how_long_a_package_takes_is_known_from_other_versions(tmp_path: Path) -> None:
    state = State(tmp_path / "state.sqlite")
    for name, outcome, seconds in (
        ("pigz-2.7", "ok", 4.0),
        ("pigz-2.8", "ok", 6.0),
        ("pigz-2.8", "ok", 5.0),
        ("pigz-2.8", "failed", 90.0),
        ("pigz-doc-2.8", "ok", 1.0),
    ):
        drv = StorePath(f"/nix/store/{'g1w7hy3q' * 4}-{name}.drv")
        state.record(BuildRecord(drv, "board", "cross", outcome, 1.0, seconds))
    assert state.typical_seconds("pigz-2.9", "cross") == 5.0
    assert state.typical_seconds("pigz-2.9", "emulate") is None
    assert state.typical_seconds("zlib-1.3", "cross") is None
    state.close()


def test_imports_that_did_not_end_are_found_by_the_next_run(tmp_path: Path) -> None:
    first = State(tmp_path / "state.sqlite")
    done = first.begin_import("default", frozenset({OUT}))
    cut = first.begin_import("default", frozenset({OUT, DRV}))
    first.begin_import("other", frozenset({DRV}))
    first.end_import(done)
    first.close()
    second = State(tmp_path / "state.sqlite")
    assert second.imports("default") == [(cut, frozenset({OUT, DRV}))]
