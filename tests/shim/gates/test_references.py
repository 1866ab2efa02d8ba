import pytest

from tests.support.planted import BUILD_BASH, CROSS_GLIBC, GLIBC, Planted, rules, store_path

STRANGER = store_path("stranger-1", "7")


def test_a_forbidden_path_in_contents_is_found_with_place_and_reason(planted: Planted) -> None:
    planted.add("share/notes", f"made with {BUILD_BASH}/bin/bash\n".encode())
    verdict = planted.judge()
    (found,) = verdict.findings
    assert (found.rule, found.path) == ("references.forbidden", "out/share/notes")
    assert found.offset == len("made with /nix/store/")
    assert "it runs on the build machine" in found.message
    assert not verdict.accepted


def test_a_bare_forbidden_digest_is_found_as_nix_would(planted: Planted) -> None:
    planted.add("share/notes", b"x" + CROSS_GLIBC.digest.encode() + b"x")
    assert rules(planted.judge()) == ["references.forbidden"]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_wide_characters_hide_nothing(planted: Planted, encoding: str) -> None:
    planted.add("share/notes", f"{BUILD_BASH}".encode(encoding))
    verdict = planted.judge()
    assert rules(verdict) == ["references.forbidden"]
    assert "as UTF-" in verdict.findings[0].message


def test_names_and_link_targets_are_searched(planted: Planted) -> None:
    planted.add(f"share/{BUILD_BASH.base}.txt", b"")
    planted.add("share/link", f"{CROSS_GLIBC}/lib")
    found = {
        found.path for found in planted.judge().findings if found.rule == "references.forbidden"
    }
    assert found == {f"out/share/{BUILD_BASH.base}.txt", "out/share/link"}


def test_allowed_paths_are_no_findings(planted: Planted) -> None:
    planted.add("share/notes", f"{GLIBC} {GLIBC.digest}".encode())
    assert planted.judge().findings == ()


def test_an_unknown_path_is_found_unless_the_build_could_not_see_it(planted: Planted) -> None:
    planted.add("share/notes", f"{STRANGER}/bin".encode())
    assert rules(planted.judge()) == ["references.unknown"]
    seen = planted.judge(visible=frozenset({STRANGER}))
    assert rules(seen) == ["references.forbidden"]
    unseen = planted.judge(visible=frozenset({GLIBC}))
    assert rules(unseen) == ["references.stray"]
    assert unseen.accepted


def test_a_file_s_repeated_reference_is_one_finding(planted: Planted) -> None:
    planted.add("share/notes", f"{BUILD_BASH} {BUILD_BASH} {BUILD_BASH}".encode())
    (found,) = planted.judge().findings
    assert "3 times" in found.message


def test_what_is_allowed_is_not_forbidden(planted: Planted) -> None:
    planted.add("share/notes", f"{GLIBC}".encode())
    assert planted.judge(forbidden={GLIBC.digest: "by mistake"}).findings == ()
