"""Derivations out of Nix expressions, by Nix itself: many at once, within a memory limit.

Attributes are evaluated in batches, a `nix-instantiate` each.  A batch comes back as one small
derivation that lists what was found and refers to all of it, so that its link alone keeps every
evaluated `.drv` from the garbage collector, from the moment it exists.  A batch that Nix gives up
(missing file, infinite recursion, out of memory) is split until the guilty attribute stands alone.
Where attributes come from is `shim.sources`' business.
"""

import json
import os
import re
import resource
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, Final

from protocol.errors import ProtocolError
from protocol.store.path import StorePath
from shim.equivalence.source import Derivations
from shim.errors import ExitCode, ShimError
from shim.sources import Source, Twin, words

SHOWN: Final = 3
"""Lines of Nix's own message that are passed on."""

_PLACE: Final = re.compile(r"at |\(use '|\d*\|")
"""How lines begin that tell where, not what: the place, its source text, the advice at the end."""

BATCH: Final = 50
"""Attributes a process evaluates at most: what they share is evaluated once for each process."""

WORKER_MEMORY: Final = 2 << 30
"""Bytes a process should have to itself: a NixOS system takes one to two GiB."""

LIBRARY: Final = """\
  at = builtins.foldl' (set: name: set.${name} or (throw "there is no attribute `${name}`"));
  drv = value: if value.type or null == "derivation" then value.drvPath else null;
  tried = value: let got = builtins.tryEval value; in if got.success then got.value else false;
"""
"""Nix: an attribute by its path; the `.drv` of a value, or null; false for what throws."""

MANIFEST: Final = """\
let
{library}  native = {native};
  cross = {cross};
  pairs = [ {pairs} ];
in derivation {{
  name = "nix-shim-scan"; system = "builtin"; builder = "never-built";
  found = builtins.toJSON {{
    revision = {revision};
    nix = builtins.nixVersion;
    pairs = map (pair: map (side: {each}) [ pair.native pair.cross ]) pairs;
  }};
}}
"""


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What became of one attribute."""

    name: str
    pair: tuple[StorePath, StorePath] | None
    """Native and cross `.drv`; None where evaluation failed or gave no derivation."""
    reason: str = ""
    """Why there is no pair."""
    is_derivation: bool = True
    """False where the attribute is something else on both sides, such as a function."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What one process evaluated."""

    results: tuple[Evaluated, ...]
    revision: str
    nix_version: str


