"""Gate: executable scripts have an interpreter that exists on the target and runs there.

What a script does is not looked at.  Interpreters outside the store (`/bin/sh`, `/usr/bin/env`) are
the target's own business: they are counted, because many of them may mean that patching failed.
"""

import os
from collections import Counter
from pathlib import PurePosixPath
from typing import ClassVar, Final

from shim.gates.blob import Blob
from shim.gates.closure import Closure, Outcome
from shim.gates.elffile import MAGIC, Elf, ElfError
from shim.gates.gate import Gate, Item, Report
from shim.gates.subject import Subject

LINE: Final = 4096
"""Bytes of a first line that are read; Linux itself stops at 256 (`BINPRM_BUF_SIZE`)."""

MOST_INTERPRETERS: Final = 4
"""A script's interpreter may be a script, and so on, as often (`fs/exec.c`)."""


class Scripts(Gate):
    """Follows the first line of each executable file that is a script."""

    name: ClassVar = "scripts"

    def __init__(self, subject: Subject, closure: Closure, report: Report) -> None:
        super().__init__(subject, closure, report)
        self._unpatched: Counter[str] = Counter()
        self._examples: dict[str, str] = {}
        self._verdicts: dict[str, tuple[str, str] | None] = {}

    def content(self, item: Item) -> None:
        """Look at an executable script, or pass by what is none."""
        if item.depth or not item.executable or not item.head.startswith(b"#!"):
            return
        interpreter = _interpreter(item.blob.read(0, LINE))
        if not interpreter:
            self.report("scripts.missing", item.path, "the first line names no interpreter")
        elif not interpreter.startswith("/"):
            self.report("scripts.relative", item.path, f"interpreter `{interpreter}`")
        elif not interpreter.startswith(f"{self.subject.store_dir}/"):
            self._judge_outside(item, interpreter)
        else:
            if interpreter not in self._verdicts:
                self._verdicts[interpreter] = self._judge(interpreter)
            if found := self._verdicts[interpreter]:
                rule, reason = found
                self.report(rule, item.path, f"interpreter `{interpreter}`: {reason}", offset=2)

    def end(self) -> None:
        """Tell how many scripts rely on the target's own interpreters."""
        for interpreter, count in sorted(self._unpatched.items()):
            files = f"{count} scripts" if count > 1 else "1 script"
            example = self._examples[interpreter]
            self.report("scripts.unpatched", "", f"`{interpreter}` in {files}, such as `{example}`")

    def _judge_outside(self, item: Item, interpreter: str) -> None:
        build = self.subject.build_dir
        if interpreter.startswith(f"{build}/"):
            self.report(
                "scripts.missing",
                item.path,
                f"interpreter `{interpreter}` is in the build folder",
                offset=2,
            )
            return
        self._unpatched[interpreter] += 1
        self._examples.setdefault(interpreter, item.path)

    def _judge(self, interpreter: str) -> tuple[str, str] | None:
        """Rule and reason if an interpreter in the store is not fit."""
        for _ in range(MOST_INTERPRETERS + 1):
            found = self.closure.resolve(interpreter)
            match found.outcome:
                case Outcome.FOUND:
                    head, elf = self._read(found.physical)
                case Outcome.DENIED:
                    return "scripts.not-allowed", f"`{found.logical}` is no native input"
                case Outcome.OUTSIDE:
                    return None
                case Outcome.ABSENT:
                    return "scripts.missing", "its store path is not on this machine"
                case _:
                    return "scripts.missing", "there is no such file"
            if elf is not None:
                wanted = self.subject.system.elf
                fits = (elf.machine, elf.bits) == (wanted.machine, wanted.bits)
                return None if fits else ("scripts.foreign", "it is for another machine")
            if not head.startswith(b"#!"):
                return "scripts.missing", "it is neither a program nor a script"
            interpreter = _interpreter(head)
            if not interpreter.startswith(f"{self.subject.store_dir}/"):
                return None
        return "scripts.loop", f"more than {MOST_INTERPRETERS} interpreters of interpreters"

    @staticmethod
    def _read(physical: str) -> tuple[bytes, Elf | None]:
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = os.open(physical, flags)
        try:
            head = os.pread(descriptor, LINE, 0)
        except IsADirectoryError:
            return b"", None
        finally:
            os.close(descriptor)
        if not head.startswith(MAGIC):
            return head, None
        try:
            return head, Elf(Blob(head))
        except ElfError:
            return b"", None


def _interpreter(head: bytes) -> str:
    """The program named by a `#!` line, as Linux splits it; `env`'s argument if that is in a store.

    `#! /usr/bin/env /nix/store/.../bin/python3` runs the latter.
    """
    line = head[2:].partition(b"\n")[0].strip(b" \t")
    words = line.split()
    if not words:
        return ""
    program = words[0].decode("utf-8", "surrogateescape")
    if PurePosixPath(program).name == "env":
        for word in words[1:]:
            if word.startswith(b"/"):
                return word.decode("utf-8", "surrogateescape")
    return program
