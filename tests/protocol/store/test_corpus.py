"""Fifteen hundred derivations of a real package set, native and cross."""

import io
import tarfile
from collections.abc import Iterator

import pytest
import zstandard

from protocol.store import aterm
from protocol.store.derivation import Derivation
from protocol.store.modulo import HashModulo, check_outputs, derivation_path, with_outputs
from protocol.store.path import StorePath
from tests.support.shared import shared


def files() -> Iterator[tuple[StorePath, bytes]]:
    packed = shared("corpus/aarch64-linux/drvs.tar.zst").read_bytes()
    unpacked = zstandard.ZstdDecompressor().decompressobj().decompress(packed)
    with tarfile.open(fileobj=io.BytesIO(unpacked)) as archive:
        for member in archive:
            content = archive.extractfile(member)
            if content is not None:
                yield StorePath.parse(f"/{member.name}"), content.read()


@pytest.fixture(scope="module")
def texts() -> dict[StorePath, bytes]:
    found = dict(files())
    assert len(found) > 1500
    return found


@pytest.fixture(scope="module")
def derivations(texts: dict[StorePath, bytes]) -> dict[StorePath, Derivation]:
    return {path: aterm.parse_file(path, data) for path, data in texts.items()}


def test_every_file_comes_back_byte_by_byte(
    texts: dict[StorePath, bytes], derivations: dict[StorePath, Derivation]
) -> None:
    assert [path for path in texts if aterm.unparse(derivations[path]) != texts[path]] == []


def test_every_file_has_the_path_it_should(derivations: dict[StorePath, Derivation]) -> None:
    assert [path for path in derivations if derivation_path(derivations[path]) != path] == []


def test_every_output_path_follows(derivations: dict[StorePath, Derivation]) -> None:
    modulo = HashModulo(derivations.__getitem__)
    for derivation in derivations.values():
        check_outputs(derivation, modulo)


def test_filling_in_output_paths_changes_nothing(
    derivations: dict[StorePath, Derivation],
) -> None:
    modulo = HashModulo(derivations.__getitem__)
    changed = [
        path
        for path, derivation in derivations.items()
        if with_outputs(derivation, modulo) != derivation
    ]
    assert changed == []


def test_structured_attributes_are_found(derivations: dict[StorePath, Derivation]) -> None:
    found = [name for d in derivations.values() if (name := (d.structured() or {}).get("name"))]
    assert "structured-1.0" in found
