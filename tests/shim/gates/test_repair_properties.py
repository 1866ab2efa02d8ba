"""What holds of every repair, whatever the tree: lengths, order, checksums, the NAR's hash."""

import hashlib
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocol.nar.events import Data, Directory, End, Entry, Regular, Symlink
from protocol.nar.reader import NarReader
from shim.daemon.plants.mending import repaired
from shim.filetree import pack
from shim.gates.blob import Blob
from shim.gates.elffile import Elf
from shim.gates.repair import repair
from tests.shim.daemon.test_mending import BUILT, CONFIG
from tests.support.elf import ElfSpec, SectionSpec
from tests.support.planted import BASH, BUILD_BASH, GLIBC, OUT, Planted, store_path

PAIRS = {BUILD_BASH: BASH}
BASE = BUILD_BASH.base
NEIGHBOUR = store_path("bash-5.2", "3").base
"""Sorts between the two names that change places."""

words = st.sampled_from(
    [BASE, BUILD_BASH, BUILD_BASH.digest, BASH, GLIBC, "/bin/bash", "x", "\n", " -e ", "é", "#!"]
)
texts = st.lists(words, max_size=12).map("".join)
names = st.sampled_from(["a", "b", "z", BASE, NEIGHBOUR, f"{BASE}-x", "." + BASE])
places = st.lists(names, min_size=1, max_size=3).map("/".join)
files = st.dictionaries(places, st.tuples(texts, st.sampled_from(["file", "link"])), max_size=8)


@contextmanager
def tree(contents: dict[str, tuple[str, str]]) -> Iterator[Planted]:
    """A result with these files, those that can be there together."""
    with tempfile.TemporaryDirectory() as folder:
        planted = Planted(Path(folder))
        planted.add("bin/demo", ElfSpec(runpath=f"{GLIBC}/lib").build())
        for inside, (text, kind) in contents.items():
            try:
                if kind == "file" or not text:
                    planted.add(inside, text.encode())
                else:
                    planted.add(inside, text.replace("\n", ""))
            except OSError:
                continue  # a file where a folder of the same name is, or the other way round
        yield planted


def order(nar: bytes) -> list[list[bytes]]:
    """The names of each directory of a NAR, as they come; refuses what is no NAR."""
    reader = NarReader()
    found: list[list[bytes]] = []
    pending: list[list[bytes] | None] = []
    for event in reader.feed(nar):
        match event:
            case Entry(name):
                assert pending[-1] is not None
                pending[-1].append(name)
            case End():
                done = pending.pop()
                if done is not None:
                    found.append(done)
            case Directory():
                pending.append([])
            case Regular():
                pending.append(None)
            case Data() | Symlink():
                pass
    assert reader.finished
    return found


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(files)
def test_names_and_contents_change_as_a_whole_and_nothing_moves(
    contents: dict[str, tuple[str, str]],
) -> None:
    with tree(contents) as planted, tempfile.TemporaryDirectory() as into:
        subject = planted.subject()
        before = b"".join(pack(subject.physical(OUT)))
        result = repair(subject, PAIRS, Path(into))
        assert b"".join(pack(subject.physical(OUT))) == before
        if BASE.encode() not in before:
            assert result is None
        if result is None:
            return
        after = b"".join(pack(result.subject.physical(OUT)))
        assert len(after) == len(before)
        assert BASE.encode() not in after
        assert all(given == sorted(given) for given in order(after))
        assert sorted(after) == sorted(before.replace(BASE.encode(), BASH.base.encode()))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(files)
def test_what_is_said_of_it_is_true(contents: dict[str, tuple[str, str]]) -> None:
    async def run() -> None:
        with tree(contents) as planted:
            async with repaired(planted.subject(), PAIRS, CONFIG) as mended:
                if mended is None:
                    return
                info = await mended.info(OUT, BUILT)
                nar = b"".join([chunk async for chunk in mended.nar(OUT)])
                assert info.nar_hash.digest == hashlib.sha256(nar).digest()
                assert info.nar_size == len(nar)
                named = {path for path in (BASH, GLIBC, OUT) if path.digest.encode() in nar}
                leaked = {BUILD_BASH} if BUILD_BASH.digest.encode() in nar else set()
                assert info.references == named | leaked

    trio.run(run)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(texts, st.booleans()), min_size=1, max_size=4))
def test_every_link_to_a_debug_file_ends_with_its_checksum(given: list[tuple[str, bool]]) -> None:
    with tree({}) as planted, tempfile.TemporaryDirectory() as into:
        for number, (text, stale) in enumerate(given):
            section = SectionSpec(".debug_str", text.encode() + b"\0")
            debug = ElfSpec(sections=[section]).build()
            planted.add(f"lib/debug/{number}.debug", debug)
            value = zlib.crc32(debug) ^ stale
            link = f"{number}.debug\0".encode() + value.to_bytes(4, "little")
            program = ElfSpec(sections=[SectionSpec(".gnu_debuglink", link)])
            planted.add(f"bin/{number}", program.build())
        result = repair(planted.subject(), PAIRS, Path(into))
        if result is None:
            assert not any(BASE in text for text, _ in given)
            return
        top = result.subject.physical(OUT)
        for number, (_, stale) in enumerate(given):
            debug = (top / f"lib/debug/{number}.debug").read_bytes()
            blob = Blob((top / f"bin/{number}").read_bytes())
            elf = Elf(blob)
            (found,) = [each for each in elf.sections if elf.section_name(each) == ".gnu_debuglink"]
            stated = int.from_bytes(blob.read(found.offset + 8, 4), "little")
            assert (stated == zlib.crc32(debug)) is not stale
