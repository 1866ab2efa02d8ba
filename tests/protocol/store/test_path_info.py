from protocol.store.hash import Hash
from protocol.store.path import StorePath
from protocol.store.path_info import PathInfo

DIGEST = "g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q"
FOO, BAR = (StorePath.parse(f"/nix/store/{DIGEST}-{name}") for name in ("foo", "bar"))


def test_the_fingerprint_lists_references_ascending() -> None:
    info = PathInfo(nar_hash=Hash.of(b""), nar_size=7, references=frozenset({FOO, BAR}))
    assert info.fingerprint(FOO) == (
        f"1;{FOO};sha256:0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73;7;{BAR},{FOO}"
    )


def test_without_references_the_last_part_is_empty() -> None:
    assert PathInfo(nar_hash=Hash.of(b"")).fingerprint(FOO).endswith(";0;")
