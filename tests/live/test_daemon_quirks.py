"""What surprises in nix-daemons, as peers meet it: releases that no distribution has, and faults.

The shim is real, the daemon behind it is scripted.
"""

import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from protocol.store.build_result import BuildResult, BuildStatus
from protocol.store.content_address import Method
from protocol.store.derivation import BasicDerivation, Floating
from protocol.store.derived_path import ALL_OUTPUTS, Built, Opaque
from protocol.store.hash import Hash, HashAlgorithm
from protocol.store.naming import output_names
from protocol.store.path import StorePath
from protocol.store.path_info import PathInfo
from protocol.store.realisation import DrvOutput, Realisation, UnkeyedRealisation
from protocol.version import Dialect, Number
from protocol.worker import stderr
from protocol.worker.messages import (
    AddToStoreNar,
    BuildDerivation,
    BuildPathsWithResults,
    IsValidPath,
    NarFromPath,
    QueryPathInfo,
    QueryRealisation,
)
from protocol.worker.stderr import Next, NixError
from protocol.worker.versions import FEATURES, NEWEST
from tests.live import world
from tests.live.talking import Hung, Refused, Talker, file_nar
from tests.live.test_endings import wait_for
from tests.support.scripted import Scripted, Speaker

CONFIG = """
socket = "{base}/front"
state-directory = "{base}/state"
[serving]
root = "{base}/store"
socket = "{base}/real"
start = false
[deadlines]
shutdown = 2
drain = 2
"""

LAST = (0x616C7473).to_bytes(8, "little")
ERROR = stderr.message.put(NixError("not this one"), Dialect(NEWEST))
"""What a daemon says unasked."""

PATH = StorePath.of("0" * 32 + "-x")
DRV = StorePath.of("2" * 32 + "-z.drv")
OTHER = StorePath.of("1" * 32 + "-y")


class House:
    """A shim before a scripted daemon; looks to `Talker` like any shim."""

    def __init__(self, base: Path, daemon: Scripted) -> None:
        self.base = base
        self.daemon = daemon
        self.socket = base / "front"

    def talk(self, newest: Number = NEWEST) -> Talker:
        return Talker(self, newest=newest)  # type: ignore[arg-type]


Make = Callable[..., AbstractContextManager[House]]


@pytest.fixture
def house() -> Make:
    """Makes houses; what it is given is the script of the daemon."""

    @contextmanager
    def make(**settings: Any) -> Iterator[House]:
        with tempfile.TemporaryDirectory(prefix="quirk-") as folder:
            base = Path(folder)
            (base / "store").mkdir()
            (base / "shim.toml").write_text(CONFIG.format(base=base))
            with Scripted(base / "real", **settings).listening() as daemon:
                process = world.spawn([world.SHIM, "serve", "--config", base / "shim.toml"])
                try:
                    wait_for(lambda: world.accepts(base / "front"), 30)
                    yield House(base, daemon)
                finally:
                    process.terminate()
                    process.wait(30)

    return make


NAR = file_nar(bytes(4 << 20))

UPLOAD = AddToStoreNar(PATH, PathInfo(nar_hash=Hash.of(NAR), nar_size=len(NAR)))


def refuse_and_close(speaker: Speaker, _: Any) -> None:
    """As Nix does that could not read a request: the error is said twice (`processConnection`)."""
    speaker.send(ERROR + ERROR)
    speaker.close()


def test_an_error_said_twice_before_a_close_costs_no_session(house: Make) -> None:
    with house(answers={"QueryPathInfo": refuse_and_close}) as made, made.talk() as talker:
        with pytest.raises(Refused, match="not this one"):
            talker.ask(QueryPathInfo(PATH))
        with suppress(Refused):  # a client of the daemon itself would find it closed as well
            talker.ask(IsValidPath(PATH))
        assert talker.ask(IsValidPath(PATH)) is True


def test_an_upload_refused_in_its_midst_is_heard_out(house: Make) -> None:
    """Nix reports errors of an upload behind its end; others may not wait that long."""
    daemon = {
        "at_once": {"AddToStoreNar": lambda speaker, _: speaker.fail("not this one")},
        "answers": {"AddToStoreNar": lambda *_: None},
    }
    with house(**daemon) as made, made.talk() as talker:
        with pytest.raises(Refused, match="not this one"):
            talker.ask(UPLOAD, NAR)
        assert talker.ask(IsValidPath(PATH)) is True


