"""Against `tests/golden/derivations`, and each other."""

from protocol.store import base32
from protocol.store.hash import Hash, compress
from protocol.store.path import StorePath
from protocol.store.placeholder import computed, standard, upstream

FLOATING = StorePath.parse("/nix/store/7lnwryhlxhvrzpmg8shsxnhw3pxyjqy3-floats.drv")


def test_an_own_output() -> None:
    assert standard("lib") == "/0sra2y18lr3h6j58qjm0w46yv36h1wjmilb09n8aimdpivdymscx"


def test_an_output_of_a_floating_input() -> None:
    assert upstream(FLOATING, "out") == "/1m883aqsjjgsl328c65cyhqpvcyjql0qvaj43xxx6krf5yxk8629"
    assert upstream(FLOATING, "lib") == "/026bdn3b31h65n4hxsa1li76m10m43ly044j2ckhicgi9vb58xfr"


def test_an_output_of_an_output() -> None:
    inner = upstream(FLOATING, "out")
    folded = base32.encode(compress(base32.decode(inner[1:])))
    assert (
        computed(inner, "bin")
        == f"/{Hash.of(f'nix-computed-output:{folded}:bin'.encode()).nix32()}"
    )
