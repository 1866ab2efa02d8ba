"""Replaying recordings against living programs, over sockets; `protocol.transcript` knows how.

Blocking and for one session at a time: what it stands in for, or asks, does the waiting.
"""

import select
import socket
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from protocol.errors import ProtocolError
from protocol.store.path import BadStorePath
from protocol.transcript.compare import USUAL
from protocol.transcript.replay import Player, Recorded, Report, play_client, play_server
from shim import tape
from shim.errors import ExitCode, ShimError

CHUNK: Final = 1 << 18
PATIENCE: Final = 300.0
"""Seconds for which the other end may be silent."""


class Silent(Exception):
    """The other end said nothing for too long."""


def perform(player: Player, connection: socket.socket, patience: float = PATIENCE) -> Report:
    """Let a player speak on a connection.

    Raises:
        Silent: the other end said nothing for `patience` seconds.
        RemoteProtocolError: it broke the protocol.
    """
    connection.setblocking(False)
    arrived: bytes | None = None
    try:
        said = next(player)
        while True:
            arrived = (
                _hear(connection, patience) if said is None else _say(connection, said, patience)
            )
            said = player.send(arrived)
    except StopIteration as done:
        report: Report = done.value
        return report


def _hear(connection: socket.socket, patience: float) -> bytes:
    while True:
        _await(connection, patience, write=False)
        if (arrived := _receive(connection)) is not None:
            return arrived


def _await(connection: socket.socket, patience: float, *, write: bool) -> bool:
    """Wait until there is something to do; whether that is to write."""
    readable, writable, _ = select.select([connection], [connection] if write else [], [], patience)
    if not readable and not writable:
        raise Silent(f"the other end said nothing for {patience:g} s")
    return bool(writable)


def _receive(connection: socket.socket) -> bytes | None:
    try:
        return connection.recv(CHUNK)
    except BlockingIOError:
        return None
    except OSError:
        return b""


def _say(connection: socket.socket, data: bytes, patience: float) -> bytes | None:
    """Write everything, and take what arrives meanwhile: who is not heard stops listening."""
    pieces: list[bytes] = []
    view = memoryview(data)
    ended = False
    while view and not ended:
        if _await(connection, patience, write=True):
            try:
                view = view[connection.send(view) :]
            except BlockingIOError:
                continue
            except OSError:  # it has closed: what it said before is still to be heard
                pieces.append(_receive(connection) or b"")
                break
        else:
            piece = _receive(connection)
            ended = piece == b""
            if piece:
                pieces.append(piece)
    if pieces:
        return b"".join(pieces)
    return b"" if ended else None


def read(file: Path) -> Recorded:
    """A recording.

    Raises:
        ShimError: the file cannot be read, or is no recording.
    """

    def pieces() -> Iterator[bytes]:
        with file.open("rb") as opened:
            while piece := opened.read(CHUNK):
                yield piece

    try:
        return Recorded(pieces())
    except OSError as error:
        raise ShimError(f"cannot read `{file}`: {error.strerror}") from error
    except ProtocolError as error:
        raise ShimError(f"cannot decode `{file}`: {error}", code=ExitCode.DATA) from error


def replay_client(
    file: Path, against: Path, exempt: Iterable[str] = USUAL, patience: float = PATIENCE
) -> Report:
    """Ask what listens at the socket `against` what the recorded client asked.

    Raises:
        ShimError: no recording, nobody there, or somebody who breaks the protocol.
    """
    recorded = read(file)
    with tape.connect(against) as connection:
        return _guarded(play_client(recorded, exempt), connection, file, patience)


def _guarded(player: Player, connection: socket.socket, file: Path, patience: float) -> Report:
    try:
        return perform(player, connection, patience)
    except BadStorePath as error:
        raise ShimError(
            f"replaying `{file}`: {error}",
            hint="a recording is of one store directory: see `nix-shim record --store-dir`",
            code=ExitCode.DATA,
        ) from error
    except (ProtocolError, Silent) as error:
        raise ShimError(f"replaying `{file}`: {error}", code=ExitCode.DATA) from error


def replay_server(
    files: Sequence[Path],
    listener: socket.socket,
    exempt: Iterable[str] = USUAL,
    patience: float = PATIENCE,
) -> Iterator[tuple[Path, Report]]:
    """Stand in for the recorded daemon, one recording for each connection, in this order.

    Raises:
        ShimError: no recording, no client within `patience`, or one that breaks the protocol.
        OSError: the listener is closed.
    """
    listener.settimeout(patience)
    for file in files:
        recorded = read(file)
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            raise ShimError(
                f"replaying `{file}`: no client came within {patience:g} s",
                hint="each recording is played for a connection of its own",
                code=ExitCode.DATA,
            ) from None
        with connection:
            yield file, _guarded(play_server(recorded, exempt), connection, file, patience)


class StandIn:
    """A recorded daemon at a socket, in a thread; see `standing_in`."""

    def __init__(self, files: Sequence[Path], path: Path) -> None:
        self.files = files
        """The recordings that it plays."""
        self.socket = path
        """Where clients find it."""
        self.reports: dict[Path, Report] = {}
        """What came of each session so far."""
        self.failure: ShimError | None = None


@contextmanager
def standing_in(
    files: Sequence[Path], path: Path, exempt: Iterable[str] = USUAL
) -> Iterator[StandIn]:
    """Stand in for the recorded daemon until the end of the block.

    Args:
        files: a recording for each connection, in order.
        path: the socket to make.
        exempt: names of `protocol.transcript.compare.EXEMPTIONS`.
    """
    stand_in = StandIn(files, path)

    def serve(listener: socket.socket) -> None:
        try:
            for file, report in replay_server(files, listener, exempt):
                stand_in.reports[file] = report
        except ShimError as error:
            stand_in.failure = error
        except OSError:
            return  # the block has ended before everybody came

    with tape.listening(path) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        yield stand_in
    thread.join(PATIENCE)
