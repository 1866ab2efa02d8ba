"""Trying a nix-daemon out: who answers at a socket, and what a builder in its sandbox can do.

For `nix-shim doctor`.  A probe adds one tiny program to the store and builds nothing that stays:
its builder only exits with a code, which the daemon's own error then names.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import trio

from protocol.nar.events import Data, End, Regular
from protocol.nar.writer import NarWriter
from protocol.store.addressing import make_store_path
from protocol.store.content_address import Method
from protocol.store.derivation import BasicDerivation, InputAddressed
from protocol.store.hash import Hash
from protocol.worker.handshake import Trust
from protocol.worker.messages import AddToStore, BuildDerivation, BuildMode
from protocol.worker.uploads import Addressing
from shim.config import Deadlines
from shim.daemon.nix.upstream import DaemonLost, DaemonRefused, Upstream, options
from shim.errors import ExitCode, ShimError

T = TypeVar("T")

PROBE: Final = AddToStore("nix-shim-doctor-probe", Addressing(Method.NAR))

EXITED: Final = re.compile(r"exit(?:ed with)?(?: exit)? (?:code|status) (\d+)")
"""How Nix's versions put it (`nix::statusToString`)."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a nix-daemon says of itself."""

    version: str
    """Of the program; empty before protocol 1.33."""
    protocol: str
    trust: Trust


def greet(socket: Path, store_dir: str, deadlines: Deadlines) -> Answer:
    """Shake hands with the nix-daemon at `socket`.

    Raises:
        ShimError: nothing answers there, or it is no nix-daemon.
    """

    async def work() -> Answer:
        async with Upstream.open("nix-daemon", socket, store_dir, deadlines) as daemon:
            return Answer(daemon.daemon_version, str(daemon.dialect.number), daemon.trust)

    return _run(work, socket)


def exit_code(
    program: bytes, platform: str, socket: Path, store_dir: str, deadlines: Deadlines
) -> int | str:
    """Have a nix-daemon run `program` as the builder of a derivation.

    Args:
        program: a static executable that exits with a code other than 0.
        platform: the derivation's system.
        socket: where the nix-daemon listens; it must trust us.
        store_dir: its store directory.
        deadlines: for connecting and waiting.

    Returns:
        The code that the program exited with, or the daemon's reason why it did not run.

    Raises:
        ShimError: the daemon cannot be asked.
    """
    digest = Hash.of(program)
    out = make_store_path("output:out", digest, "nix-shim-doctor", store_dir)
    drv = make_store_path("text", digest, "nix-shim-doctor.drv", store_dir)

    async def work() -> int | str:
        async with Upstream.open("nix-daemon", socket, store_dir, deadlines) as daemon:
            await daemon.ask(options(use_substitutes=False))
            added = await daemon.ask(PROBE, body=_nar(program))
            derivation = BasicDerivation(
                outputs={"out": InputAddressed(out)},
                input_sources=frozenset({added.path}),
                platform=platform,
                builder=str(added.path),
                args=(),
                env={"out": str(out)},
            )
            result = await daemon.ask(
                BuildDerivation(drv, derivation, BuildMode.NORMAL), builds=True
            )
            found = EXITED.search(result.error_message)
            return int(found[1]) if found else result.error_message or result.status.name

    return _run(work, socket)


def _run(work: Callable[[], Awaitable[T]], socket: Path) -> T:
    try:
        return trio.run(work)
    except (DaemonLost, DaemonRefused) as error:
        raise ShimError(
            f"what answers at `{socket}` is of no use: {error}",
            hint="is it a nix-daemon, and may we use it (allowed-users)?",
            code=ExitCode.UNAVAILABLE,
        ) from error


async def _nar(program: bytes) -> AsyncIterator[bytes]:
    yield NarWriter().write_all([Regular(True, len(program)), Data(program), End()])
