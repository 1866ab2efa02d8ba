import os
import resource
import socket
import subprocess
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from protocol.errors import LocalProtocolError
from protocol.nar.events import Data, Directory, End, Entry, Event, Regular, Symlink
from protocol.nar.format import MAX_DEPTH, BadNar
from protocol.nar.writer import NarWriter
from shim.filetree import PIECE, FileTreeError, Unpacker, pack, scan, unpack
from tests.support import strategies


def make(root: Path) -> None:
    """A tree with one of everything."""
    (root / "bin").mkdir(parents=True)
    (root / "bin" / "tool").write_bytes(b"#!/bin/sh\n")
    (root / "bin" / "tool").chmod(0o755)
    (root / "empty").mkdir()
    (root / "z").write_bytes(b"")
    (root / "a-b").write_bytes(b"\0" * 9)
    (root / "a").mkdir()
    (root / "link").symlink_to("/nowhere/at/all")
    os.close(os.open(os.fsencode(root) + b"/\xff\xfe", os.O_CREAT | os.O_WRONLY, 0o644))


def file(contents: bytes, *, executable: bool = False) -> list[Event]:
    pieces: list[Event] = [Data(contents)] if contents else []
    return [Regular(executable, len(contents)), *pieces, End()]


def directory(*entries: tuple[bytes, list[Event]]) -> list[Event]:
    inner = [event for name, node in entries for event in [Entry(name), *node]]
    return [Directory(), *inner, End()]


ONE_OF_EVERYTHING = directory(
    (b"a", directory()),
    (b"a-b", file(b"\0" * 9)),
    (b"bin", directory((b"tool", file(b"#!/bin/sh\n", executable=True)))),
    (b"empty", directory()),
    (b"link", [Symlink(b"/nowhere/at/all")]),
    (b"z", file(b"")),
    (b"\xff\xfe", file(b"")),
)


def write(target: Path, events: list[Event]) -> None:
    """Unpack events that no reader would give."""
    with Unpacker(target) as unpacker:
        for event in events:
            unpacker.write(event)


@pytest.fixture
def no_descriptor_leaks() -> Iterator[None]:
    before = len(list(Path("/proc/self/fd").iterdir()))
    yield
    assert len(list(Path("/proc/self/fd").iterdir())) == before


pytestmark = pytest.mark.usefixtures("no_descriptor_leaks")


def nar(events: list[Event]) -> list[bytes]:
    return [NarWriter().write_all(events)]


def test_a_tree_is_packed_in_order(tmp_path: Path) -> None:
    make(tmp_path / "tree")
    assert list(scan(tmp_path / "tree")) == ONE_OF_EVERYTHING


def test_a_tree_comes_back(tmp_path: Path) -> None:
    make(tmp_path / "tree")
    unpack(pack(tmp_path / "tree"), tmp_path / "copy")
    assert list(scan(tmp_path / "copy")) == ONE_OF_EVERYTHING


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(strategies.nar_events)
def test_every_nar_comes_back(tmp_path: Path, events: list[Event]) -> None:
    target = tmp_path / str(len(list(tmp_path.iterdir())))
    unpack(nar(events), target)
    assert b"".join(pack(target)) == nar(events)[0]


@pytest.mark.parametrize(
    "events",
    [file(b"x", executable=True), [Symlink(b"x")]],
    ids=["file", "link"],
)
def test_the_root_need_not_be_a_directory(tmp_path: Path, events: list[Event]) -> None:
    unpack(nar(events), tmp_path / "root")
    assert list(scan(tmp_path / "root")) == events


def test_modes_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        unpack(nar(ONE_OF_EVERYTHING), tmp_path / "tree")
    finally:
        os.umask(before)
    modes = [(tmp_path / "tree" / name).stat().st_mode & 0o777 for name in ("bin", "bin/tool", "z")]
    assert modes == [0o750, 0o750, 0o640]


def test_large_files_go_through_in_pieces(tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as large:
        large.truncate(64 << 20)
    tracemalloc.start()
    unpack(pack(tmp_path / "large"), tmp_path / "copy")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (tmp_path / "copy").stat().st_size == 64 << 20
    assert peak < 8 * PIECE


@pytest.mark.live
def test_real_nix_packs_alike(tmp_path: Path) -> None:
    make(tmp_path / "tree")
    dumped = subprocess.run(
        ["nix-store", "--dump", str(tmp_path / "tree")], check=True, capture_output=True
    ).stdout
    assert b"".join(pack(tmp_path / "tree")) == dumped


def test_links_are_packed_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "link").symlink_to(tmp_path / "secret")
    (tmp_path / "root").symlink_to("tree")
    assert b"secret" not in b"".join(pack(tmp_path / "tree")).replace(
        os.fsencode(tmp_path / "secret"), b""
    )
    assert list(scan(tmp_path / "root")) == [Symlink(b"tree")]


def test_what_nar_cannot_say_is_refused(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    os.mkfifo(tree / "pipe")
    with pytest.raises(FileTreeError, match=f"`{tree}/pipe` is neither a file nor"):
        list(pack(tree))
    (tree / "pipe").unlink()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tree / "socket"))
        with pytest.raises(FileTreeError, match=f"`{tree}/socket` is neither a file nor"):
            list(pack(tree))


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileTreeError, match=f"`{tmp_path}/none` cannot be read: No such file"):
        list(pack(tmp_path / "none"))
    with pytest.raises(FileTreeError, match=f"`{tmp_path}/no` cannot be read: No such file"):
        list(pack(tmp_path / "no" / "ne"))


