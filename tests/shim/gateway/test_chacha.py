import os

from asyncssh.encryption import ChachaEncryption
from hypothesis import given
from hypothesis import strategies as st

from shim.gateway.chacha import ChaCha

KEY = os.urandom(64)
HEADER = st.binary(min_size=4, max_size=4)


@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), HEADER, st.binary(min_size=8, max_size=99))))
def test_packets_are_those_of_asyncssh(packets: list[tuple[int, bytes, bytes]]) -> None:
    ours, other = ChaCha(KEY), ChaCha(KEY)
    theirs = ChachaEncryption.new("chacha20-poly1305", KEY, b"")
    for number, header, body in packets:  # contexts are used again, for numbers in any order
        sealed, tag = ours.encrypt_packet(number, header, body)
        assert (sealed, tag) == theirs.encrypt_packet(number, header, body)
        assert other.decrypt_header(number, sealed[:4], 4) == (sealed[:4], header)
        assert other.decrypt_packet(number, sealed[:4], sealed[4:], 4, tag) == body


@given(st.integers(0, 200))
def test_what_was_changed_on_the_way_is_not_taken(at: int) -> None:
    sealed, tag = ChaCha(KEY).encrypt_packet(7, b"head", bytes(180))
    whole = bytearray(sealed + tag)
    whole[at % len(whole)] ^= 1
    changed, mac = bytes(whole[: len(sealed)]), bytes(whole[len(sealed) :])
    assert ChaCha(KEY).decrypt_packet(7, changed[:4], changed[4:], 4, mac) is None
    assert ChaCha(KEY).decrypt_packet(8, sealed[:4], sealed[4:], 4, tag) is None
