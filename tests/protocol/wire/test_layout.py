"""Records and their gates."""

from dataclasses import dataclass

import pytest

from protocol.errors import LocalProtocolError, RemoteProtocolError
from protocol.version import Dialect, Number
from protocol.wire.codec import decode, text, u64
from protocol.wire.layout import layout, on, record, wire
from protocol.wire.source import WORD


@dataclass(frozen=True, slots=True)
class Parcel:
    weight: int = wire(u64)
    label: str = wire(text, since=Number(1, 30), default="")
    stamp: int = wire(u64, until=Number(1, 35), default=0)
    seal: int = wire(u64, needs="seals", default=0)
    wax: int = wire(u64, unless="seals", default=0)


FORM = record(Parcel)
FULL = Parcel(1, "x", 2, 3, 4)
GATES = [
    (Dialect(Number(1, 29)), Parcel(1, stamp=2, wax=4), 3),
    (Dialect(Number(1, 30)), Parcel(1, "x", 2, wax=4), 5),
    (Dialect(Number(1, 36)), Parcel(1, "x", wax=4), 4),
    (Dialect(Number(1, 36), frozenset({"seals"})), Parcel(1, "x", seal=3), 4),
]


@pytest.mark.parametrize(("dialect", "seen", "words"), GATES)
def test_gates_keep_fields_off_the_wire(dialect: Dialect, seen: Parcel, words: int) -> None:
    data = FORM.put(FULL, dialect)
    assert len(data) == 8 * words
    assert decode(FORM, data, dialect) == seen


def test_errors_name_their_field() -> None:
    dialect = Dialect(Number(1, 30))
    with pytest.raises(LocalProtocolError, match=r"^stamp: "):
        FORM.put(Parcel(1, "x", -1), dialect)
    with pytest.raises(RemoteProtocolError, match=r"^label: ends too early"):
        decode(FORM, WORD.pack(1), dialect)


def test_values_that_know_no_wire_are_laid_out_from_outside() -> None:
    form = layout(Number, minor=on(u64), major=on(u64))
    assert form.put(Number(1, 38), GATES[0][0]) == WORD.pack(38) + WORD.pack(1)
