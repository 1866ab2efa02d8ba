"""Exact names of outputs are those that real builders gave to the same flat derivations."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from protocol.store.build_result import BuildResult
from protocol.store.derivation import BasicDerivation, FixedOutput, Floating
from protocol.store.naming import named, output_names
from protocol.store.realisation import Form, Realisation
from protocol.transcript.decode import messages
from protocol.worker import events as worker
from protocol.worker.messages import BuildDerivation
from tests.support.recorded import RECORDINGS, name_of


def builds(file: Path) -> Iterator[tuple[BasicDerivation, BuildResult]]:
    """Flat derivations that somebody had built, and what came out."""
    asked: BuildDerivation | None = None
    for message in messages([file.read_bytes()]):
        match message.event:
            case worker.Asked(request=BuildDerivation() as request):
                asked = request
            case worker.Replied(value=BuildResult() as result) if asked is not None:
                if result.built_outputs:
                    yield asked.derivation, result
                asked = None
            case _:
                pass


FLAT = [
    pytest.param(derivation, result, id=f"{name_of(file)}")
    for file in RECORDINGS
    if "worker" in file.name and "hook" in file.name
    for derivation, result in builds(file)
]


@pytest.mark.parametrize(("derivation", "result"), FLAT)
def test_real_builders_name_them_so(derivation: BasicDerivation, result: BuildResult) -> None:
    assert {name: told.id for name, told in outputs(result).items()} == output_names(derivation)


def outputs(result: BuildResult) -> dict[str, Realisation]:
    return {
        name: told for name, told in result.built_outputs.items() if isinstance(told, Realisation)
    }


def test_recordings_have_outputs_of_all_kinds() -> None:
    kinds = {
        type(output)
        for each in FLAT
        for output in each.values[0].outputs.values()  # type: ignore[union-attr]
    }
    assert {Floating, FixedOutput} < kinds


@pytest.mark.parametrize(("derivation", "result"), FLAT[:20])
def test_what_a_builder_of_2_35_leaves_out_is_filled_in(
    derivation: BasicDerivation, result: BuildResult
) -> None:
    told = outputs(result)
    zeroes = {name: Realisation.minimal(name, each.out_path) for name, each in told.items()}
    unkeyed = {name: each.unkeyed() for name, each in told.items()}
    filled = {
        name: replace(each, dependencies={}, form=Form.FULL, signatures=())
        for name, each in told.items()
    }
    for forms in (zeroes, unkeyed):
        found = named(replace(result, built_outputs=forms), derivation)
        assert {
            name: replace(each, signatures=()) for name, each in outputs(found).items()
        } == filled
        assert replace(found, built_outputs={}) == replace(result, built_outputs={})


@pytest.mark.parametrize(("derivation", "result"), FLAT[:20])
def test_what_was_named_stays_as_it_is(derivation: BasicDerivation, result: BuildResult) -> None:
    assert named(result, derivation) is result
