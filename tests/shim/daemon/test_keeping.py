import os
import time
from pathlib import Path

from protocol.store.path import StorePath
from shim.daemon.building.keeping import FOLDER, Keeper

ONE = StorePath("/nix/store/g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-one")
TWO = StorePath("/nix/store/h1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-two")


def links(root: Path) -> dict[str, str]:
    """Every link below our folder, by where it lies."""
    folder = root / FOLDER
    return {
        str(link.relative_to(folder)): str(link.readlink())
        for link in folder.rglob("*")
        if link.is_symlink()
    }


def test_what_is_used_is_protected_meanwhile(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path, 60)
    with keeper.using({ONE}), keeper.using({ONE, TWO}):
        assert sorted(links(tmp_path).values()) == [ONE, ONE, TWO]
    assert links(tmp_path) == {}


def test_what_is_delivered_is_protected_for_a_time(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path, 60)
    keeper.deliver([ONE, TWO])
    old = time.time() - 61
    os.utime(tmp_path / FOLDER / "delivered" / ONE.base, (old, old), follow_symlinks=False)
    keeper.expire()
    assert links(tmp_path) == {f"delivered/{TWO.base}": TWO}


def test_delivering_again_starts_the_time_anew(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path, 60)
    keeper.deliver([ONE])
    old = time.time() - 61
    os.utime(tmp_path / FOLDER / "delivered" / ONE.base, (old, old), follow_symlinks=False)
    keeper.deliver([ONE])
    keeper.expire()
    assert links(tmp_path) == {f"delivered/{ONE.base}": ONE}


def test_less_than_a_second_protects_nothing(tmp_path: Path) -> None:
    Keeper(tmp_path, 0.5).deliver([ONE])
    assert links(tmp_path) == {}


def test_a_start_lets_go_what_a_killed_run_used(tmp_path: Path) -> None:
    killed = Keeper(tmp_path, 60)
    killed.deliver([TWO])
    with killed.using([ONE]):
        Keeper(tmp_path, 60).settle()
        assert links(tmp_path) == {f"delivered/{TWO.base}": TWO}


def test_what_is_to_be_deleted_is_let_go(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path, 60)
    keeper.deliver([ONE, TWO])
    keeper.forget([ONE])
    assert links(tmp_path) == {f"delivered/{TWO.base}": TWO}


def test_a_store_that_is_not_ours_is_no_reason_to_fail(tmp_path: Path) -> None:
    (tmp_path / "nix").write_text("no folder")
    with Keeper(tmp_path, 60).using([ONE]):
        pass
