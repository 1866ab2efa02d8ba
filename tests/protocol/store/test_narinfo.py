from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import RemoteProtocolError
from protocol.store.content_address import ContentAddress, Method
from protocol.store.hash import Hash
from protocol.store.narinfo import NarInfo
from protocol.store.path import StorePath
from protocol.store.path_info import PathInfo
from tests.support import strategies

DIGEST = "g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q"
FOO, BAR, DRV = (
    StorePath.parse(f"/nix/store/{DIGEST}-{name}") for name in ("foo", "bar", "foo.drv")
)
EMPTY = "sha256:0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73"
FULL = NarInfo(
    path=FOO,
    info=PathInfo(
        deriver=DRV,
        nar_hash=Hash.of(b""),
        references=frozenset({FOO, BAR}),
        nar_size=12,
        signatures=frozenset({"b:eA==", "a:eA=="}),
        content_address=ContentAddress(Method.NAR, Hash.of(b"")),
    ),
    url="nar/x.nar.xz",
    compression="xz",
    file_hash=Hash.of(b""),
    file_size=7,
)
FULL_TEXT = f"""\
StorePath: /nix/store/{DIGEST}-foo
URL: nar/x.nar.xz
Compression: xz
FileHash: {EMPTY}
FileSize: 7
NarHash: {EMPTY}
NarSize: 12
References: {DIGEST}-bar {DIGEST}-foo
Deriver: {DIGEST}-foo.drv
Sig: a:eA==
Sig: b:eA==
CA: fixed:r:{EMPTY}
"""
LEAST = NarInfo(path=FOO, info=PathInfo(nar_hash=Hash.of(b""), nar_size=1), url="x")


def test_the_order_of_lines() -> None:
    assert FULL.render() == FULL_TEXT
    assert NarInfo.parse(FULL_TEXT) == FULL


def test_most_lines_may_be_missing() -> None:
    text = f"NarSize: 1\nNarHash: {EMPTY}\nURL: x\nStorePath: {FOO}\n"
    assert NarInfo.parse(text) == LEAST


@pytest.mark.parametrize(
    "line",
    ["System: x86_64-linux\n", "Deriver: unknown-deriver\n", "References: \n", "CA: \n", "X:\n"],
)
def test_lines_that_say_nothing(line: str) -> None:
    assert NarInfo.parse(LEAST.render().replace("References: \n", "") + line) == LEAST


@given(
    st.builds(
        NarInfo,
        path=strategies.store_paths("/s"),
        info=strategies.path_infos("/s").map(
            lambda info: replace(
                info, nar_size=info.nar_size or 1, registration_time=0, ultimate=False
            )
        ),
        url=st.just("nar/x"),
        compression=st.sampled_from(["none", "xz", "zstd"]),
        file_hash=st.none() | strategies.sha256,
        file_size=strategies.U64,
    )
)
def test_every_file_comes_back(value: NarInfo) -> None:
    assert NarInfo.parse(value.render(), "/s") == value


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (f"StorePath: {FOO}\n", "", "no `StorePath`"),
        ("URL: nar/x.nar.xz", "URL: ", "no `URL`"),
        (f"NarHash: {EMPTY}\n", "", "no `NarHash`"),
        ("NarSize: 12", "NarSize: 0", "no `NarSize`"),
        ("NarSize: 12", "NarSize: -1", "NarSize: not a number"),
        ("NarSize: 12", "NarSize: \u0661", "NarSize: not a number"),
        ("NarSize: 12", f"NarSize: {'1' * 5000}", "NarSize: not a number"),
        ("FileSize: 7", "FileSize: x", "FileSize: not a number"),
        (EMPTY, EMPTY[1:], "FileHash: unknown hash"),
        (f"{DIGEST}-bar ", "bar ", "References: no digest"),
        (f"Deriver: {DIGEST}", "Deriver: ", "Deriver: no digest"),
        ("CA: fixed", "CA: flexible", "CA: neither"),
        ("NarSize: 12\n", "NarSize: 12\nNarSize: 12\n", "NarSize: the line is repeated"),
        ("Compression: xz", "Compression xz", "without a colon: `Compression xz`"),
        (f"CA: fixed:r:{EMPTY}\n", f"CA: fixed:r:{EMPTY}", "the last line does not end"),
    ],
)
def test_the_refusal_names_the_line(old: str, new: str, message: str) -> None:
    assert old in FULL_TEXT
    with pytest.raises(RemoteProtocolError, match=message):
        NarInfo.parse(FULL_TEXT.replace(old, new, 1))


@given(st.text(max_size=100))
def test_junk_is_refused(text: str) -> None:
    with pytest.raises(RemoteProtocolError):
        NarInfo.parse(text)
