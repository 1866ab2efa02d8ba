"""Builds that can be watched: slow packages, clients in the background, processes below a shim."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.live import world
from tests.live.conftest import Pair
from tests.live.world import Board, Shim

EXPRESSION: Final = Path(__file__).with_name("flights.nix")


def derivation(attribute: str, **arguments: str) -> str:
    """The .drv of a slow package, in the host's store."""
    words = [word for name, value in arguments.items() for word in ("--argstr", name, value)]
    found = world.run(["nix-instantiate", EXPRESSION, "-A", attribute, *words]).stdout
    return found.strip().partition("!")[0]


def slow(folder: Path, attribute: str = "slow", *, tools: bool = True, **arguments: str) -> Pair:
    """A slow package with its table.

    Args:
        folder: where the table comes to lie.
        attribute: see `flights.nix`.
        tools: whether the build machine's tools are in the host's store beforehand, so that the
            plant store finds them there.
        arguments: of `flights.nix`.
    """
    native = derivation(f"pkgs.{attribute}", **arguments)
    cross = derivation(f"{world.CROSS}.{attribute}", **arguments)
    if tools:
        world.build_tools(cross)
    folder.mkdir(parents=True, exist_ok=True)
    table = world.pair(native, cross, folder / f"{Path(native).name}.table")
    outputs = world.outputs(native)
    return Pair(attribute, native, cross, outputs, tuple(world.inputs(native)), table)


def prepare(board: Board, *pairs: Pair) -> Board:
    """Give a board what it has before it asks, and the recipes."""
    for pair in pairs:
        board.receive(pair.inputs)
        world.run(
            [*("nix", "copy", "--no-check-sigs", "--derivation", "--to", board.store), pair.native]
        )
    return board


class Asking:
    """A board's client, in the background."""

    def __init__(self, board: Board, builder: str, *pairs: Pair, **environ: str) -> None:
        """See the class.

        Args:
            board: who asks.
            builder: a line of `nix.buildMachines`.
            pairs: what is asked for, by its `.drv`.
            environ: further environment, such as NIX_SSHOPTS.
        """
        self._said = board.root / f"asking-{time.monotonic_ns()}"
        self._mark = f"{time.monotonic_ns()}"
        with self._said.open("wb") as said:
            self.process = subprocess.Popen(
                [
                    *("nix-build", *(pair.native for pair in pairs), "--no-out-link"),
                    *("--store", board.store, "--max-jobs", "0", "--builders", builder),
                ],
                stdout=said,
                stderr=said,
                env=world.environment(**environ, ASKING=self._mark),
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        """What the user saw so far."""
        return self._said.read_text(errors="replace")

    def kill(self) -> None:
        """All that it started ends at once; the kernel closes its connections."""
        kill_all(self._processes())
        self.process.wait(30)

    def freeze(self) -> None:
        """As when the board loses its power: it says no more, and nobody closes anything."""
        for process in self._processes():
            os.kill(process, signal.SIGSTOP)

    def _processes(self) -> list[int]:
        """What belongs to it, youngest first, so that nobody sees the others go."""
        mark = f"ASKING={self._mark}".encode()
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark in (process / "environ").read_bytes().split(b"\0"):
                    found.append(int(process.name))
        return sorted(found, reverse=True)

    def interrupt(self) -> None:
        """Control-C."""
        os.killpg(self.process.pid, signal.SIGINT)
        self.process.wait(30)

    def ends(self, timeout: float = 120) -> int:
        """Wait for its end; the exit code."""
        return self.process.wait(timeout)


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


@dataclass(frozen=True)
class Process:
    """A process below the shim."""

    number: int
    words: tuple[bytes, ...]


def below(shim: Shim) -> Iterator[Process]:
    """The processes that descend from the shim."""
    assert shim.process is not None
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, StopIteration):
            if descends(process.name, str(shim.process.pid)):
                words = process.joinpath("cmdline").read_bytes().split(b"\0")
                yield Process(int(process.name), tuple(words))


def descends(process: str, ancestor: str) -> bool:
    """Whether `ancestor` is among the parents of `process`."""
    while process not in {"0", "1", ancestor}:
        status = Path(f"/proc/{process}/status").read_text()
        process = next(line.split()[1] for line in status.splitlines() if line[:5] == "PPid:")
    return process == ancestor


def sleeping(shim: Shim, seconds: str) -> int:
    """How many builds below the shim wait for that many seconds now."""
    return sum(
        first.endswith(b"sleep") and second == seconds.encode()
        for each in below(shim)
        for first, second in zip(each.words, each.words[1:], strict=False)
        if not any(word.endswith(b"sh") for word in each.words)
    )


def daemons(shim: Shim, store: str) -> list[int]:
    """The nix-daemon of a store (`serving` or `plant`) and what it has forked."""
    marker = f"{shim.base}/state/{store}/socket".encode()
    found = []
    for each in below(shim):
        with contextlib.suppress(OSError):
            if marker in Path(f"/proc/{each.number}/environ").read_bytes() and each.words[
                0
            ].endswith(b"nix-daemon"):
                found.append(each.number)
    return found


def kill_all(processes: list[int]) -> None:
    """SIGKILL."""
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def forget(store: str, *paths: str) -> None:
    """Delete what is valid of `paths` from a store (a URI)."""
    there = [
        path
        for path in paths
        if not world.run(
            ["nix-store", "--store", store, "--check-validity", path], check=False
        ).returncode
    ]
    if there:
        world.run(["nix-store", "--store", store, "--delete", *there])


def verify(store: str) -> None:
    """See that a store (a URI) has what it says."""
    done = world.run(["nix-store", "--store", store, "--verify", "--check-contents"])
    assert "error" not in done.stderr, done.stderr


def signatures(store: str, path: str) -> str:
    """The signatures of a valid path."""
    return world.run(["nix", "path-info", "--sigs", "--store", store, path]).stdout
