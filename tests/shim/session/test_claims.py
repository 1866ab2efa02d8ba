"""What a request may claim: recomputed paths, flat recipes, and what is known of them already."""

from dataclasses import replace
from typing import Any

import pytest

from protocol.store import aterm
from protocol.store.addressing import content_path
from protocol.store.content_address import ContentAddress, Method
from protocol.store.derivation import Derivation, FixedOutput, InputAddressed, InputOutputs
from protocol.store.hash import Hash
from protocol.store.modulo import HashModulo, derivation_path, with_outputs
from protocol.store.path import STORE_DIR, StorePath
from protocol.store.realisation import DrvOutput
from shim.equivalence.source import Derivations
from shim.session.claims import Claims, contradiction, flat_objection

OTHER = StorePath.parse(f"{STORE_DIR}/{'0' * 32}-other")


def recipe(name: str, *inputs: Derivation, **env: str) -> Derivation:
    """A derivation whose output path follows from it."""
    draft = Derivation(
        name=name,
        outputs={"out": InputAddressed(OTHER)},
        input_sources=frozenset(),
        input_derivations={
            derivation_path(each): InputOutputs(frozenset({"out"})) for each in inputs
        },
        platform="aarch64-linux",
        builder="/bin/sh",
        args=("-c", "true"),
        env={"name": name, "out": "", **env},
    )
    known = {derivation_path(each): each for each in inputs}
    return with_outputs(draft, HashModulo(known.__getitem__))


def forged(derivation: Derivation) -> Derivation:
    """The same, stating another path."""
    return replace(
        derivation,
        outputs={"out": InputAddressed(OTHER)},
        env={**derivation.env, "out": OTHER},
    )


def graph(*derivations: Derivation) -> Derivations:
    texts = {derivation_path(each): aterm.unparse(each) for each in derivations}
    return Derivations(texts.get)


LOW = recipe("low")
TOP = recipe("top", LOW, below=LOW.output_paths()["out"])


def test_what_follows_from_its_graph_is_believed() -> None:
    claims = Claims()
    assert claims.objection(derivation_path(TOP), graph(TOP, LOW)) == ""
    # What was found out is kept, whatever becomes of the store.
    assert claims.objection(derivation_path(TOP), graph()) == ""


def test_a_stated_path_that_does_not_follow_is_an_objection() -> None:
    lie = forged(TOP)
    why = Claims().objection(derivation_path(lie), graph(lie, LOW))
    assert f"`{OTHER}`" in why
    assert derivation_path(lie).base in why


def test_so_is_one_anywhere_below() -> None:
    lie = forged(LOW)
    above = recipe("top", lie, below=OTHER)
    why = Claims().objection(derivation_path(above), graph(above, lie))
    assert derivation_path(lie).base in why


def test_nothing_follows_where_an_input_is_missing() -> None:
    why = Claims().objection(derivation_path(TOP), graph(TOP))
    assert derivation_path(LOW).base in why


def test_an_objection_is_not_kept_as_belief() -> None:
    claims, lie = Claims(), forged(TOP)
    for _ in range(2):
        assert claims.objection(derivation_path(lie), graph(lie, LOW))
    assert claims.objection(derivation_path(TOP), graph(TOP, LOW)) == ""


def test_outputs_are_named_by_the_hash_modulo() -> None:
    named = Claims().realisations(TOP, TOP.output_paths(), graph(TOP, LOW))
    hashes = HashModulo({derivation_path(LOW): LOW}.__getitem__).masked(TOP).hashes
    assert named["out"].id == DrvOutput.of(hashes["out"], "out")
    assert named["out"].out_path == TOP.output_paths()["out"]


# -- flat derivations

FLAT = LOW.as_basic(frozenset())


def test_a_flat_derivation_that_agrees_with_itself_is_fine() -> None:
    assert flat_objection(derivation_path(LOW), FLAT, STORE_DIR) == ""


def test_an_output_has_the_name_of_its_derivation() -> None:
    path = StorePath.parse(f"{STORE_DIR}/{'1' * 32}-innocent.drv")
    assert "would be called `innocent`" in flat_objection(path, FLAT, STORE_DIR)


@pytest.mark.parametrize("honest", [True, False])
def test_a_fixed_output_lies_where_its_hash_says(*, honest: bool) -> None:
    content = ContentAddress(Method.FLAT, Hash.of(b"x"))
    path = (
        content_path("low", content) if honest else StorePath.parse(f"{STORE_DIR}/{'2' * 32}-low")
    )
    flat = replace(FLAT, outputs={"out": FixedOutput(path, content)})
    why = flat_objection(derivation_path(LOW), flat, STORE_DIR)
    assert bool(why) is not honest


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"outputs": {"out": InputAddressed(OTHER)}}, "outputs"),
        ({"platform": "riscv64-linux"}, "platform"),
        ({"builder": "/bin/evil"}, "builder"),
        ({"args": ("-c", "evil")}, "args"),
        ({"env": {**LOW.env, "evil": "1"}}, "`evil`"),
        ({"env": {}}, "variable"),
    ],
)
def test_another_recipe_contradicts_the_known_one(changes: dict[str, Any], expected: str) -> None:
    assert contradiction(FLAT, LOW) == ""
    assert expected in contradiction(replace(FLAT, **changes), LOW)


def test_structured_attributes_may_be_written_anew() -> None:
    known = replace(LOW, env={**LOW.env, "__json": '{"b": 1, "a": [2]}'})
    flat = known.as_basic(frozenset())
    again = replace(flat, env={**flat.env, "__json": '{"a":[2],"b":1}'})
    other = replace(flat, env={**flat.env, "__json": '{"a":[3],"b":1}'})
    broken = replace(flat, env={**flat.env, "__json": "{"})
    assert contradiction(again, known) == ""
    assert contradiction(other, known)
    assert contradiction(broken, known)
