from pathlib import Path

import pytest
import trio
import trio.testing

from protocol.store.derivation import BasicDerivation, InputAddressed
from protocol.store.path import StorePath
from shim.config import Policy
from shim.daemon.building.flight import Asker, Flight, Wanted
from shim.equivalence.source import Derivations

OUT = StorePath("/nix/store/g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-one")
DEV = StorePath("/nix/store/h1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-one-dev")
WANTED = Wanted(
    StorePath("/nix/store/j1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-one.drv"),
    BasicDerivation(
        outputs={"out": InputAddressed(OUT), "dev": InputAddressed(DEV)},
        input_sources=frozenset(),
        platform="aarch64-linux",
        builder="/bin/sh",
        args=(),
        env={},
    ),
    {"out": OUT},
)


def asker(peer: str = "board") -> Asker:
    async def hear(*_: object) -> None: ...

    return Asker(peer, lambda _: Policy(), Derivations.open(Path("/")), hear)


@pytest.mark.parametrize(
    ("ends", "seconds"),
    [
        (["leaves"], 0),
        (["vanishes"], 60),
        (["vanishes", "leaves"], 50),
        (["leaves", "vanishes"], 60),
        (["vanishes", "vanishes", "leaves"], 50),
    ],
)
def test_a_flight_goes_on_as_long_as_it_is_owed_to_somebody(
    ends: list[str], seconds: float
) -> None:
    """Seconds from the last end, when one comes every ten and the grace is sixty."""

    async def run() -> float:
        flight = Flight(WANTED, asker(), Policy())
        began: list[float] = []

        async def fly() -> None:
            with flight.scope:
                await trio.sleep_forever()
            began.append(trio.current_time())

        async def attend(number: int, how: str) -> None:
            who = asker()
            with flight.boarded(who, grace=60):
                await trio.sleep(10 * (number + 1) - 0.001 * (how == "vanishes"))
                who.vanished = how == "vanishes"

        async with trio.open_nursery() as nursery:
            nursery.start_soon(fly)
            for number, how in enumerate(ends):
                nursery.start_soon(attend, number, how)
        return began[0] - 10 * len(ends)

    found = trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))
    assert found == pytest.approx(seconds, abs=0.01)


def test_only_the_same_policy_and_no_more_outputs_are_served() -> None:
    async def run() -> None:
        flight = Flight(WANTED, asker(), Policy())
        both = Wanted(WANTED.path, WANTED.derivation, {"out": OUT, "dev": DEV})
        assert flight.serves(WANTED, Policy())
        assert not flight.serves(both, Policy())
        assert not flight.serves(WANTED, Policy(cross=True))
        flight.scope.cancel()
        assert not flight.serves(WANTED, Policy())

    trio.run(run)


def test_recipes_of_the_same_outputs_have_one_key() -> None:
    other = Wanted(
        StorePath("/nix/store/k1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-one.drv"),
        WANTED.derivation,
        {"dev": DEV},
    )
    assert other.key == WANTED.key
