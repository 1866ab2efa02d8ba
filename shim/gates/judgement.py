"""The judgement: every gate over every file of a result, and over what is inside the files.

A gate that fails by itself (an exception) is a finding that rejects: a result nobody could look at
is not proved fit.
"""

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from shim.gates.blob import Blob
from shim.gates.closure import Closure
from shim.gates.contents import OpaqueError, inside
from shim.gates.elf import ElfIdentityGate
from shim.gates.gate import Gate, Item, Report
from shim.gates.leaks import Leaks
from shim.gates.loading import Loading
from shim.gates.outputs import Outputs
from shim.gates.references import References
from shim.gates.repair import Change
from shim.gates.rules import CRASHED
from shim.gates.scripts import Scripts
from shim.gates.settings import LimitError, Settings
from shim.gates.shape import Shape
from shim.gates.subject import Subject
from shim.gates.tree import Entry, Kind, walk
from shim.gates.unpack import Budget, DamagedError
from shim.gates.verdict import Verdict

GATES: Final[tuple[type[Gate], ...]] = (
    Outputs,
    Shape,
    References,
    ElfIdentityGate,
    Loading,
    Scripts,
    Leaks,
)
"""In the order in which they look at each file."""

_DEFAULTS: Final = Settings()


def judge(
    subject: Subject,
    settings: Settings = _DEFAULTS,
    *,
    gates: tuple[type[Gate], ...] = GATES,
    changes: Iterable[Change] = (),
) -> Verdict:
    """Look at a planted result and say whether it may be imported.

    Blocking and processor-bound: call it from a thread or process of its own.

    Args:
        subject: the result.
        settings: how strict to be.
        gates: what to look with.
        changes: what `shim.gates.repair` changed in this result; each is a finding.

    Returns:
        The verdict; whatever goes wrong on the way is a finding in it, never an exception.
    """
    begun = time.monotonic()
    try:
        verdict = _Judgement(subject, settings, gates).run(changes)
    except Exception as error:  # noqa: BLE001 - whatever it is, the result is not proved fit
        report = Report(subject, settings)
        report.add(CRASHED, "", f"the judgement: {type(error).__name__}: {error}")
        verdict = report.verdict()
    return replace(verdict, seconds=time.monotonic() - begun)


class _Judgement:
    def __init__(self, subject: Subject, settings: Settings, kinds: tuple[type[Gate], ...]) -> None:
        self._subject = subject
        self._budget = Budget(settings.limits, settings.scratch)
        self._report = Report(subject, settings)
        closure = Closure(subject, settings.limits)
        self._gates = [kind(subject, closure, self._report) for kind in kinds]
        self._entry_gates = [gate for gate in self._gates if _has(gate, "entry")]
        self._content_gates = [gate for gate in self._gates if _has(gate, "content")]

    def run(self, changes: Iterable[Change]) -> Verdict:
        for change in changes:
            self._report.add(change.rule, change.path, change.message, offset=change.offset)
        for gate in self._gates:
            self._guard(gate.name, "", gate.begin)
        for output in self._subject.outputs:
            self._guard("walk", output, self._output, output)
        for gate in self._gates:
            self._guard(gate.name, "", gate.end)
        return self._report.verdict()

    def _output(self, output: str) -> None:
        top = self._subject.physical(self._subject.outputs[output])
        if not os.path.lexists(top):
            return
        for entry in walk(output, top):
            self._report.files += 1
            self._budget.entry()
            for gate in self._entry_gates:
                self._guard(gate.name, entry.path, gate.entry, entry)
            if entry.kind is Kind.FILE and entry.size:
                self._file(entry)

    def _file(self, entry: Entry) -> None:
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = os.open(entry.physical, flags)
        try:
            blob = Blob.of_file(descriptor, entry.size)
            self._item(Item(entry, blob, entry.path, executable=entry.executable))
        finally:
            os.close(descriptor)

    def _item(self, item: Item) -> None:
        if item.fresh:
            self._report.examined += item.blob.size
        for gate in self._content_gates:
            self._guard(gate.name, item.path, gate.content, item)
        self._guard("contents", item.path, self._inside, item)

    def _inside(self, item: Item) -> None:
        try:
            for inner in inside(item, self._budget):
                self._report.files += 1
                self._item(inner)
        except DamagedError as error:
            self._report.add("contents.damaged", item.path, str(error))
        except OpaqueError as error:
            self._report.add("contents.opaque", item.path, str(error))

    def _guard(self, name: str, path: str, call: Callable[..., None], *arguments: object) -> None:
        try:
            call(*arguments)
        except LimitError as error:
            self._report.add("contents.limit", path, str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, the result is not proved fit
            self._report.add(CRASHED, path, f"{name}: {type(error).__name__}: {error}")


def _has(gate: Gate, hook: str) -> bool:
    return getattr(type(gate), hook) is not getattr(Gate, hook)
