import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import LimitExceeded, LocalProtocolError, RemoteProtocolError
from protocol.nar.events import Data, Directory, End, Entry, Event, Regular, Symlink
from protocol.nar.format import MAX_NAME, MAX_TARGET, BadNar, token
from protocol.nar.reader import NarReader
from protocol.nar.writer import NarWriter
from tests.support import strategies


def nar(*tokens: bytes) -> bytes:
    """Tokens behind the magic, without regard to sense."""
    return b"".join(map(token, (b"nix-archive-1", *tokens)))


FILE = (b"(", b"type", b"regular", b"contents", b"hello", b")")
SOME: list[Event] = [
    Directory(),
    Entry(b"a"),
    Regular(executable=True, size=5),
    Data(b"hello"),
    End(),
    Entry(b"b"),
    Symlink(b"../x"),
    Entry(b"c"),
    Directory(),
    End(),
    End(),
]


def entry(name: bytes, node: tuple[bytes, ...] = FILE) -> tuple[bytes, ...]:
    return (b"entry", b"(", b"name", name, b"node", *node, b")")


def directory(*entries: tuple[bytes, ...]) -> tuple[bytes, ...]:
    return (b"(", b"type", b"directory", *(part for one in entries for part in one), b")")


def feed_all(reader: NarReader, data: bytes, step: int) -> list[Event]:
    """Feed pieces until the NAR ends, and join contents that came in several."""
    events: list[Event] = []
    for at in range(0, len(data), step):
        for event in reader.feed(data[at : at + step]):
            previous = events[-1] if events else None
            if isinstance(event, Data) and isinstance(previous, Data):
                events[-1] = Data(previous.data + event.data)
            else:
                events.append(event)
        if reader.finished:
            break
    return events


@pytest.mark.parametrize(
    ("tokens", "events"),
    [
        (FILE, [Regular(executable=False, size=5), Data(b"hello"), End()]),
        (
            (b"(", b"type", b"regular", b"executable", b"", b"contents", b"12345678", b")"),
            [Regular(executable=True, size=8), Data(b"12345678"), End()],
        ),
        (
            (b"(", b"type", b"regular", b"contents", b"", b")"),
            [Regular(executable=False, size=0), End()],
        ),
        ((b"(", b"type", b"symlink", b"target", b"/x", b")"), [Symlink(b"/x")]),
        (directory(), [Directory(), End()]),
        (
            directory(entry(b"a"), entry(b"b", directory())),
            [
                Directory(),
                Entry(b"a"),
                Regular(executable=False, size=5),
                Data(b"hello"),
                End(),
                Entry(b"b"),
                Directory(),
                End(),
                End(),
            ],
        ),
    ],
)
@pytest.mark.parametrize("step", [1, 7, 8, 1000])
def test_the_grammar(tokens: tuple[bytes, ...], events: list[Event], step: int) -> None:
    reader = NarReader()
    assert feed_all(reader, nar(*tokens), step) == events
    assert reader.finished
    assert reader.offset == len(nar(*tokens))
    reader.end()


@given(strategies.nar_events, st.integers(1, 64), st.binary(max_size=30))
def test_any_tree_is_read_however_it_is_cut(events: list[Event], step: int, behind: bytes) -> None:
    data = NarWriter().write_all(events)
    reader = NarReader()
    assert feed_all(reader, data + behind, step) == events
    assert reader.offset == len(data)
    fed = min(-(-len(data) // step) * step, len(data + behind))
    assert reader.leftover == (data + behind)[len(data) : fed]


def test_contents_that_fill_a_piece_are_not_copied() -> None:
    reader = NarReader()
    reader.feed(nar(*FILE[:4]) + (1 << 20).to_bytes(8, "little"))
    piece = bytes(1 << 16)
    events = reader.feed(piece)
    assert isinstance(events[0], Data)
    assert events[0].data is piece


@given(strategies.nar_events, st.integers(1, 64))
def test_contents_may_be_left_out(events: list[Event], step: int) -> None:
    data = NarWriter().write_all(events)
    reader, seen, at = NarReader(), [], 0
    while at < len(data):
        if left := reader.contents_left:
            reader.skip(left)
            at += left
        else:
            seen += reader.feed(data[at : at + step])
            at += step
    assert reader.finished
    assert reader.offset == len(data)
    assert [each for each in seen if not isinstance(each, Data)] == [
        each for each in events if not isinstance(each, Data)
    ]


def test_contents_are_passed_on_as_they_come() -> None:
    reader = NarReader()
    reader.feed(nar(*FILE[:4]) + (1 << 60).to_bytes(8, "little"))
    assert reader.feed(b"some") == [Data(b"some")]
    assert reader.feed(b"more") == [Data(b"more")]
    assert reader.feed(b"") == []


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x7fELF\1\1\1\0\0", "at byte 0: expected `nix-archive-1`"),
        (token(b"nix-archive-2"), "at byte 16: expected `nix-archive-1`"),
        (nar(b")"), "at byte 32: expected a regular file or"),
        (nar(b"(", b"type", b"fifo"), "at byte 56: expected a regular file or .*found"),
        (nar(b"(", b"type", b"regular", b")"), "at byte 72"),
        (nar(b"(", b"type", b"regular", b"executable", b"x"), "at byte 96"),
        (nar(*FILE[:5], b"("), r"expected `\)`, found"),
        (nar(*FILE[:5], b")")[:-24] + b"\1" * 24, "padding behind a file's contents is not zero"),
        (nar(b"(", b"type", b"symlink", b"target", b""), "not a target"),
        (nar(b"(", b"type", b"symlink", b"target", b"a\0b"), r"not a target.*`a\\0b`"),
        (nar(b"(", b"type", b"symlink", b"target", b"abcd")[:-1] + b"\1", "padding behind a symb"),
        (nar(*directory(entry(b"")))[:-8], "not a name of a directory entry: ``"),
        (nar(*directory(entry(b"."))), r"not a name.*`\.`"),
        (nar(*directory(entry(b".."))), r"not a name.*`\.\.`"),
        (nar(*directory(entry(b"a/b"))), "not a name.*`a/b`"),
        (nar(*directory(entry(b"a\0"))), r"not a name.*`a\\0`"),
        (nar(*directory(entry(b"b"), entry(b"a"))), r"\(in `b`\): entry `a` behind `b`"),
        (nar(*directory(entry(b"a"), entry(b"a"))), "entry `a` behind `a`: names have to ascend"),
        (nar(*directory(entry(b"d", directory(entry(b"..")))))[:-8], r"\(in `d`\): not a name"),
        (nar(b"(", b"type", b"directory", b"type"), r"expected an entry or `\)`"),
        (nar(b"(", b"type", b"directory", *entry(b"a")[:4], b"mode"), "expected `node`"),
        (nar(b"(", b"type", b"directory", *entry(b"a")[:-1], b"x"), r"\(in `a`\): expected `\)`"),
    ],
)
@pytest.mark.parametrize("step", [1, 1000])
def test_the_refusal_says_what_and_where(data: bytes, message: str, step: int) -> None:
    with pytest.raises(BadNar, match=message):
        feed_all(NarReader(), data, step)


