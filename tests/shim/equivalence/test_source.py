import io
import lzma
import tarfile
from pathlib import Path

import pytest
import zstandard

from protocol.store import aterm
from protocol.store.path import StorePath
from shim.equivalence import source
from shim.equivalence.source import Derivations, UnreadableDerivation
from shim.errors import ShimError
from tests.shim.plant.sets import World

WORLD = World()
TEXT = WORLD.add("text", "x86_64-linux", {"text": "hello"})
USER = WORLD.add("user", "x86_64-linux", {"of": TEXT})
FILES = {path.base: aterm.unparse(one) for path, one in WORLD.all.items()}


def archive() -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for base, content in FILES.items():
            member = tarfile.TarInfo(f"nix/store/{base}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def write(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for base, content in FILES.items():
        (folder / base).write_bytes(content)
    return folder


@pytest.mark.parametrize("kind", [".tar", ".tar.zst", ".tar.xz", "folder", "root"])
def test_derivations_are_read_from(kind: str, tmp_path: Path) -> None:
    where = tmp_path / f"drvs{kind}"
    match kind:
        case "folder":
            write(where)
        case "root":
            write(where / "nix" / "store")
        case ".tar":
            where.write_bytes(archive())
        case ".tar.zst":
            where.write_bytes(zstandard.ZstdCompressor().compress(archive()))
        case _:
            where.write_bytes(lzma.compress(archive()))
    derivations = Derivations.open(where)
    assert derivations[USER.drv] == WORLD.all[USER.drv]
    assert derivations[USER.drv] is derivations[USER.drv]
    assert TEXT.drv in derivations
    assert derivations.forgery(USER.drv) == ""


def test_a_missing_derivation_is_named(tmp_path: Path) -> None:
    missing = StorePath("/nix/store/00000000000000000000000000000000-gone.drv")
    derivations = Derivations.open(tmp_path)
    assert missing not in derivations
    with pytest.raises(UnreadableDerivation, match=r"gone\.drv`: no such file"):
        derivations[missing]


def test_an_output_path_is_no_derivation() -> None:
    with pytest.raises(UnreadableDerivation, match=r"does not end in `\.drv`"):
        Derivations(lambda _: b"")[TEXT.outputs["out"]]


def test_a_derivation_at_a_path_that_is_not_its_own_is_refused() -> None:
    derivations = Derivations(lambda _: FILES[TEXT.drv.base])
    with pytest.raises(UnreadableDerivation, match="belongs to another path"):
        derivations[StorePath("/nix/store/00000000000000000000000000000000-text.drv")]


def test_a_derivation_beyond_all_size_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "MAX_DERIVATION", 100)
    with pytest.raises(UnreadableDerivation, match="larger than 100 bytes"):
        Derivations(lambda path: FILES[path.base])[TEXT.drv]


@pytest.mark.parametrize("name", ["drvs.zip", "drvs"])
def test_an_unknown_kind_of_archive_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(ShimError, match="neither a folder nor an archive") as caught:
        Derivations.open(tmp_path / name)
    assert ".tar.zst" in caught.value.hint


@pytest.mark.parametrize("kind", [".tar", ".tar.zst", ".tar.xz"])
def test_a_damaged_archive_is_refused(kind: str, tmp_path: Path) -> None:
    where = tmp_path / f"drvs{kind}"
    where.write_bytes(b"no archive at all" * 100)
    with pytest.raises(ShimError, match="cannot read archive"):
        Derivations.open(where)
