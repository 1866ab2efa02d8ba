"""Numbers and dialects."""

import pytest

from protocol.errors import RemoteProtocolError
from protocol.version import Dialect, Number, negotiate


def test_numbers_have_words_and_texts() -> None:
    assert Number.from_word(0x126) == Number.parse("1.38") == Number(1, 38)
    assert Number(2, 7).word == 0x207
    assert str(Number(1, 9)) == "1.9"
    assert Number(1, 9) < Number(1, 38) < Number(2, 0)


@pytest.mark.parametrize("text", ["", "1", "1.", ".1", "1.256", "1.-1", "a.b", "1.2.3", "1.²"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(RemoteProtocolError):
        Number.parse(text)


def test_the_older_one_is_spoken() -> None:
    assert negotiate(Number(1, 38), Number(1, 21)) == Number(1, 21)
    with pytest.raises(RemoteProtocolError, match=r"2\.5"):
        negotiate(Number(1, 38), Number(2, 5))


def test_a_dialect_says_what_it_is() -> None:
    assert str(Dialect(Number(1, 38), frozenset({"b", "a"}))) == "1.38 + a + b"
