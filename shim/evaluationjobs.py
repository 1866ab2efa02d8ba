"""Many attributes at once by `nix-eval-jobs`, where it is installed.

It shares one evaluation between attributes and starts its workers anew when they grow, but gives up
altogether when a worker dies, and says nothing of what it had not reached.  So it is asked first,
and what it leaves open is for `shim.evaluation`.  Used of it: a file as argument, `--workers`,
`--max-memory-size`, `--gc-roots-dir`, and a line of JSON for each attribute with `attr` and either
`drvPath` or `error` (its README; the same since 0.0.6).
"""

import json
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from shim.sources import LIBRARY, Source, Twin, words

PROGRAM: Final = "nix-eval-jobs"

ROOTS: Final = ".jobs"
"""How the folders end in which it keeps its garbage-collection roots."""

JOBS: Final = """\
let
{library}  native = {native};
  cross = {cross};
  one = value: if value.type or null == "derivation" then value else {{ }};
in {{
{attributes}}}
"""
"""Nix: numbered attributes, none of which is looked into."""

Sides = tuple[Any, Any]
"""The `.drv` of the native and the cross side, None for no derivation, or a `Said`."""


class Said(str):
    """Why a side cannot be evaluated, in Nix's words."""

    __slots__ = ()


def is_installed() -> bool:
    """Whether there is such a program."""
    return shutil.which(PROGRAM) is not None


def evaluate(
    source: Source, twins: Sequence[Twin], roots: Path, workers: int, memory: int
) -> Iterator[tuple[int, Sides]]:
    """Evaluate `twins`; what comes is the number of one and its two sides.

    Those that do not come have to be evaluated in another way.

    Args:
        source: the two sets that attributes are looked up in.
        twins: what to evaluate.
        roots: a folder for the links that keep what is evaluated.
        workers: processes at once.
        memory: bytes of all of them together.
    """
    text = JOBS.format(
        library=LIBRARY + source.library,
        native=source.native,
        cross=source.cross,
        attributes="".join(
            f"  n{number} = one (at native {words(twin.native)});\n"
            f"  c{number} = one (at cross {words(twin.cross)});\n"
            for number, twin in enumerate(twins)
        ),
    )
    share = memory // workers
    known: dict[str, Any] = {}
    with tempfile.NamedTemporaryFile("w", suffix=".nix") as file:
        file.write(text)
        file.flush()
        command = [
            *(PROGRAM, "--workers", str(workers), "--max-memory-size", str(share >> 20)),
            *("--gc-roots-dir", str(roots), *source.options, file.name),
        ]
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            errors="replace",
        ) as process:
            with suppress(ProcessLookupError):  # it may have ended already
                resource.prlimit(process.pid, resource.RLIMIT_DATA, (share, share))
            assert process.stdout is not None
            for line in process.stdout:
                answer = json.loads(line)
                name = answer.get("attr", "")
                known[name] = _side(answer)
                if f"n{name[1:]}" in known and f"c{name[1:]}" in known:
                    yield int(name[1:]), (known[f"n{name[1:]}"], known[f"c{name[1:]}"])
    if process.returncode == 0:
        # Newer ones say nothing of what is no derivation.
        for number in range(len(twins)):
            native, cross = f"n{number}", f"c{number}"
            if native not in known or cross not in known:
                yield number, (known.get(native), known.get(cross))


def _side(answer: Mapping[str, Any]) -> Any:
    if "error" in answer:
        first = str(answer["error"]).strip().partition("\n")[0]
        return Said(first)
    return answer.get("drvPath")
