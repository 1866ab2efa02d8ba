import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import RemoteProtocolError
from protocol.store.content_address import ContentAddress, Method
from protocol.store.derivation import (
    BadDerivation,
    BasicDerivation,
    Deferred,
    Derivation,
    FixedOutput,
    Floating,
    Impure,
    InputAddressed,
    Output,
    check_outputs,
    output_texts,
    read_output,
)
from protocol.store.hash import BadHash, Hash, HashAlgorithm
from protocol.store.path import StorePath
from tests.support import strategies

PATH = StorePath.parse("/nix/store/g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-foo")
SHA256 = Hash.of(b"hello")
FIXED = FixedOutput(PATH, ContentAddress(Method.NAR, SHA256))


def basic(env: dict[str, str], outputs: dict[str, Output] | None = None) -> BasicDerivation:
    return BasicDerivation(
        outputs=outputs or {"out": InputAddressed(PATH)},
        input_sources=frozenset(),
        platform="x86_64-linux",
        builder="/bin/sh",
        args=(),
        env=env,
    )


@pytest.mark.parametrize(
    ("output", "written"),
    [
        (InputAddressed(PATH), (PATH, "", "")),
        (FIXED, (PATH, "r:sha256", SHA256.base16())),
        (
            FixedOutput(PATH, ContentAddress(Method.FLAT, SHA256)),
            (PATH, "sha256", SHA256.base16()),
        ),
        (Floating(Method.NAR, HashAlgorithm.SHA256), ("", "r:sha256", "")),
        (Floating(Method.TEXT, HashAlgorithm.SHA256), ("", "text:sha256", "")),
        (Deferred(), ("", "", "")),
        (Impure(Method.GIT, HashAlgorithm.SHA1), ("", "git:sha1", "impure")),
    ],
)
def test_the_five_kinds(output: Output, written: tuple[str, str, str]) -> None:
    assert output_texts(output) == written
    assert read_output(*written) == output


@given(strategies.output_sets("/s"))
def test_outputs_come_back(outputs: dict[str, Output]) -> None:
    for output in outputs.values():
        assert read_output(*output_texts(output), "/s") == output
    check_outputs(outputs)


@pytest.mark.parametrize(
    "written",
    [
        ("", "", SHA256.base16()),
        (PATH, "", SHA256.base16()),
        (PATH, "r:sha256", ""),
        (PATH, "r:sha256", "impure"),
        ("", "r:sha256", SHA256.base16()),
        ("/tmp/x", "", ""),
        (PATH, "r:sha3", SHA256.base16()),
        (PATH, "R:sha256", SHA256.base16()),
        (PATH, "text:sha1", ""),
    ],
)
def test_other_combinations_are_refused(written: tuple[str, str, str]) -> None:
    with pytest.raises(RemoteProtocolError):
        read_output(*written)


@pytest.mark.parametrize("digest", [SHA256.nix32(), SHA256.base16().upper(), SHA256.base64()])
def test_a_fixed_hash_is_written_in_base_16(digest: str) -> None:
    with pytest.raises(BadHash, match="base 16"):
        read_output(PATH, "sha256", digest)


@given(*[st.text("abr:/0-", max_size=40)] * 3)
def test_junk_is_an_output_or_refused(path: str, algorithm: str, digest: str) -> None:
    try:
        output = read_output(path, algorithm, digest)
    except RemoteProtocolError:
        return
    assert output_texts(output) == (path, algorithm, digest)


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({"out": FIXED, "dev": FIXED}, "the only one"),
        ({"dev": FIXED}, "named `out`"),
        (
            {"out": InputAddressed(PATH), "dev": Deferred()},
            "side by side: Deferred, InputAddressed",
        ),
        ({"a/b": Deferred()}, "bad name"),
    ],
)
def test_impossible_sets_of_outputs(outputs: dict[str, Output], message: str) -> None:
    with pytest.raises(RemoteProtocolError, match=message):
        check_outputs(outputs)


def test_known_paths_are_listed() -> None:
    floating = Floating(Method.NAR, HashAlgorithm.SHA256)
    assert basic({}, {"out": FIXED}).output_paths() == {"out": PATH}
    assert basic({}, {"out": InputAddressed(PATH)}).output_paths() == {"out": PATH}
    assert basic({}, {"out": floating, "dev": Deferred()}).output_paths() == {}


def test_only_a_fixed_output_is_fixed() -> None:
    assert basic({}, {"out": FIXED}).is_fixed
    assert not basic({}).is_fixed


def test_structured_attributes() -> None:
    assert basic({}).structured() is None
    assert basic({"__json": '{"a":[1,"b"]}'}).structured() == {"a": [1, "b"]}


@pytest.mark.parametrize("text", ["", "{", "[]", "1", "[" * 100_000])
def test_broken_structured_attributes_name_their_variable(text: str) -> None:
    with pytest.raises(BadDerivation, match=r"env\.__json: structured attributes"):
        basic({"__json": text}).structured()


@given(strategies.derivations())
def test_the_form_for_builders_keeps_all_but_name_and_inputs(derivation: Derivation) -> None:
    sources = frozenset({PATH})
    assert derivation.as_basic(sources) == BasicDerivation(
        outputs=derivation.outputs,
        input_sources=sources,
        platform=derivation.platform,
        builder=derivation.builder,
        args=derivation.args,
        env=derivation.env,
    )
