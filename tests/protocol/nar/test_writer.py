import pytest
from hypothesis import given

from protocol.errors import LocalProtocolError
from protocol.nar.events import Data, Directory, End, Entry, Event, Regular, Symlink
from protocol.nar.format import MAX_NAME, MAX_TARGET
from protocol.nar.writer import NarWriter
from tests.support import strategies

FILE = Regular(executable=False, size=2)


@given(strategies.nar_events)
def test_a_nar_is_whole_words_long(events: list[Event]) -> None:
    writer = NarWriter()
    assert len(writer.write_all(events)) % 8 == 0
    assert writer.finished


def test_contents_are_not_copied() -> None:
    writer = NarWriter()
    writer.write(FILE)
    data = b"xy"
    assert writer.write(Data(data)) is data


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ([Data(b"x")], "1 bytes of contents where 0 are due"),
        ([Entry(b"x")], "no entry can come here"),
        ([End()], "nothing is open"),
        ([Symlink(b"x"), Symlink(b"x")], "no node can begin"),
        ([Symlink(b"x"), Entry(b"x")], "no entry can come here"),
        ([Symlink(b"x"), End()], "nothing is open"),
        ([Symlink(b"")], "no target"),
        ([Symlink(b"\0")], "no target"),
        ([Symlink(b"x" * (MAX_TARGET + 1))], "no target"),
        ([Directory(), Directory()], "no node can begin"),
        ([Directory(), Data(b"x")], "where 0 are due"),
        ([Directory(), Entry(b"a"), Entry(b"b")], "no entry can come here"),
        ([Directory(), Entry(b"a"), End()], "nothing is open"),
        ([Directory(), Entry(b"a"), Symlink(b"x"), Symlink(b"x")], "no node can begin"),
        ([Directory(), Entry(b"..")], "not a name"),
        ([Directory(), Entry(b"x" * (MAX_NAME + 1))], "not a name"),
        ([Directory(), Entry(b"b"), Symlink(b"x"), Entry(b"a")], "`a` behind `b`"),
        ([Regular(executable=False, size=-1)], "cannot have -1 bytes"),
        ([FILE, Data(b"xyz")], "3 bytes of contents where 2 are due"),
        ([FILE, Data(b"x"), End()], "1 bytes missing"),
        ([FILE, Entry(b"a")], "no entry can come here"),
        ([FILE, Symlink(b"a")], "no node can begin"),
    ],
)
def test_events_out_of_place_are_our_mistake(events: list[Event], message: str) -> None:
    with pytest.raises(LocalProtocolError, match=message):
        NarWriter().write_all(events)
