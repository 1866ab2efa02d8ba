"""Roots of peers: found by the names they chose, and nowhere else than in their folder."""

import os
import time
from pathlib import Path

import pytest

from protocol.store.path import StorePath
from shim.daemon.clients.asking import Unanswered
from shim.daemon.translated.roots import FOLDER, LEAST, MOST, Roots, fill

STORE = "/nix/store"
ONE = StorePath.parse(f"{STORE}/{'0' * 32}-one")
TWO = StorePath.parse(f"{STORE}/{'1' * 32}-two")


@pytest.fixture
def roots(tmp_path: Path) -> Roots:
    return Roots(tmp_path, "attic", STORE)


def links(where: Path) -> list[Path]:
    return [path for path in where.rglob("*") if path.is_symlink()]


def test_a_root_is_found_by_any_spelling_of_its_name(roots: Roots) -> None:
    assert roots.add("/tmp/x/../result", ONE) == "/tmp/result"
    assert roots.find("tmp//result") == ONE
    assert roots.find("/tmp/other") is None


def test_a_root_can_be_moved(roots: Roots) -> None:
    roots.add("/r", ONE)
    roots.add("/r", TWO)
    assert roots.find("/r") == TWO


@pytest.mark.parametrize("name", ["../../../../etc/cron.d/x", "/etc/passwd", "a/../../b", "/"])
def test_no_name_leads_out_of_the_folder(name: str, roots: Roots, tmp_path: Path) -> None:
    roots.add(name, ONE)
    assert [link.parent for link in links(tmp_path)] == [tmp_path / FOLDER / "attic"]


def test_names_below_the_store_are_refused(roots: Roots) -> None:
    with pytest.raises(Unanswered, match="forbidden"):
        roots.add("/nix/store/../store/x", ONE)


def test_too_long_names_are_refused(roots: Roots) -> None:
    with pytest.raises(Unanswered, match="too long"):
        roots.add("/x" * 100, ONE)


def test_peers_do_not_see_each_other(roots: Roots, tmp_path: Path) -> None:
    other = Roots(tmp_path, "cellar", STORE)
    roots.add("/r", ONE)
    assert other.find("/r") is None
    other.remove("/")
    assert roots.find("/r") == ONE


def test_removing_takes_what_is_below_along(roots: Roots) -> None:
    for name in ("/tmp/a", "/tmp/a/b", "/tmp/ab"):
        roots.add(name, ONE)
    roots.remove("/tmp/a")
    assert [roots.find(name) for name in ("/tmp/a", "/tmp/a/b", "/tmp/ab")] == [None, None, ONE]


def test_roots_expire(roots: Roots, tmp_path: Path) -> None:
    roots.add("/old", ONE)
    (old,) = links(tmp_path)
    past = time.time() - LEAST - 100
    os.utime(old, (past, past), follow_symlinks=False)
    roots.add("/new", TWO)
    cellar = Roots(tmp_path, "cellar", STORE)
    cellar.expire(2 * LEAST)
    assert roots.find("/old") == ONE
    cellar.expire(0)
    assert (roots.find("/old"), roots.find("/new")) == (None, TWO)


def test_a_peer_has_so_many_roots_and_no_more(roots: Roots, tmp_path: Path) -> None:
    roots.add("/0", ONE)
    for number in range(1, MOST):
        (tmp_path / FOLDER / "attic" / f"%2F{number}").symlink_to(ONE)
    with pytest.raises(Unanswered, match=str(MOST)):
        roots.add("/one-more", ONE)
    roots.add("/0", TWO)
    assert roots.find("/0") == TWO


def test_templates_are_filled_at_their_end() -> None:
    one, two = fill("/tmp/nXX.XXXXX"), fill("/tmp/nXX.XXXXX")
    assert one != two
    assert one.startswith("/tmp/nXX.")
    assert len(one) == len("/tmp/nXX.XXXXX")