def announce(tokens: tuple[bytes, ...], size: int) -> bytes:
    return nar(*tokens) + size.to_bytes(8, "little")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (announce(FILE[:4], 2**63), "a file of 9223372036854775808 bytes"),
        (announce((b"(", b"type", b"symlink", b"target"), MAX_TARGET + 1), "target of 4096 bytes"),
        (announce((*directory()[:3], *entry(b"")[:3]), MAX_NAME + 1), "name of 256 bytes"),
        (nar(*directory()[:3] + entry(b"a", directory()[:3])[:-1] * 64), "more than 64 deep"),
    ],
)
def test_what_passes_a_limit_is_refused_when_announced(data: bytes, message: str) -> None:
    with pytest.raises(LimitExceeded, match=message):
        NarReader().feed(data)


def test_the_limits_themselves_are_within() -> None:
    tree = directory()
    for _ in range(63):
        tree = directory(entry(b"n" * MAX_NAME, tree))
    deep = NarReader()
    deep.feed(nar(*tree))
    assert deep.finished
    link = NarReader()
    link.feed(nar(b"(", b"type", b"symlink", b"target", b"t" * MAX_TARGET, b")"))
    assert link.finished


def test_a_lower_depth_can_be_set() -> None:
    NarReader(max_depth=2).feed(nar(*directory(entry(b"a"))))
    with pytest.raises(LimitExceeded, match="more than 1 deep"):
        NarReader(max_depth=1).feed(nar(*directory(entry(b"a"))))


@pytest.mark.parametrize("size", range(0, len(NarWriter().write_all(SOME)), 13))
def test_an_early_end_is_noticed(size: int) -> None:
    reader = NarReader()
    reader.feed(NarWriter().write_all(SOME)[:size])
    with pytest.raises(BadNar, match=f"ends after {size} bytes"):
        reader.end()


def test_a_reader_is_for_one_nar() -> None:
    reader = NarReader()
    reader.feed(nar(*FILE))
    with pytest.raises(LocalProtocolError, match="start another"):
        reader.feed(b"")


def test_a_refusal_is_final() -> None:
    reader = NarReader()
    with pytest.raises(BadNar):
        reader.feed(nar(b")"))
    with pytest.raises(LocalProtocolError, match="has been refused"):
        reader.feed(nar(*FILE))


def test_little_is_held_whatever_comes() -> None:
    reader = NarReader()
    reader.feed(announce((*directory()[:3], *entry(b"")[:3]), MAX_NAME))
    for _ in range(MAX_NAME):
        reader.feed(b"x")
    assert len(reader._buffer) < 5000
    with pytest.raises(BadNar, match="padding"):
        reader.feed(b"x")


@given(strategies.nar_events, st.data())
def test_damage_is_canonical_or_refused(events: list[Event], data: st.DataObject) -> None:
    good = NarWriter().write_all(events)
    at = data.draw(st.integers(0, len(good) // 8)) * 8
    junk = data.draw(st.binary(max_size=16) | st.sampled_from([token(b")"), token(b"(")]))
    damaged = good[:at] + junk + good[at + data.draw(st.sampled_from([0, 8, 16])) :]
    reader = NarReader()
    try:
        read = feed_all(reader, damaged, 50)
    except RemoteProtocolError:
        return
    if reader.finished:
        assert NarWriter().write_all(read) == damaged[: reader.offset]
