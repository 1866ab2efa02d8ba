"""Derivations out of Nix expressions, by Nix itself: many at once, within a memory limit.

Attributes are evaluated in batches, a `nix-instantiate` each.  A batch comes back as one small
derivation that lists what was found and refers to all of it, so that its link alone keeps every
evaluated `.drv` from the garbage collector, from the moment it exists.  What Nix gives up
(missing file, infinite recursion, out of memory) ends the process; a trace tells how far it came,
so that the guilty attribute is known and the others are evaluated without it.  Where attributes
come from is `shim.sources`' business; `nix-eval-jobs` is asked first, where it is installed.
"""

import json
import os
import re
import resource
import shutil
import subprocess
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count, takewhile
from pathlib import Path
from typing import Any, Final

from protocol.errors import ProtocolError
from protocol.store.path import StorePath
from shim import evaluationjobs
from shim.equivalence.source import Derivations, UnreadableDerivation
from shim.errors import ExitCode, ShimError
from shim.sources import LIBRARY, Source, Twin, words

SHOWN: Final = 3
"""Lines of Nix's own message that are passed on."""

_PLACE: Final = re.compile(r"at |\(use '|\d*\|")
"""How lines begin that tell where, not what: the place, its source text, the advice at the end."""

BATCH: Final = 50
"""Attributes a process evaluates at most: what they share is evaluated once for each process."""

WORKER_MEMORY: Final = 2 << 30
"""Bytes a process should have to itself: a NixOS system takes one to two GiB."""

SPELLED_OUT: Final = 10
"""Attributes of a batch that throw and are evaluated once more by themselves, for Nix's words."""

_REACHED: Final = re.compile(r"^trace: nix-shim-scan (\d+) (\w+)$", re.MULTILINE)
"""What Nix prints when it begins with one side of an attribute of `MANIFEST`."""

_EXHAUSTED: Final = re.compile(r"memory|bad_alloc", re.IGNORECASE)
"""In Nix's words or those of its garbage collector: others may have used up what was missing."""

MANIFEST: Final = """\
let
{library}  native = {native};
  cross = {cross};
  pairs = [ {pairs} ];
in derivation {{
  name = "nix-shim-scan"; system = "builtin"; builder = "never-built";
  found = builtins.seq native (builtins.seq cross (builtins.toJSON {{
    revision = tried ({revision});
    nix = builtins.nixVersion;
    pairs = builtins.genList (number: map (name:
      let side = (builtins.elemAt pairs number).${{name}};
      in builtins.trace "nix-shim-scan ${{toString number}} ${{name}}" ({each})
    ) [ "native" "cross" ]) (builtins.length pairs);
  }}));
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
    has_thrown: bool = False
    """Whether evaluation failed in a way that Nix can catch, without telling why."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What one process evaluated."""

    results: tuple[Evaluated, ...]
    revision: str
    nix_version: str


