"""Recordings as files: `nix-shim record` between a client and what serves it.

Bytes are passed on as they come and written down before the other end can answer to them.  Nothing
is understood or changed, except that `offer` replaces the version words of both greetings, so that
two programs of one release speak an older protocol with each other.
"""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Protocol

from protocol.transcript.record import Direction, Header, RecordingWriter
from protocol.version import Number
from shim.errors import ExitCode, ShimError

VERSION_WORD: Final = slice(8, 16)
"""Where the version stands in what either side says first, in both protocols."""

CHUNK: Final = 1 << 16
SUFFIX: Final = ".nixrec"


class Tape:
    """One recording file, written from any thread."""

    def __init__(self, path: Path, header: Header) -> None:
        """Make the file.

        Raises:
            OSError: it exists, or cannot be made.
        """
        self._file = path.open("xb")
        self._writer = RecordingWriter()
        self._lock = threading.Lock()
        self._start = time.monotonic()
        self._file.write(self._writer.start(header))

    def note(self, direction: Direction, data: bytes) -> None:
        """Write down one piece."""
        with self._lock:
            elapsed = int((time.monotonic() - self._start) * 1e6)
            self._file.write(self._writer.frame(direction, elapsed, data))
            self._file.flush()

    def close(self) -> None:
        """Nothing more will be said."""
        with self._lock:
            self._file.close()


def new_tape(folder: Path, stem: str, header: Header) -> Tape:
    """A tape of the next free name: a client may open several connections.

    Raises:
        ShimError: the folder cannot be written to.
    """
    number = 1
    while True:
        try:
            return Tape(folder / f"{stem}-{number}{SUFFIX}", header)
        except FileExistsError:
            number += 1
        except OSError as error:
            raise ShimError(f"cannot record into `{folder}`: {error.strerror}") from error


@dataclass(frozen=True, slots=True)
class Recorder:
    """A socket before a daemon, and where what is said there ends up."""

    socket: Path
    """For clients: `unix://SOCKET`."""
    folder: Path
    """Of the recordings, one for each connection: `session-1.nixrec` and so on."""

    @property
    def files(self) -> list[Path]:
        """The recordings, in the order of their connections."""
        return sorted(self.folder.glob(f"*{SUFFIX}"), key=lambda file: (len(file.name), file.name))


class _Greeting:
    """Replaces the version word of one direction."""

    def __init__(self, offer: Number | None) -> None:
        self._word = offer.word.to_bytes(8, "little") if offer else b""
        self._seen = 0

    def rewrite(self, data: bytes) -> bytes:
        """The same bytes, with the offered version where the version stands."""
        if not self._word or self._seen >= VERSION_WORD.stop:
            return data
        changed = bytearray(data)
        for at in range(max(0, VERSION_WORD.start - self._seen), len(data)):
            position = self._seen + at
            if position >= VERSION_WORD.stop:
                break
            changed[at] = self._word[position - VERSION_WORD.start]
        self._seen += len(data)
        return bytes(changed)


class End(Protocol):
    """One end of a session."""

    def read(self) -> bytes:
        """What comes next; nothing at its end."""

    def write(self, data: bytes) -> None:
        """Write it whole."""

    def end(self) -> None:
        """Say that nothing more will be written."""


class Socket:
    """An end that is a socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def read(self) -> bytes:
        """See `End`."""
        return self._connection.recv(CHUNK)

    def write(self, data: bytes) -> None:
        """See `End`."""
        self._connection.sendall(data)

    def end(self) -> None:
        """See `End`."""
        self._connection.shutdown(socket.SHUT_WR)


class Pipes:
    """An end that is a pair of pipes, neither of them buffered."""

    def __init__(self, source: IO[bytes], sink: IO[bytes]) -> None:
        self._source = source
        self._sink = sink

    def read(self) -> bytes:
        """See `End`."""
        return os.read(self._source.fileno(), CHUNK)

    def write(self, data: bytes) -> None:
        """See `End`."""
        view = memoryview(data)
        while view:
            view = view[os.write(self._sink.fileno(), view) :]

    def end(self) -> None:
        """See `End`."""
        self._sink.close()


def _carry(source: End, sink: End, tape: Tape, direction: Direction, offer: Number | None) -> None:
    greeting = _Greeting(offer)
    try:
        while data := source.read():
            changed = greeting.rewrite(data)
            tape.note(direction, changed)
            sink.write(changed)
    except OSError:
        pass
    finally:
        with suppress(OSError):
            sink.end()


def record_session(client: End, server: End, tape: Tape, offer: Number | None = None) -> None:
    """Pass on and write down one session, until the server has ended it."""
    upwards = threading.Thread(
        target=_carry, args=(client, server, tape, Direction.TO_SERVER, offer), daemon=True
    )
    upwards.start()
    _carry(server, client, tape, Direction.TO_CLIENT, offer)
    tape.close()


def record_program(
    program: Sequence[str], make_tape: Callable[[], Tape], offer: Number | None
) -> int:
    """Record what our standard input and output and a program say; returns its exit status.

    Raises:
        ShimError: it cannot be started.
    """
    try:
        served = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    except OSError as error:
        raise ShimError(
            f"cannot run `{program[0]}`: {error.strerror}", code=ExitCode.UNAVAILABLE
        ) from error
    assert served.stdin is not None
    assert served.stdout is not None
    client = Pipes(sys.stdin.buffer, sys.stdout.buffer)
    record_session(client, Pipes(served.stdout, served.stdin), make_tape(), offer)
    return served.wait()


def listen(path: Path) -> socket.socket:
    """A Unix socket that accepts connections; what another program left there is replaced.

    Raises:
        ShimError: it cannot be made, or somebody listens there.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        if probe.connect_ex(str(path)) == 0:
            raise ShimError(f"something listens at `{path}` already", code=ExitCode.UNAVAILABLE)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        listener.listen()
    except OSError as error:
        listener.close()
        raise ShimError(
            f"cannot listen at `{path}`: {error.strerror or error}", code=ExitCode.UNAVAILABLE
        ) from error
    return listener


@contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    """`listen`, until the end of the block; who waits there for a connection gets an OSError."""
    listener = listen(path)
    try:
        yield listener
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        path.unlink(missing_ok=True)


def connect(path: Path) -> socket.socket:
    """A connection to a Unix socket.

    Raises:
        ShimError: nothing listens there.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(str(path))
    except OSError as error:
        connection.close()
        raise ShimError(
            f"cannot reach `{path}`: {error.strerror or error}",
            hint="is its program running?",
            code=ExitCode.UNAVAILABLE,
        ) from error
    return connection


def record_socket(
    listener: socket.socket, upstream: Path, make_tape: Callable[[], Tape], offer: Number | None
) -> None:
    """Record all sessions of a socket's clients with what listens at `upstream`, until it closes.

    A client that finds nothing upstream is let go; so is one whose recording cannot be written.
    """
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        threading.Thread(
            target=_record_connection,
            args=(connection, upstream, make_tape, offer),
            daemon=True,
        ).start()


def _record_connection(
    connection: socket.socket, upstream: Path, make_tape: Callable[[], Tape], offer: Number | None
) -> None:
    with connection:
        try:
            with connect(upstream) as server:
                record_session(Socket(connection), Socket(server), make_tape(), offer)
        except ShimError as error:
            sys.stderr.write(f"nix-shim record: {error}\n")
