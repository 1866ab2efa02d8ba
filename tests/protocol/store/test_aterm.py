import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import LimitExceeded, RemoteProtocolError
from protocol.store import aterm
from protocol.store.derivation import BadDerivation, Derivation, InputOutputs
from protocol.store.path import StorePath
from tests.support import strategies

DIGEST = "g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q"
DEP = b"/nix/store/" + DIGEST.encode() + b"-dep.drv"
PLAIN = (
    b'Derive([("out","/nix/store/g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-dep","","")],[],[],'
    b'"x86_64-linux","/bin/sh",["-c","touch $out"],[("builder","/bin/sh"),("name","dep"),'
    b'("out","/nix/store/g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-dep"),("system","x86_64-linux")])'
)


def test_a_small_derivation() -> None:
    derivation = aterm.parse(PLAIN, "dep")
    assert (derivation.name, derivation.platform, derivation.builder) == (
        "dep",
        "x86_64-linux",
        "/bin/sh",
    )
    assert derivation.args == ("-c", "touch $out")
    assert list(derivation.env) == ["builder", "name", "out", "system"]
    assert aterm.unparse(derivation) == PLAIN


@given(strategies.derivations())
def test_every_derivation_comes_back(derivation: Derivation) -> None:
    data = aterm.unparse(derivation)
    assert aterm.parse(data, derivation.name) == derivation
    assert aterm.unparse(aterm.parse(data, derivation.name)) == data


@given(strategies.derivations("/other/store"))
def test_the_store_directory_is_a_parameter(derivation: Derivation) -> None:
    data = aterm.unparse(derivation)
    assert aterm.parse(data, derivation.name, "/other/store") == derivation


@given(strategies.derivations(), st.data())
def test_damage_is_refused_or_but_another_order(
    derivation: Derivation, data: st.DataObject
) -> None:
    text = aterm.unparse(derivation)
    at = data.draw(st.integers(0, len(text)))
    cut = data.draw(st.integers(0, 3))
    junk = data.draw(st.binary(max_size=3) | st.sampled_from([b'"', b",", b"\\", b"[", b"("]))
    damaged = text[:at] + junk + text[at + cut :]
    try:
        parsed = aterm.parse(damaged, "x")
    except RemoteProtocolError:
        return
    assert sorted(aterm.unparse(parsed)) == sorted(damaged)
    assert aterm.parse(aterm.unparse(parsed), "x") == parsed


def test_names_sort_by_bytes_not_by_characters() -> None:
    # A stray byte 0xFF is an escape character below U+10000 in our text, but the last of all bytes.
    env = [b'("\xf0\x90\x80\x80","")', b'("\xff","")']
    data = PLAIN[: PLAIN.rindex(b"[(")] + b"[" + b",".join(env) + b"])"
    assert aterm.unparse(aterm.parse(data, "x")) == data


def test_any_order_is_read_and_the_right_one_written() -> None:
    first, second = b'("builder","/bin/sh")', b'("name","dep")'
    swapped = PLAIN.replace(first + b"," + second, second + b"," + first)
    assert swapped != PLAIN
    assert aterm.unparse(aterm.parse(swapped, "dep")) == PLAIN


def test_a_file_is_named_by_its_path() -> None:
    path = StorePath.parse(f"/nix/store/{DIGEST}-dep.drv")
    assert aterm.parse_file(path, PLAIN).name == "dep"


def test_only_a_drv_file_holds_a_derivation() -> None:
    with pytest.raises(BadDerivation, match=rf"{DIGEST}-dep: .*ends in `.drv`"):
        aterm.parse_file(StorePath.parse(f"/nix/store/{DIGEST}-dep"), PLAIN)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"Derive(", b"derive(", r"expected `Derive\(` at character 0"),
        (b'("out","/nix', b'("out","nix', r"outputs\.out: not in the store"),
        (b'"","")]', b'"","",)]', "outputs: expected an output of four texts"),
        (b'"","")]', b'"md4","")]', r"outputs\.out: .*md4"),
        (b"],[],[],", b"],[],", r"input_sources: expected `\[`"),
        (b"],[],[],", b'],[("x",["out"])],[],', "input_derivations: not in the store"),
        (
            b"],[],[],",
            b'],[("' + DEP[:-4] + b'",["out"])],[],',
            "input_derivations.*ends in `.drv`",
        ),
        (
            b"],[],[],",
            b'],[("' + DEP + b'",["b","b"])],[],',
            rf"input_derivations\.{DIGEST}-dep\.drv: repeated: `b`",
        ),
        (
            b"],[],[],",
            b'],[("' + DEP + b'",(["a"],[]))],[],',
            rf"input_derivations\.{DIGEST}-dep\.drv: an empty list of children",
        ),
        (
            b"],[],[],",
            b'],[("' + DEP + b'",(["a"],[("b",["c"])]))],[],',
            "input_derivations: expected the head for dynamic derivations",
        ),
        (b"],[],[],", b'],[],["' + DEP + b'","' + DEP + b'"],', "input_sources: .*repeated"),
        (b'"x86_64-linux",', b"x,", "platform: expected a text"),
        (b'"/bin/sh",[', b"[", "builder: expected a text"),
        (b'["-c","touch', b'["-c";"touch', "args: expected `,` or `]`"),
        (b"touch", b"touch\t", "args: expected a text"),
        (b"touch", b"touch\\x", "args: expected a text"),
        (b'("builder","/bin/sh"),', b"", None),
        (
            b'("builder","/bin/sh")',
            b'("name","/bin/sh")',
            "env: repeated: `name`",
        ),
        (b'("builder","/bin/sh")', b'("builder")', "env: expected a name and a value"),
        (b'linux")])', b'linux")]) ', "expected the end"),
        (b'linux")])', b'linux")]', r"expected `\)`"),
    ],
)
def test_the_refusal_names_the_field(old: bytes, new: bytes, message: str | None) -> None:
    assert old in PLAIN
    data = PLAIN.replace(old, new, 1)
    if message is None:
        assert aterm.unparse(aterm.parse(data, "dep")) == data
        return
    with pytest.raises(RemoteProtocolError, match=message):
        aterm.parse(data, "dep")


def test_the_name_is_checked() -> None:
    with pytest.raises(RemoteProtocolError, match="bad name"):
        aterm.parse(PLAIN, "a b")


def dynamic(depth: int) -> bytes:
    node = b'([],[("out",' * depth + b'["out"]' + b")])" * depth
    body = PLAIN.removeprefix(b"Derive(").replace(
        b"],[],[],", b'],[("' + DEP + b'",' + node + b")],[],", 1
    )
    return b'DrvWithVersion("xp-dyn-drv",' + body


def test_dynamic_derivations_have_a_head_of_their_own() -> None:
    derivation = aterm.parse(dynamic(1), "dep")
    wanted = InputOutputs(frozenset(), {"out": InputOutputs(frozenset({"out"}))})
    assert list(derivation.input_derivations.values()) == [wanted]
    assert aterm.unparse(derivation) == dynamic(1)


def test_children_nest_only_so_deep() -> None:
    deepest = dynamic(aterm.MAX_CHILDREN_DEPTH)
    assert aterm.unparse(aterm.parse(deepest, "dep")) == deepest
    with pytest.raises(LimitExceeded, match="32 deep"):
        aterm.parse(dynamic(100_000), "dep")


def test_a_head_for_dynamic_derivations_without_need_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="exactly where an input has children"):
        aterm.parse(dynamic(0), "dep")


@given(st.binary(max_size=200))
def test_junk_is_refused(junk: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        aterm.parse(junk, "x")
