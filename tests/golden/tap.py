"""Stand between a Nix client and the Nix program that serves it, and write down what both said.

    tap.py --out DIR --protocol worker [--about TEXT] [--offer 1.21] -- nix-daemon --stdio

takes the place of the served program (as `remote-program` of an `ssh-ng://localhost` store, or
behind a Unix socket): it starts it, passes bytes both ways and writes one recording into DIR.

With `--offer` the version words of both greetings are replaced by that version, so that two
programs of one release speak an older protocol with each other.  The recording holds what each
side was told.  Nothing else is touched.
"""

import argparse
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import BinaryIO

from protocol.transcript.record import Direction, Header, Protocol, RecordingWriter

VERSION_WORD = slice(8, 16)
"""Where the version stands in what either side says first, in both protocols."""


class Greeting:
    """Replaces the version word of one direction."""

    def __init__(self, offer: tuple[int, int] | None) -> None:
        self._word = (offer[0] << 8 | offer[1]).to_bytes(8, "little") if offer else b""
        self._seen = 0

    def rewrite(self, data: bytes) -> bytes:
        """The same bytes, with the offered version where the version stands."""
        changed = bytearray(data)
        for at in range(max(0, VERSION_WORD.start - self._seen), len(data)):
            position = self._seen + at
            if position >= VERSION_WORD.stop or not self._word:
                break
            changed[at] = self._word[position - VERSION_WORD.start]
        self._seen += len(data)
        return bytes(changed)


class Tape:
    """One recording file, written from two threads."""

    def __init__(self, path: Path, header: Header) -> None:
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


def carry(
    source: int, sink: BinaryIO, tape: Tape, direction: Direction, greeting: Greeting
) -> None:
    """Pass on what comes from `source` until it ends; note it before the other side can answer."""
    try:
        while data := os.read(source, 1 << 16):
            changed = greeting.rewrite(data)
            tape.note(direction, changed)
            sink.write(changed)
            sink.flush()
    except BrokenPipeError:
        pass
    finally:
        sink.close()


def tap(
    program: list[str],
    tape: Tape,
    offer: tuple[int, int] | None,
    client_in: int,
    client_out: BinaryIO,
) -> int:
    """Run `program` for the client at the two descriptors; returns its exit status."""
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as served:
        assert served.stdin is not None
        assert served.stdout is not None
        upwards = threading.Thread(
            target=carry,
            args=(client_in, served.stdin, tape, Direction.TO_SERVER, Greeting(offer)),
            daemon=True,
        )
        upwards.start()
        carry(served.stdout.fileno(), client_out, tape, Direction.TO_CLIENT, Greeting(offer))
        return served.wait()


def free_name(folder: Path, stem: str) -> Path:
    """The next path of that stem: a client may open several connections."""
    number = 1
    while (path := folder / f"{stem}-{number}.nixrec").exists():
        number += 1
    return path


def main() -> None:
    """Be the program that the client thinks it starts."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--stem", default="session")
    parser.add_argument("--protocol", type=Protocol, required=True)
    parser.add_argument("--about", default="")
    parser.add_argument("--offer", default="")
    parser.add_argument("program", nargs="+")
    asked = parser.parse_args()
    major, _, minor = asked.offer.partition(".")
    offer = (int(major), int(minor)) if asked.offer else None
    header = Header(asked.protocol, about=asked.about)
    tape = Tape(free_name(asked.out, asked.stem), header)
    sys.exit(tap(asked.program, tape, offer, 0, sys.stdout.buffer))


if __name__ == "__main__":
    main()
