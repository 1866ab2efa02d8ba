import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.store.base32 import ALPHABET
from shim.gates import scan
from shim.gates.blob import CHUNK, Blob
from shim.gates.scan import Hit, Scanner

STORE = "/nix/store"
ONE = "0123456789abcdfghijklmnpqrsvwxyz"
TWO = ONE[::-1]
digests = st.text(ALPHABET, min_size=32, max_size=32)


def hits(data: bytes, wanted: list[str], known: list[str] | None = None) -> list[Hit]:
    scanner = Scanner(dict.fromkeys(wanted), STORE, set(known or []))
    return sorted(scanner.blob(Blob(data)), key=lambda hit: (hit.offset, hit.stride))


def on_disk(folder: Path, data: bytes, wanted: list[str]) -> list[Hit]:
    (folder / "file").write_bytes(data)
    descriptor = os.open(folder / "file", os.O_RDONLY)
    try:
        scanner = Scanner(dict.fromkeys(wanted), STORE, ())
        return sorted(scanner.blob(Blob.of_file(descriptor, len(data))), key=lambda hit: hit.offset)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize(
    ("encoding", "stride", "lead"),
    [
        ("ascii", 1, 0),
        ("utf-16-le", 2, 0),
        ("utf-16-be", 2, 1),
        ("utf-32-le", 4, 0),
        ("utf-32-be", 4, 3),
    ],
)
def test_a_wanted_digest_is_found_in_every_encoding(encoding: str, stride: int, lead: int) -> None:
    text = f"x {ONE}: y".encode(encoding)
    assert hits(text, [ONE]) == [Hit(ONE, 2 * stride + lead, stride, None)]


@pytest.mark.parametrize("encoding", ["ascii", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_an_unheard_of_path_is_found_by_the_store_directory(encoding: str) -> None:
    text = f"see {STORE}/{ONE}-bash-5.2/bin".encode(encoding)
    (found,) = hits(text, [])
    assert (found.digest, found.name) == (ONE, "bash-5.2")
    assert hits(text, [], known=[ONE]) == []


def test_a_path_without_name_is_only_found_when_wanted() -> None:
    text = f"{STORE}/{ONE}/bin".encode()
    assert hits(text, []) == []
    assert [hit.digest for hit in hits(text, [ONE])] == [ONE]


def test_a_wanted_path_is_reported_once() -> None:
    assert len(hits(f"{STORE}/{ONE}-bash/bin".encode(), [ONE])) == 1


def test_placeholder_digests_are_no_paths() -> None:
    assert hits(f"{STORE}/{'e' * 32}-bash/bin".encode(), []) == []


@given(st.text(ALPHABET, max_size=300), st.text(ALPHABET, max_size=300), digests)
def test_a_digest_is_found_inside_longer_runs(before: str, after: str, digest: str) -> None:
    data = f"{before}{digest}{after}"
    expected = [index for index in range(len(data) - 31) if data[index : index + 32] == digest]
    assert [hit.offset for hit in hits(data.encode(), [digest])] == expected


@given(st.binary(max_size=400), digests, st.binary(max_size=400), st.sampled_from([1, 2, 4]))
def test_a_digest_is_found_in_any_surroundings(
    before: bytes, digest: str, after: bytes, stride: int
) -> None:
    wide = bytes(stride - 1).join(bytes((byte,)) for byte in digest.encode())
    found = hits(before + wide + after, [digest])
    assert (digest, len(before), stride) in {(hit.digest, hit.offset, hit.stride) for hit in found}


@pytest.mark.parametrize("shift", range(-70, 3, 3))
@pytest.mark.parametrize("encoding", ["ascii", "utf-16-le", "utf-32-be"])
def test_a_hit_across_chunks_is_found_once(tmp_path: Path, shift: int, encoding: str) -> None:
    text = f"{STORE}/{ONE}-bash:{TWO}".encode(encoding)
    data = b"\xff" * (CHUNK + shift) + text + b"\xff" * 5000
    found = on_disk(tmp_path, data, [TWO])
    assert [(hit.digest, hit.name) for hit in found] == [(ONE, "bash"), (TWO, None)]


def test_a_long_run_across_chunks_keeps_its_digests(tmp_path: Path) -> None:
    filler = (ONE[:31] + "0") * (CHUNK // 32)
    data = f"{filler}{TWO}{filler}{TWO}".encode()
    places = [hit.offset for hit in on_disk(tmp_path, data, [TWO])]
    assert places == [len(filler), 2 * len(filler) + 32]


def test_runs_are_measured_exactly() -> None:
    for stride in (1, 2, 4):
        for count in range(32, 200):
            run = (b"a" + bytes(stride - 1)) * (count - 1) + b"a"
            assert scan.Scanner._length(run + b"\n", 0, stride) == count