@dataclass(frozen=True, slots=True)
class Effort:
    """How much of the machine evaluation may take."""

    workers: int
    memory: int
    """Bytes of all processes together."""

    @classmethod
    def of(cls, workers: int | None, memory: int | None) -> "Effort":
        """What was asked for; else three quarters of the free memory and all processors with it."""
        memory = memory or _available() * 3 // 4
        return cls(
            workers or max(1, min(len(os.sched_getaffinity(0)), memory // WORKER_MEMORY)), memory
        )


def _available() -> int:
    """Bytes that programs can have without swapping: what is free, and caches (`proc(5)`)."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))


class Evaluator:
    """See the module."""

    def __init__(self, source: Source, roots: Path, store: Derivations, effort: Effort) -> None:
        """See the class.

        Args:
            source: the two sets that attributes are looked up in.
            roots: folder for the links that keep what is evaluated.
            store: reads the derivations that Nix writes.
            effort: limits.
        """
        self._source = source
        self._roots = roots
        self._store = store
        self._effort = effort
        self._stamp = f"{os.getpid()}-{os.urandom(4).hex()}"

    def run(self, twins: Sequence[Twin]) -> Iterator[Batch]:
        """Evaluate all of `twins`; batches come in the order in which they are done.

        Raises:
            ShimError: there is no Nix.
        """
        size = max(1, min(BATCH, len(twins) // (4 * self._effort.workers)))
        parts = [twins[at : at + size] for at in range(0, len(twins), size)]
        with ThreadPoolExecutor(self._effort.workers) as pool:
            running = [
                pool.submit(self._batch, part, f"{self._stamp}-{number}")
                for number, part in enumerate(parts)
            ]
            try:
                for done in as_completed(running):
                    yield from done.result()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def forget_older(self) -> None:
        """Remove the links that earlier scans left: what only they kept may be collected."""
        for link in self._roots.iterdir():
            if link.is_symlink() and not link.name.startswith(self._stamp):
                link.unlink()

    def _batch(self, twins: Sequence[Twin], name: str) -> list[Batch]:
        link = self._roots / name
        # A lone attribute's error is not caught, so that Nix tells it in its own words.
        alone = len(twins) == 1
        text = MANIFEST.format(
            library=LIBRARY + self._source.library,
            native=self._source.native,
            cross=self._source.cross,
            revision=self._source.revision,
            pairs=" ".join(_attributes(twin) for twin in twins),
            each="drv side" if alone else "tried (drv side)",
        )
        said = self._nix(["-E", text, "--add-root", str(link)])
        if said is None:
            return [self._read(twins, link)]
        if alone:
            return [Batch((Evaluated(twins[0].name, None, said),), "", "")]
        half = len(twins) // 2
        return [
            *self._batch(twins[:half], f"{name}a"),
            *self._batch(twins[half:], f"{name}b"),
        ]

    def _nix(self, arguments: list[str]) -> str | None:
        """Run `nix-instantiate`; None if it succeeded, else the end of what it said."""
        with start(["nix-instantiate", *arguments, *self._source.options]) as process:
            share = self._effort.memory // self._effort.workers
            with suppress(ProcessLookupError):  # it may have ended already
                resource.prlimit(process.pid, resource.RLIMIT_DATA, (share, share))
            _, told = process.communicate()
        return None if process.returncode == 0 else last_words(told, process.returncode)

    def _read(self, twins: Sequence[Twin], link: Path) -> Batch:
        manifest = StorePath.parse(str(link.readlink()), self._store.store_dir)
        found = json.loads(self._store[manifest].env["found"])
        results = tuple(
            self._result(twin, *sides) for twin, sides in zip(twins, found["pairs"], strict=True)
        )
        return Batch(results, found["revision"], found["nix"])

    def _result(self, twin: Twin, native: Any, cross: Any) -> Evaluated:
        if native is None and cross is None:
            return Evaluated(twin.name, None, "not a derivation", is_derivation=False)
        for side, value in (("native", native), ("cross", cross)):
            if value is False:
                return Evaluated(twin.name, None, f"its {side} evaluation throws an error")
            if value is None:
                return Evaluated(twin.name, None, f"its {side} side is no derivation")
        try:
            one, two = (StorePath.parse(side, self._store.store_dir) for side in (native, cross))
        except ProtocolError as error:
            return Evaluated(twin.name, None, str(error))
        return Evaluated(twin.name, (one, two))


def names(source: Source, attribute: Sequence[str]) -> list[str]:
    """The names in the set at `attribute` of the native side, sorted.

    Raises:
        ShimError: there is no Nix, or no such set.
    """
    text = (
        f"let {LIBRARY}{source.library} native = {source.native};"
        f" in builtins.attrNames (at native {words(attribute)})"
    )
    with start(
        ["nix-instantiate", "--eval", "--strict", "--json", "-E", text, *source.options]
    ) as process:
        answer, told = process.communicate()
    if process.returncode != 0:
        said = last_words(told, process.returncode)
        raise ShimError(f"cannot list the attributes of {source.label}: {said}", code=ExitCode.DATA)
    found: list[str] = json.loads(answer)
    return found


def start(command: list[str]) -> subprocess.Popen[str]:
    """Start a Nix program, what it prints kept.

    Raises:
        ShimError: it is not installed.
    """
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
    except FileNotFoundError as error:
        raise ShimError(
            f"`{command[0]}` is not installed",
            hint="evaluate elsewhere and give the .drv files to `table pair --derivations`",
            code=ExitCode.UNAVAILABLE,
        ) from error


def last_words(told: str, code: int) -> str:
    """What a Nix program complained of, for one line of ours: its last error, without the place."""
    lines = [line.strip() for line in told.splitlines() if line.strip()]
    errors = [number for number, line in enumerate(lines) if line.startswith("error:")]
    said = lines[errors[-1] :] if errors else lines[-SHOWN:]
    said = list(takewhile(lambda line: _PLACE.match(line) is None, said))
    return " ".join(said[:SHOWN]) or f"it ended with {code} and said nothing"


def _attributes(twin: Twin) -> str:
    native, cross = words(twin.native), words(twin.cross)
    return f"{{ native = at native {native}; cross = at cross {cross}; }}"