def test_a_file_that_shrinks_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(3 * PIECE))
    pieces = pack(tmp_path / "file")
    next(pieces)
    next(pieces)
    os.truncate(tmp_path / "file", PIECE)
    with pytest.raises(FileTreeError, match=f"`{tmp_path}/file` changed while it was read"):
        list(pieces)


def test_a_pipe_put_in_place_of_a_file_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody who may write to the directory wins the race between looking and opening."""
    (tmp_path / "file").write_bytes(b"")
    os.mkfifo(tmp_path / "pipe")
    seen = (tmp_path / "file").stat()
    with monkeypatch.context() as patched:
        patched.setattr("shim.filetree.os.stat", lambda *_, **__: seen)
        with pytest.raises(FileTreeError, match="pipe` changed while it was read"):
            list(pack(tmp_path / "pipe"))


def test_trees_beyond_the_limit_of_readers_are_refused(tmp_path: Path) -> None:
    deepest = tmp_path / "tree" / "/".join("d" * (MAX_DEPTH - 1))
    deepest.mkdir(parents=True)
    assert len(list(scan(tmp_path / "tree"))) == 3 * MAX_DEPTH - 1
    (deepest / "file").write_bytes(b"")
    with pytest.raises(FileTreeError, match="/d/file` lies more than 63 levels deep"):
        list(scan(tmp_path / "tree"))


def test_an_abandoned_packing_leaves_nothing_open(tmp_path: Path) -> None:
    make(tmp_path / "tree")
    pieces = pack(tmp_path / "tree")
    for _ in range(8):
        next(pieces)
    pieces.close()  # type: ignore[attr-defined]  # a generator, said to be an iterator


@pytest.mark.parametrize("make_it", ["touch", "mkdir", "ln -s nowhere", "ln -s /"])
def test_nothing_is_overwritten(tmp_path: Path, make_it: str) -> None:
    subprocess.run([*make_it.split(), str(tmp_path / "there")], check=True)
    with pytest.raises(FileTreeError, match=f"`{tmp_path}/there` exists already"):
        unpack(nar(ONE_OF_EVERYTHING), tmp_path / "there")
    with pytest.raises(FileTreeError, match="exists already"):
        unpack(nar(file(b"")), tmp_path / "there")
    with pytest.raises(FileTreeError, match="exists already"):
        unpack(nar([Symlink(b"x")]), tmp_path / "there")
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_a_link_made_by_the_nar_leads_nowhere(tmp_path: Path) -> None:
    """A reader refuses such a NAR; the unpacker alone has to as well."""
    (tmp_path / "outside").mkdir()
    outside = os.fsencode(tmp_path / "outside")
    events = directory((b"a", [Symlink(outside)]), (b"a", directory((b"b", file(b"")))))
    with pytest.raises(FileTreeError, match=f"`{tmp_path}/tree/a` exists already"):
        write(tmp_path / "tree", events)
    assert list((tmp_path / "outside").iterdir()) == []
    assert [path.name for path in tmp_path.iterdir()] == ["outside"]


@pytest.mark.parametrize("name", [b"..", b".", b"", b"a/b", b"../x", b"/etc/x", b"a\0"])
def test_a_name_leads_nowhere_else(tmp_path: Path, name: bytes) -> None:
    with pytest.raises(LocalProtocolError, match="not a name"):
        write(tmp_path / "tree", directory((name, file(b"x"))))
    assert list(tmp_path.iterdir()) == []


def test_a_directory_swapped_for_a_link_is_not_entered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody who may write to the directory wins the race between creating and opening."""
    (tmp_path / "outside").mkdir()
    really = os.mkdir

    def swapped(name: bytes, *, dir_fd: int) -> None:
        really(name, dir_fd=dir_fd)
        os.rmdir(name, dir_fd=dir_fd)
        os.symlink(tmp_path / "outside", os.fsdecode(name), dir_fd=dir_fd)

    monkeypatch.setattr("shim.filetree.os.mkdir", swapped)
    with pytest.raises(FileTreeError, match="cannot be written: Not a directory"):
        unpack(nar(ONE_OF_EVERYTHING), tmp_path / "tree")
    assert list((tmp_path / "outside").iterdir()) == []


@pytest.mark.parametrize("size", [0, 8, 30, 200, 400, 600, 1000])
def test_a_failure_leaves_nothing_behind(tmp_path: Path, size: int) -> None:
    whole = nar(ONE_OF_EVERYTHING)[0]
    with pytest.raises(BadNar, match="in its middle"):
        unpack([whole[:size]], tmp_path / "tree")
    with pytest.raises(BadNar):
        unpack([whole[:size], b"\1" * 200], tmp_path / "tree")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("cut", [True, False])
def test_what_follows_the_nar_is_refused(tmp_path: Path, cut: bool) -> None:
    whole = nar(ONE_OF_EVERYTHING)[0]
    with pytest.raises(BadNar, match="follow"):
        unpack([whole, b"x"] if cut else [whole + b"x"], tmp_path / "tree")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_reported_and_cleaned_up(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(FileTreeError, match="tree` cannot be written: File too large"):
            unpack(nar(file(bytes(2000))), tmp_path / "tree")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "events",
    [
        [Data(b"x")],
        [End()],
        [Entry(b"x")],
        [Symlink(b"x"), Symlink(b"x")],
        [Directory(), Directory()],
        [Directory(), Entry(b"a"), End()],
        [Regular(executable=False, size=1), Symlink(b"x")],
        [Directory(), End(), End()],
    ],
    ids=str,
)
def test_events_out_of_place_are_our_mistake(tmp_path: Path, events: list[Event]) -> None:
    with pytest.raises(LocalProtocolError):
        write(tmp_path / "tree", [*events, Directory()])
    assert list(tmp_path.iterdir()) == []
