import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.store.path import StorePath
from shim.equivalence import file
from shim.equivalence.file import UnusableTable
from shim.equivalence.table import Table
from tests.shim.equivalence.entries import entries, paths, tables


def stored(data: bytes, folder: Path) -> Path:
    path = folder / "table"
    path.write_bytes(data)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables")


def signed(content: bytes) -> bytes:
    return content + hashlib.sha256(content).digest()


@given(tables)
def test_a_table_survives_its_file(folder: Path, table: Table) -> None:
    loaded = file.load(stored(file.dump(table), folder))
    file.verify(loaded, folder / "table")
    assert list(loaded) == list(table)
    assert list(loaded.unpaired) == list(table.unpaired)
    assert loaded.toolchains == table.toolchains
    assert loaded.provenance == table.provenance


@given(tables, st.lists(paths(".drv")))
def test_a_loaded_table_answers_like_the_one_in_memory(
    folder: Path, table: Table, others: list[StorePath]
) -> None:
    loaded = file.load(stored(file.dump(table), folder))
    asked = {path for entry in table for path in (entry.native, entry.cross)}
    asked |= {path for entry in table for path in entry.native_outputs.values()}
    asked |= {path for entry in table for path in entry.cross_outputs.values()}
    for path in [*sorted(asked), *others]:
        assert loaded.by_native(path) == table.by_native(path)
        assert loaded.by_cross(path) == table.by_cross(path)
        assert loaded.host_entry(path) == table.host_entry(path)
        assert loaded.native_output_for(path) == table.native_output_for(path)
        assert loaded.tool_for(path) == table.tool_for(path)


@given(tables)
def test_equal_tables_make_equal_files(table: Table) -> None:
    assert file.dump(table) == file.dump(Table.of(list(table), **parts(table)))


def parts(table: Table) -> dict[str, object]:
    return {
        "provenance": table.provenance,
        "toolchains": table.toolchains,
        "unpaired": table.unpaired,
    }


@given(tables, st.data())
def test_any_changed_byte_is_noticed(folder: Path, table: Table, data: st.DataObject) -> None:
    content = bytearray(file.dump(table))
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(UnusableTable):
        file.load(stored(bytes(content), folder))


@given(tables, st.data())
def test_a_truncated_file_is_refused(folder: Path, table: Table, data: st.DataObject) -> None:
    content = file.dump(table)
    length = data.draw(st.integers(0, len(content) - 1))
    with pytest.raises(UnusableTable):
        file.load(stored(content[:length], folder))


@given(tables, st.data())
def test_a_well_summed_but_wrong_file_is_refused_or_found_out(
    folder: Path, table: Table, data: st.DataObject
) -> None:
    content = bytearray(file.dump(table)[:-32])
    place = data.draw(st.integers(16, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    path = stored(signed(bytes(content)), folder)
    try:
        loaded = file.load(path)
        file.verify(loaded, path)
    except UnusableTable:
        return
    assert len(list(loaded)) == len(loaded)


def test_a_newer_format_is_refused_with_what_to_do(tmp_path: Path) -> None:
    content = bytearray(file.dump(Table.of([]))[:-32])
    content[12:16] = (file.VERSION + 1).to_bytes(4, "little")
    with pytest.raises(UnusableTable, match="version 2") as caught:
        file.load(stored(signed(bytes(content)), tmp_path))
    assert "newer nix-shim" in caught.value.hint


def test_another_file_and_no_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnusableTable, match="not an equivalence table"):
        file.load(stored(b"\0" * 200, tmp_path))
    with pytest.raises(UnusableTable, match="not an equivalence table"):
        file.load(stored(b"", tmp_path))
    with pytest.raises(UnusableTable, match="No such file"):
        file.load(tmp_path / "absent")


@given(entries())
def test_details_are_decoded_when_asked_for(folder: Path, entry: object) -> None:
    [loaded] = file.load(stored(file.dump(Table.of([entry])), folder))  # type: ignore[list-item]
    assert "inputs" not in loaded.__dict__
    assert loaded.inputs == entry.inputs  # type: ignore[attr-defined]
    assert "differences" not in loaded.__dict__


def test_a_failed_write_leaves_the_old_table_and_no_debris(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "table"
    file.save(Table.of([]), path)
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        file.save(Table.of([]), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_replacing_a_file_does_not_disturb_who_has_loaded_it(tmp_path: Path) -> None:
    path = tmp_path / "table"
    file.save(Table.of([]), path)
    loaded = file.load(path)
    file.save(Table.of([]), path)
    assert len(loaded) == 0
