"""Damages recorded sessions of real Nix programs, in both protocols, and has them decoded.

Run as `python -m tests.fuzz.fuzz_recordings [MEGABYTES] [SEED]`, ten megabytes if not told
otherwise.  Bytes are changed, dropped, doubled and cut anew in either direction, or in the file
itself.  A session may be understood or refused with a `RemoteProtocolError`; anything else, or more
than a few seconds, ends the run with the input in a file.  The recordings are the corpus.
"""

import random
import sys
import time
from pathlib import Path
from typing import Final

from protocol.errors import RemoteProtocolError
from protocol.transcript.decode import messages
from protocol.transcript.record import Frame, RecordingReader, RecordingWriter

RECORDINGS: Final = Path(__file__).resolve().parents[1] / "transcripts"
PATIENCE: Final = 5.0
"""Seconds of processor time for one session."""


def wound(choice: random.Random, data: bytes) -> bytes:
    """Damage some bytes, mostly word by word as the wire is."""
    mutant = bytearray(data)
    at = choice.randrange(len(mutant) // 8 + 1) * 8
    match choice.randrange(5):
        case 0:
            mutant[at : at + 8] = choice.choice([0, 1, 2, 8, 255, 1 << 32, (1 << 64) - 1]).to_bytes(
                8, "little"
            )
        case 1:
            del mutant[at : at + 8 * choice.randint(1, 4)]
        case 2:
            mutant[at:at] = mutant[max(0, at - 32) : at]
        case 3:
            mutant[choice.randrange(len(mutant))] = choice.randrange(256)
        case _:
            mutant += choice.randbytes(choice.randint(1, 64))
    return bytes(mutant)


def damaged(choice: random.Random, recording: bytes) -> bytes:
    """A recording in which one to four frames, or the file, are not what they were."""
    if choice.random() < 0.1:
        return wound(choice, recording)
    reader, writer = RecordingReader(), RecordingWriter()
    frames = list(reader.feed(recording))
    assert reader.header is not None
    for _ in range(choice.randint(1, 4)):
        at = choice.randrange(len(frames))
        hurt = wound(choice, frames[at].data) or b"x"
        frames[at] = Frame(frames[at].direction, frames[at].microseconds, hurt)
    size = choice.choice([1, 8, 13, 100, 1 << 16])
    pieces = [writer.start(reader.header)]
    for frame in frames:
        pieces += [
            writer.frame(frame.direction, frame.microseconds, frame.data[start : start + size])
            for start in range(0, len(frame.data), size)
        ]
    return b"".join(pieces)


def main() -> None:
    megabytes = float(sys.argv[1]) if len(sys.argv) > 1 else 10
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else time.time_ns()
    choice = random.Random(seed)  # noqa: S311 - repeatable on purpose
    corpus = [path.read_bytes() for path in sorted(RECORDINGS.glob("*/*"))]
    eaten = inputs = refused = 0
    while eaten < megabytes * 1e6:
        data = damaged(choice, choice.choice(corpus))
        begin = time.process_time()
        try:
            for _ in messages([data]):
                pass
        except RemoteProtocolError:
            refused += 1
        except BaseException:
            Path("fuzz-recordings-failure.bin").write_bytes(data)
            print(f"seed {seed}: the input is in `fuzz-recordings-failure.bin`")
            raise
        assert time.process_time() - begin < PATIENCE, f"seed {seed}: it took too long"
        eaten += len(data)
        inputs += 1
    print(f"{eaten / 1e6:.1f} MB in {inputs} sessions, {refused} refused, seed {seed}")


if __name__ == "__main__":
    main()
