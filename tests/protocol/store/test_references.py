import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocol.store.base32 import ALPHABET
from protocol.store.path import BadStorePath
from protocol.store.references import Mentions, ReferenceScanner
from tests.support import strategies

FOO = "g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q"
BAR = "9ws96qw4zw319j3jq3zd774ri65vigy5"


def every_place(data: bytes, digests: list[str]) -> dict[str, list[int]]:
    """The definition, place by place."""
    places: dict[str, list[int]] = {}
    for at in range(len(data) - 31):
        for digest in digests:
            if data[at : at + 32] == digest.encode():
                places.setdefault(digest, []).append(at)
    return places


def scan(pieces: list[bytes], digests: list[str]) -> dict[str, list[int]]:
    scanner = ReferenceScanner(digests, keep_offsets=10_000)
    for piece in pieces:
        scanner.feed(piece)
    assert scanner.offset == sum(map(len, pieces))
    assert all(found.count == len(found.offsets) for found in scanner.found.values())
    return {digest: found.offsets for digest, found in scanner.found.items()}


def cut(data: bytes, step: int) -> list[bytes]:
    return [data[at : at + step] for at in range(0, len(data), step)]


@pytest.fixture(params=[0, 1 << 20], ids=["by pieces", "place by place"])
def patience(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways of looking into long runs."""
    monkeypatch.setattr("protocol.store.references._PATIENCE", request.param)


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, list[str]]:
    """Some digests, and bytes with whole and broken ones among junk and other base 32."""
    digests = draw(
        st.lists(
            strategies.digests | st.sampled_from([FOO, "0" * 32, BAR]),
            min_size=1,
            max_size=4,
            unique=True,
        )
    )
    whole = st.sampled_from(digests).map(str.encode)
    piece = (
        whole
        | st.tuples(whole, st.integers(1, 31)).map(lambda part: part[0][: part[1]])
        | st.tuples(whole, st.integers(1, 31)).map(lambda part: part[0][part[1] :])
        | st.binary(max_size=40)
        | st.text(ALPHABET, max_size=150).map(str.encode)
        | st.integers(0, 200).map(lambda count: b"0" * count)
    )
    return b"".join(draw(st.lists(piece, max_size=12))), digests


@pytest.mark.usefixtures("patience")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(streams(), st.integers(1, 200))
def test_all_places_are_found_however_the_stream_is_cut(
    stream: tuple[bytes, list[str]], step: int
) -> None:
    data, digests = stream
    assert scan(cut(data, step), digests) == every_place(data, digests)
    assert scan([data], digests) == every_place(data, digests)


@pytest.mark.parametrize("around", [b"", b"\0", b"x", b"e", b"/nix/store/"])
@pytest.mark.parametrize("ahead", range(0, 40, 3))
def test_a_digest_counts_whatever_stands_around_it(around: bytes, ahead: int) -> None:
    data = b"\xff" * ahead + around + FOO.encode() + around
    assert scan([data], [FOO, BAR]) == {FOO: [ahead + len(around)]}


def test_blocks_of_the_scanner_leave_no_seam() -> None:
    block = 1 << 16
    for place in range(block - 40, block + 40):
        data = bytes(place) + FOO.encode() + bytes(100)
        assert scan([data], [FOO]) == {FOO: [place]}


@pytest.mark.usefixtures("patience")
@pytest.mark.parametrize("place", [0, 1, 7, 8, 23, 24, 25, 5000, 65_500, 65_535, 65_536, 99_968])
def test_long_runs_of_base_32_hide_nothing(place: int) -> None:
    noise = (BAR[::-1].encode() * 4000)[:100_000]
    data = noise[:place] + FOO.encode() + noise[place + 32 :]
    assert scan([data], [FOO]) == {FOO: [place]}
    assert scan(cut(data, 999), [FOO]) == {FOO: [place]}


def test_only_the_first_offsets_are_kept() -> None:
    scanner = ReferenceScanner([BAR], keep_offsets=2)
    scanner.feed(BAR.encode() * 1000)
    assert scanner.found == {BAR: Mentions(1000, [0, 32])}


def test_finds_come_in_order_of_the_first_mention() -> None:
    scanner = ReferenceScanner([FOO, BAR])
    scanner.feed(f"{BAR} {FOO} {BAR}".encode())
    assert list(scanner.found) == [BAR, FOO]


def test_without_candidates_nothing_is_found() -> None:
    assert scan([FOO.encode() * 100], []) == {}


@pytest.mark.parametrize("text", ["", FOO[1:], FOO + "0", FOO[:-1] + "e", "é" * 16, f"{FOO}\n"])
def test_only_digests_can_be_looked_for(text: str) -> None:
    with pytest.raises(BadStorePath, match="no digest"):
        ReferenceScanner([text])
