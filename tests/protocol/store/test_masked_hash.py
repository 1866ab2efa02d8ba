from hypothesis import given
from hypothesis import strategies as st

from protocol.nar.events import Data, End, Regular
from protocol.nar.writer import NarWriter
from protocol.store.addressing import content_path
from protocol.store.content_address import ContentAddress, Method
from protocol.store.hash import Hash, HashAlgorithm
from protocol.store.masked_hash import MaskedHash

# Made by `nix store make-content-addressed` of Nix 2.8.0 from a file that names itself twice.
DIGEST = "jb6g8fhnv8vd3933f51fccw7yn5kwwyy"
CONTENTS = f"/nix/store/{DIGEST}-self and again /nix/store/{DIGEST}-self\n".encode()
NAR = NarWriter().write_all([Regular(executable=False, size=len(CONTENTS)), Data(CONTENTS), End()])
ADDRESS = ContentAddress.parse(
    "fixed:r:sha256:17z42d7cwaw6vrgripz8aj1knw33r1y8x1h0m54zg7sgl2jb6x79"
)


@given(st.integers(1, 300))
def test_a_path_that_names_itself_has_the_address_nix_gave_it(step: int) -> None:
    masked = MaskedHash(DIGEST)
    for at in range(0, len(NAR), step):
        masked.feed(NAR[at : at + step])
    assert ContentAddress(Method.NAR, masked.hash()) == ADDRESS
    assert content_path("self", ADDRESS, refers_to_itself=True).digest == DIGEST
    assert masked.size == len(NAR)


def test_offsets_are_those_of_the_occurrences() -> None:
    masked = MaskedHash(DIGEST)
    masked.feed(NAR)
    assert [NAR[at : at + 32].decode() for at in masked.offsets] == [DIGEST, DIGEST]


def test_some_versions_leave_the_offsets_out() -> None:
    masked = MaskedHash(DIGEST, HashAlgorithm.SHA1, with_offsets=False)
    masked.feed(NAR)
    assert masked.hash() == Hash.of(NAR.replace(DIGEST.encode(), bytes(32)), HashAlgorithm.SHA1)


@given(st.binary(max_size=200))
def test_without_occurrences_it_is_the_plain_hash(data: bytes) -> None:
    masked = MaskedHash(DIGEST)
    masked.feed(data)
    assert masked.hash() == Hash.of(data)
