import json

import pytest
from hypothesis import given
from hypothesis.strategies import binary, characters, lists, text

from shim.preamble import HEADER, LIMIT, MAGIC, BadPreamble, Preamble, Speaks, body_length


def test_what_is_rendered_is_read_back() -> None:
    data = Preamble("riscv-board.1").render()
    size = body_length(data[: HEADER.size])
    assert data.startswith(MAGIC)
    assert Preamble.parse(data[HEADER.size :]) == Preamble("riscv-board.1")
    assert len(data) == HEADER.size + size


def test_a_command_keeps_its_arguments() -> None:
    said = Preamble("pi", Speaks.COMMAND, ("nix-store", "--query", "a b"), tells_endings=True)
    assert Preamble.parse(said.render()[HEADER.size :]) == said


@given(lists(text(characters(exclude_categories=()))))
def test_arguments_of_any_characters_are_json(arguments: list[str]) -> None:
    body = Preamble("pi", Speaks.COMMAND, tuple(arguments)).render()[HEADER.size :]
    assert json.loads(body) == {
        "peer": "pi",
        "speaks": "command",
        "arguments": arguments,
        "tells-endings": False,
    }


@pytest.mark.parametrize(
    "fields",
    [
        {"speaks": "latin"},
        {"speaks": 3},
        {"speaks": ["worker"]},
        {"arguments": "x"},
        {"arguments": [1]},
        {"tells-endings": 1},
    ],
)
def test_fields_of_another_kind_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(BadPreamble, match="preamble"):
        Preamble.parse(json.dumps({"peer": "pi", **fields}).encode())


@pytest.mark.parametrize("name", ["", "-x", "a b", "x" * 65, "a/b", "é", "ä", "a\n", ".a", "٣"])
def test_names_that_could_confuse_are_refused(name: str) -> None:
    with pytest.raises(BadPreamble, match="bad peer name"):
        Preamble(name)


@pytest.mark.parametrize("name", ["a", "0", "A" * 64, "root@attic.local", "a_b+c-d"])
def test_ordinary_names_are_taken(name: str) -> None:
    assert Preamble(name).peer == name


def test_an_announced_flood_is_refused() -> None:
    with pytest.raises(BadPreamble, match="at most"):
        body_length(HEADER.pack(MAGIC, LIMIT + 1))


def test_a_body_that_is_too_deep_is_refused() -> None:
    with pytest.raises(BadPreamble, match="not JSON"):
        Preamble.parse(b"[" * LIMIT)


@given(binary(max_size=64))
def test_junk_is_refused_or_a_preamble(junk: bytes) -> None:
    try:
        Preamble.parse(junk)
    except BadPreamble:
        return
    assert b"peer" in junk