def test_a_daemon_with_much_to_say_during_an_upload_is_heard(house: Make) -> None:
    """More than sockets hold: who only writes would wait for ever, and so would the daemon."""
    lines = 400

    def chat(speaker: Speaker, _: Any) -> None:
        for number in range(lines):
            speaker.send(speaker.connection.log(Next(f"{number} " + "x" * 10_000)))

    daemon = {
        "at_once": {"AddToStoreNar": chat},
        "answers": {"AddToStoreNar": lambda speaker, _: speaker.reply(None)},
    }
    with house(**daemon) as made, made.talk() as talker, ThreadPoolExecutor() as pool:
        request = talker.connection.ask(UPLOAD) + talker.connection.body(NAR)
        sent = pool.submit(talker.socket.sendall, request + talker.connection.body_end())
        assert talker.answer() is None
        sent.result()
        heard = [line for line in talker.said if line.endswith("x" * 100)]
        assert [int(line.split()[0]) for line in heard] == list(range(lines))


def test_fewer_results_than_asked_for_stay_fewer(house: Make) -> None:
    """Daemons since 2.33.2 leave out what they never began."""
    failed = BuildResult(status=BuildStatus.MISC_FAILURE, error_message="it failed")
    asked = (Built(DRV, ALL_OUTPUTS), Opaque(OTHER))
    daemon = {
        "BuildPathsWithResults": lambda speaker, request: speaker.reply(
            ((request.paths[1], failed),)
        )
    }
    with house(answers=daemon) as made, made.talk() as talker:
        assert talker.ask(BuildPathsWithResults(asked)) == ((asked[1], failed),)


FLOATING = BasicDerivation(
    outputs={"out": Floating(Method.NAR, HashAlgorithm.SHA256)},
    input_sources=frozenset(),
    platform="x86_64-linux",
    builder="/bin/sh",
    args=("-c", "echo > $out"),
    env={"out": "/" + "0" * 52},
)


@pytest.mark.parametrize("minor", [28, 34, 38])
def test_old_boards_hear_the_exact_names_of_outputs(minor: int, house: Make) -> None:
    """Their build hooks, up to 2.15, abort without; builders since 2.35 name none."""
    built = BuildResult(
        status=BuildStatus.BUILT, built_outputs={"out": UnkeyedRealisation(OTHER)}, times_built=1
    )
    answers = {"BuildDerivation": lambda speaker, _: speaker.reply(built)}
    with house(answers=answers, features=FEATURES) as made, made.talk(Number(1, minor)) as talker:
        (heard,) = talker.ask(BuildDerivation(DRV, FLOATING)).built_outputs.values()
    assert heard == Realisation(output_names(FLOATING)["out"], OTHER)


def test_realisations_are_not_asked_of_a_daemon_that_would_lose_its_place(house: Make) -> None:
    """Those since 2.35 do not read what follows the number of the operation (`performOp`)."""
    with house(features=FEATURES) as made, made.talk() as talker:
        with pytest.raises(Refused, match="realisation-with-path-not-hash"):
            talker.ask(QueryRealisation(DrvOutput.unknown("out")))
        assert "QueryRealisation" not in made.daemon.asked
        assert talker.ask(IsValidPath(PATH)) is True


def test_a_daemon_that_has_no_nar_after_all_ends_one_request(house: Make) -> None:
    """It has said that the NAR follows, and says there why there is none (`narFromPath`)."""

    def break_off(speaker: Speaker, _: Any) -> None:
        speaker.send(LAST + ERROR)
        speaker.close()

    with house(answers={"NarFromPath": break_off}) as made:
        with made.talk() as talker, pytest.raises((Refused, Hung)):
            talker.ask(NarFromPath(PATH))
        with made.talk() as talker:
            assert talker.ask(IsValidPath(PATH)) is True


@pytest.mark.parametrize("newest", [Number(1, 21), Number(1, 34), NEWEST], ids=str)
def test_a_daemon_of_the_future_is_spoken_to(newest: Number, house: Make) -> None:
    daemon = {"newest": Number(1, 99), "features": FEATURES | {"of-the-future"}}
    with house(**daemon) as made, made.talk(newest) as talker:
        assert talker.ask(IsValidPath(PATH)) is True
