"""What the fetching scripts read: apt's sources, names of Debian files, versions, an old index."""

import hashlib
import importlib.machinery
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Final

import pytest

SCRIPTS: Final = Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture(scope="module")
def apt() -> ModuleType:
    return _load("debian_apt", SCRIPTS / "debian_apt.py")


@pytest.fixture(scope="module")
def fetching(apt: ModuleType) -> ModuleType:
    sys.modules["debian_apt"] = apt
    return _load("fetch_minipkgs", SCRIPTS / "fetch-minipkgs")


def _load(name: str, path: Path) -> ModuleType:
    """Scripts import each other by bare name, and need no `.py`."""
    loader = importlib.machinery.SourceFileLoader(name, str(path))
    spec = importlib.util.spec_from_loader(name, loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("version", "upstream"),
    [
        ("14.2.0-19cross1", "14.2.0"),
        ("2.41-12+deb13u4", "2.41"),
        ("1:1.3.dfsg+really1.3.1-1+b1", "1.3.1"),
        ("2:6.3.0+dfsg-3", "6.3.0"),
        ("2.14-2+b3", "2.14"),
        ("2.8-1", "2.8"),
    ],
)
def test_upstream_versions_lose_what_debian_adds(
    fetching: ModuleType, version: str, upstream: str
) -> None:
    assert fetching.upstream(version) == upstream


def test_file_names_say_package_and_epoch(fetching: ModuleType, apt: ModuleType) -> None:
    offer = apt.Offer("zlib1g_1%3a1.3.dfsg+really1.3.1-1+b1_arm64.deb", "00")

    architecture, name, row = fetching.row(offer)

    assert (architecture, name) == ("arm64", "zlib1g")
    assert row["version"] == "1:1.3.dfsg+really1.3.1-1+b1"


def test_the_archive_is_read_from_deb822_sources(apt: ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / "sources.list.d"
    folder.mkdir()
    (folder / "debian.sources").write_text(
        "Types: deb\nURIs: http://first.invalid/debian\nSuites: bookworm-security\n"
        "Components: main\n\n"
        "Types: deb\nEnabled: no\nURIs: http://second.invalid/debian\nSuites: bookworm\n"
        "Components: main\n\n"
        "# a comment\nTypes: deb deb-src\nURIs: http://third.invalid/debian\n"
        "Suites: bookworm bookworm-updates\nComponents: main contrib\n"
    )

    assert apt.archive(tmp_path) == "http://third.invalid/debian"


def test_the_archive_is_read_from_one_line_sources(apt: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "sources.list").write_text(
        "# deb http://no.invalid/debian bookworm main\n"
        "deb-src http://no.invalid/debian bookworm main\n"
        "deb [arch=amd64 signed-by=/k.gpg] http://yes.invalid/debian bookworm main\n"
    )

    assert apt.archive(tmp_path) == "http://yes.invalid/debian"


def test_a_machine_without_sources_is_told_so(apt: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(apt.FetchError, match="no Debian archive"):
        apt.archive(tmp_path)


def test_a_file_counts_only_with_the_contents_promised(apt: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "some.deb").write_bytes(b"contents")
    digest = hashlib.sha256(b"contents").hexdigest()

    assert apt.is_present(tmp_path, apt.Offer("some.deb", digest))
    assert not apt.is_present(tmp_path, apt.Offer("some.deb", digest[::-1]))
    assert not apt.is_present(tmp_path, apt.Offer("other.deb", digest))


@pytest.mark.parametrize("text", ["", "{", json.dumps({"format": 0}), json.dumps([])])
def test_an_index_that_is_not_ours_is_made_anew(
    fetching: ModuleType, tmp_path: Path, text: str
) -> None:
    (tmp_path / "index.json").write_text(text)

    assert not fetching.is_complete(tmp_path, everything=False)
