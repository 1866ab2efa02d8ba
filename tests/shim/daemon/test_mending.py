import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from protocol.store.hash import Hash, HashAlgorithm
from protocol.store.path import StorePath
from protocol.store.path_info import PathInfo
from shim import config
from shim.daemon.plants.mending import CHUNK, PREFIX, Mended, lowered, repaired, sweep
from shim.gates.rules import Override
from shim.gates.subject import Subject
from shim.gates.verdict import Severity
from shim.keys import Made
from tests.support.elf import ElfSpec
from tests.support.planted import BASH, BUILD_BASH, GLIBC, LOADER, OUT, Planted

CONFIG = config.parse('[serving]\nroot = "/serve"\n[plant]\nroot = "/plant"\n')
BUILT = PathInfo(
    deriver=None,
    nar_hash=Hash(HashAlgorithm.SHA256, bytes(32)),
    references=frozenset({BUILD_BASH, GLIBC}),
    registration_time=7,
    nar_size=1,
    ultimate=True,
    signatures=frozenset(),
    content_address=None,
)


@pytest.fixture
def rejected(tmp_path: Path) -> Subject:
    """A result with a shebang for the build machine's shell, and more than a chunk of contents."""
    planted = Planted(tmp_path)
    program = ElfSpec(interpreter=LOADER, needed=["libc.so.6"], runpath=f"{GLIBC}/lib")
    planted.add("bin/demo", program.build())
    planted.add("bin/x", f"#!{BUILD_BASH}/bin/bash\n".encode())
    planted.add("share/large", b"large" * CHUNK)
    assert not planted.judge().accepted
    return planted.subject()


def mend(
    subject: Subject,
    pairs: dict[StorePath, StorePath],
    settings: config.Config = CONFIG,
) -> tuple[Mended | None, PathInfo | None, list[bytes]]:
    """What a repair came to: the mended copy, what is said of it, and its NAR in chunks."""

    async def run() -> tuple[Mended | None, PathInfo | None, list[bytes]]:
        async with repaired(subject, pairs, settings) as mended:
            if mended is None:
                return None, None, []
            info = await mended.info(OUT, BUILT)
            return mended, info, [chunk async for chunk in mended.nar(OUT)]

    return trio.run(run)


def test_what_is_said_of_a_mended_output_is_true(rejected: Subject) -> None:
    mended, info, chunks = mend(rejected, {BUILD_BASH: BASH})
    assert mended is not None
    assert info is not None
    nar = b"".join(chunks)
    assert len(chunks) > 1
    assert f"#!{BASH}/bin/bash".encode() in nar
    assert info.nar_hash.digest == hashlib.sha256(nar).digest()
    assert info.nar_size == len(nar)
    assert info.references == {BASH, GLIBC}
    assert info.registration_time == BUILT.registration_time


def test_the_gates_judge_it_again(rejected: Subject) -> None:
    mended, _, _ = mend(rejected, {BUILD_BASH: BASH})
    assert mended is not None
    assert mended.verdict.accepted
    assert [found.rule for found in mended.verdict.findings] == ["repair.reference"]


def test_an_operator_may_forbid_repairs(rejected: Subject) -> None:
    strict = CONFIG.gates.with_overrides([Override("repair.*", Severity.ERROR, "never")])
    mended, _, _ = mend(rejected, {BUILD_BASH: BASH}, replace(CONFIG, gates=strict))
    assert mended is not None
    assert not mended.verdict.accepted


def test_a_copy_that_cannot_be_made_is_no_repair(rejected: Subject) -> None:
    # The second output's folder is there already when it is copied.
    broken = replace(rejected, outputs={"out": OUT, "again": OUT})
    mended, _, _ = mend(broken, {BUILD_BASH: BASH})
    assert mended is None


@pytest.mark.parametrize("pairs", [{BUILD_BASH: BASH}, {}])
def test_nothing_is_left_of_the_copy(rejected: Subject, pairs: dict[StorePath, StorePath]) -> None:
    before = sorted(rejected.root.iterdir())
    mended, _, _ = mend(rejected, pairs)
    assert (mended is None) == (not pairs)
    assert sorted(rejected.root.iterdir()) == before


@pytest.mark.parametrize(
    ("made", "after"),
    [
        (Made.IDENTICAL, Made.REPAIRED),
        (Made.CHECKED, Made.REPAIRED),
        (Made.DECLARED, Made.DECLARED),
    ],
)
def test_a_repair_never_raises_the_grade(made: Made, after: Made) -> None:
    assert lowered(made) is after


def test_copies_of_a_killed_daemon_are_removed(rejected: Subject) -> None:
    before = sorted(rejected.root.iterdir())
    left = rejected.root / f"{PREFIX}left" / "nix" / "store"
    left.mkdir(parents=True)
    left.chmod(0o555)
    sweep(rejected.root)
    assert sorted(rejected.root.iterdir()) == before
    sweep(rejected.root / "none")
