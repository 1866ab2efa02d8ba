import os
import shutil
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio
from click.testing import CliRunner

from protocol.store.path import StorePath
from shim import config
from shim.cli import command
from shim.daemon.scans import Scans
from shim.daemon.state import ScanRecord, State
from shim.daemon.tables import UNKNOWN, Tables
from shim.equivalence.source import Derivations

pytestmark = pytest.mark.skipif(
    shutil.which("nix-instantiate") is None, reason="Nix is not installed"
)

SET = """
let
  make = suffix: system: env: derivation (
    { name = "app${suffix}-1"; inherit system; builder = "/bin/sh"; } // env
  );
in {
  app = make "" "riscv64-linux" { };
  stuck = builtins.readFile ./fifo;
  pkgsCross.board = {
    stuck = null;
    app = make "-riscv64-unknown-linux-gnu" "x86_64-linux" {
      configureFlags = "--build=x86_64-unknown-linux-gnu --host=riscv64-unknown-linux-gnu";
    };
  };
}
"""

CONFIG = """
state-directory = "{base}/state"
[serving]
root = "{base}/serve"
[plant]
root = "{base}/plant"
[evaluation]
root = "{base}/root"
"""


class World:
    """A configuration with sources, and everything that scans need of a daemon."""

    def __init__(self, base: Path) -> None:
        self.base = base
        (base / "root").mkdir()
        (base / "set.nix").write_text(SET)
        self.text = CONFIG.format(base=base)

    def source(self, name: str, attribute: str = "app", more: str = "") -> None:
        scan = ["--file", str(self.base / "set.nix"), "--attr", attribute, "--cross", "board"]
        self.text += f"[sources.{name}]\nscan = {scan}\n{more}\n"

    def play(self, act: Callable[[Scans], Awaitable[None]]) -> None:
        (self.base / "shim.toml").write_text(self.text)
        loaded = config.parse(self.text)
        self.tables = Tables.load(loaded)
        self.state = State(loaded.state_directory / "state.sqlite")
        scans = Scans(loaded, self.tables, self.state)

        async def main() -> None:
            with trio.fail_after(120):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(scans.run)
                    await act(scans)
                    nursery.cancel_scope.cancel()

        trio.run(main)

    async def scanned(self, holds: Callable[[list[ScanRecord]], bool] = bool) -> list[ScanRecord]:
        """Wait until `holds` of the last scans of all sources; any scan will do by default."""
        while True:
            if holds(found := self.state.scans()):
                return found
            await trio.sleep(0.02)

    def knows(self) -> bool:
        [drv] = (self.base / "root/nix/store").glob("*-app-1.drv")
        path = StorePath.of(drv.name)
        derivation = Derivations.open(self.base / "root")[path]
        entry, why = self.tables.entry(path, derivation)
        assert why in {"", UNKNOWN}
        return entry is not None


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("NIX_REMOTE", f"local?root={tmp_path / 'root'}")
    monkeypatch.setenv("NIX_CONFIG", "build-users-group =\nsubstituters =\n")
    return World(tmp_path)


def test_what_a_peer_lacks_is_found_by_the_next_request(world: World) -> None:
    world.source("attic", more='peers = ["attic"]')

    async def act(scans: Scans) -> None:
        scans.unknown("somebody else")
        await trio.sleep(0.2)
        assert world.state.scans() == []
        before = world.tables.version
        scans.unknown("attic")
        [record] = await world.scanned()
        assert record.outcome == "ok"
        assert world.knows()
        assert world.tables.version != before  # what failed under the old table may be tried again

    world.play(act)
    again = Tables.load(config.parse(world.text))  # as the daemon does at its next start
    assert again.version == world.tables.version


def test_scans_are_rate_limited_and_run_one_at_a_time(world: World) -> None:
    world.source("one", more="interval = 2")
    world.source("two", more="interval = 2")

    async def act(scans: Scans) -> None:
        for _ in range(5):
            scans.unknown("attic")
        first = await world.scanned(lambda done: len(done) == 2)
        early, late = sorted(first, key=lambda one: one.started)
        assert late.started >= early.started + early.seconds
        for _ in range(5):
            scans.unknown("attic")
        second = await world.scanned(lambda done: min(one.started for one in done) > late.started)
        for one, next_one in zip(first, second, strict=True):
            assert next_one.started - one.started >= 1.9

    world.play(act)


def test_a_failing_scan_leaves_the_old_table_in_use(world: World) -> None:
    world.source("attic", more="interval = 0.1")

    async def act(scans: Scans) -> None:
        scans.unknown("attic")
        [good] = await world.scanned()
        (world.base / "set.nix").write_text("throw ''the checkout is broken''")
        scans.unknown("attic")
        [bad] = await world.scanned(lambda done: done != [good])
        assert "cannot evaluate set.nix" in bad.outcome
        assert world.knows()

    world.play(act)
    shown = CliRunner().invoke(
        command, ["table", "status", "--config", str(world.base / "shim.toml")]
    )
    assert "0 of the last 0 requests found" in shown.stdout
    assert "source attic: " in shown.stdout


def test_a_scan_that_hangs_is_ended_with_everything_it_started(world: World) -> None:
    os.mkfifo(world.base / "fifo")
    world.source("attic", attribute="stuck", more="timeout = 2")

    async def act(scans: Scans) -> None:
        started = time.monotonic()
        scans.unknown("attic")
        [record] = await world.scanned()
        assert "longer than 2 s (sources.attic.timeout)" in record.outcome
        assert time.monotonic() - started < 30

    world.play(act)
    patience = time.monotonic() + 10
    while left := [one for one in Path("/proc").glob("[0-9]*/cmdline") if is_scan(one, world.base)]:
        assert time.monotonic() < patience, left
        time.sleep(0.05)


def is_scan(path: Path, base: Path) -> bool:
    return f"{base}/set.nix".encode() in read(path)


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""  # the process has ended


def test_a_damaged_table_of_ours_stops_no_start(world: World) -> None:
    world.source("attic")
    loaded = config.parse(world.text)
    loaded.table_of("attic").parent.mkdir(parents=True)
    loaded.table_of("attic").write_bytes(b"half a table")

    async def act(scans: Scans) -> None:
        scans.unknown("attic")
        await world.scanned()
        assert world.knows()

    world.play(act)
