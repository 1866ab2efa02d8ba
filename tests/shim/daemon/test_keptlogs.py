import os
from pathlib import Path

import pytest

from protocol.store.path import StorePath
from shim.daemon.building import keptlogs
from shim.daemon.building.keptlogs import KeptLogs
from shim.errors import ShimError

DRV = StorePath(f"/nix/store/{'g1w7hy3q' * 4}-pigz-2.8.drv")
OTHER = StorePath(f"/nix/store/{'g1w7hy3q' * 4}-zlib-1.3.drv")


def test_the_last_log_is_kept(tmp_path: Path) -> None:
    logs = KeptLogs(tmp_path)
    assert logs.read(DRV) is None
    logs.keep(DRV, ["first"])
    logs.keep(DRV, ["second", "line \udcff"])
    assert logs.read(DRV) == "second\nline \ufffd\n"


def test_the_oldest_go_when_there_are_too_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keptlogs, "FILES", 1)
    logs = KeptLogs(tmp_path)
    logs.keep(DRV, ["old"])
    (old,) = (tmp_path / "logs").iterdir()
    os.utime(old, (1, 1))
    logs.keep(OTHER, ["new"])
    assert logs.read(DRV) is None
    assert logs.read(OTHER) == "new\n"


def test_a_damaged_log_is_named(tmp_path: Path) -> None:
    logs = KeptLogs(tmp_path)
    logs.keep(DRV, ["text"])
    (path,) = (tmp_path / "logs").iterdir()
    path.write_bytes(b"junk")
    with pytest.raises(ShimError, match="is damaged"):
        logs.read(DRV)


def test_nothing_is_left_of_a_log_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "logs").touch()
    with pytest.raises(OSError, match="exists"):
        KeptLogs(tmp_path).keep(DRV, ["text"])
