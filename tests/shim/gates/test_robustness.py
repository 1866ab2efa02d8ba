import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.fuzz_gates import looker, mutated, samples

LOOK = looker("armv7l-linux")
SAMPLES = samples()


@pytest.mark.parametrize("sample", range(len(SAMPLES)))
def test_damaged_files_raise_nothing_unforeseen(sample: int) -> None:
    chance = random.Random(sample)  # noqa: S311 - to be repeatable, no secret
    for _ in range(10):
        LOOK(mutated(SAMPLES[sample], chance))


@given(st.binary(max_size=2000))
def test_junk_raises_nothing_unforeseen(data: bytes) -> None:
    LOOK(data)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(SAMPLES), st.data())
def test_any_cut_raises_nothing_unforeseen(sample: bytes, data: st.DataObject) -> None:
    LOOK(sample[: data.draw(st.integers(0, len(sample)))])