@dataclass(frozen=True, slots=True)
class _Failure:
    """How a process ended that did not evaluate all it was given."""

    reached: int
    """Which of its attributes it was at."""
    said: str
    exhausted: bool
    """Whether it may have failed for what it had evaluated before."""


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
            ShimError: there is no Nix, or not even the sets themselves can be evaluated.
        """
        if len(twins) > 1 and evaluationjobs.is_installed():
            left = dict(enumerate(twins))
            for number, result in self._jobs(twins):
                del left[number]
                yield Batch((result,), "", "")
            yield about(self._source)
            twins = [*left.values()]
        size = max(1, min(BATCH, len(twins) // (4 * self._effort.workers)))
        parts = [twins[at : at + size] for at in range(0, len(twins), size)]
        with ThreadPoolExecutor(self._effort.workers) as pool:
            running = [
                pool.submit(self._part, part, f"{self._stamp}-{number}")
                for number, part in enumerate(parts)
            ]
            try:
                for done in as_completed(running):
                    yield from done.result()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _jobs(self, twins: Sequence[Twin]) -> Iterator[tuple[int, Evaluated]]:
        """What nix-eval-jobs could evaluate, or could say why not."""
        folder = self._roots / f"{self._stamp}{evaluationjobs.ROOTS}"
        folder.mkdir()
        effort = self._effort
        for number, sides in evaluationjobs.evaluate(
            self._source, twins, folder, effort.workers, effort.memory
        ):
            twin = twins[number]
            said = next(
                (
                    f"{name}: {side}"
                    for name, side in zip(("native", "cross"), sides, strict=True)
                    if isinstance(side, evaluationjobs.Said)
                ),
                None,
            )
            failed = None if said is None else Evaluated(twin.name, None, said)
            yield number, failed or self._result(twin, *sides)

    def forget_older(self) -> None:
        """Remove the links that earlier scans left: what only they kept may be collected."""
        for link in self._roots.iterdir():
            if link.name.startswith(self._stamp):
                continue
            if link.is_symlink():
                link.unlink()
            elif link.name.endswith(evaluationjobs.ROOTS):
                shutil.rmtree(link)

    def _part(self, twins: Sequence[Twin], name: str) -> list[Batch]:
        """Evaluate `twins`, in as many batches as it takes to leave out those that Nix gives up."""
        done: list[Batch] = []
        waiting = deque([twins])
        for number in count():
            if not waiting:
                break
            batch = waiting.popleft()
            link = self._roots / f"{name}-{number}"
            failure = self._nix(batch, link)
            if failure is None:
                read = self._read(batch, link)
                thrown = [
                    twin for twin, one in zip(batch, read.results, strict=True) if one.has_thrown
                ][:SPELLED_OUT]
                waiting += [[twin] for twin in thrown]
                again = {twin.name for twin in thrown}
                results = tuple(one for one in read.results if one.name not in again)
                done.append(replace(read, results=results))
                continue
            at = failure.reached
            if at > 0 and failure.exhausted:
                waiting += [batch[:at], batch[at:]]
            else:
                done.append(Batch((Evaluated(batch[at].name, None, failure.said),), "", ""))
                waiting += [part for part in (batch[:at], batch[at + 1 :]) if part]
        return done

    def _nix(self, twins: Sequence[Twin], link: Path) -> "_Failure | None":
        """Evaluate `twins` in one process, and link the result; None if it succeeded.

        Raises:
            ShimError: there is no Nix, or not even the sets themselves can be evaluated.
        """
        text = MANIFEST.format(
            library=LIBRARY + self._source.library,
            native=self._source.native,
            cross=self._source.cross,
            revision=self._source.revision,
            pairs=" ".join(_attributes(twin) for twin in twins),
            # A lone attribute's error is not caught, so that Nix tells it in its own words.
            each="drv side" if len(twins) == 1 else "tried (drv side)",
        )
        options = ["-E", text, "--add-root", str(link), *self._source.options]
        with start(["nix-instantiate", *options]) as process:
            share = self._effort.memory // self._effort.workers
            with suppress(ProcessLookupError):  # it may have ended already
                resource.prlimit(process.pid, resource.RLIMIT_DATA, (share, share))
            _, told = process.communicate()
        if process.returncode == 0:
            return None
        said = last_words(_REACHED.sub("", told), process.returncode)
        *_, (reached, side) = _REACHED.findall(told) or [("", "")]
        if not reached:
            raise ShimError(f"cannot evaluate {self._source.label}: {said}", code=ExitCode.DATA)
        exhausted = process.returncode < 0 or _EXHAUSTED.search(told) is not None
        return _Failure(int(reached), f"{side}: {said}", exhausted=exhausted)

    def _read(self, twins: Sequence[Twin], link: Path) -> Batch:
        manifest = StorePath.parse(str(link.readlink()), self._store.store_dir)
        try:
            found = json.loads(self._store[manifest].env["found"])
        except UnreadableDerivation as error:
            raise ShimError(
                str(error),
                hint="--derivations must be the root of the store that Nix evaluates into",
                code=ExitCode.USAGE,
            ) from error
        results = tuple(
            self._result(twin, *sides) for twin, sides in zip(twins, found["pairs"], strict=True)
        )
        return Batch(results, found["revision"] or "", found["nix"])

    def _result(self, twin: Twin, native: Any, cross: Any) -> Evaluated:
        if native is None and cross is None:
            return Evaluated(twin.name, None, "not a derivation", is_derivation=False)
        for side, value in (("native", native), ("cross", cross)):
            if value is False:
                reason = f"its {side} evaluation throws an error"
                return Evaluated(twin.name, None, reason, has_thrown=True)
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
    found: list[str] = _value(source, f"builtins.attrNames (at native {words(attribute)})")
    return found


def about(source: Source) -> Batch:
    """Revision and Nix version, and no results.

    Raises:
        ShimError: there is no Nix, or the sets cannot be evaluated.
    """
    found = _value(source, f"[ (tried ({source.revision})) builtins.nixVersion ]")
    return Batch((), found[0] or "", found[1])


def _value(source: Source, expression: str) -> Any:
    text = (
        f"let {LIBRARY}{source.library} native = {source.native}; cross = {source.cross};"
        f" in {expression}"
    )
    with start(
        ["nix-instantiate", "--eval", "--strict", "--json", "-E", text, *source.options]
    ) as process:
        answer, told = process.communicate()
    if process.returncode != 0:
        said = last_words(told, process.returncode)
        raise ShimError(f"cannot evaluate {source.label}: {said}", code=ExitCode.DATA)
    return json.loads(answer)


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
