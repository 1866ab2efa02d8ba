"""A plant store with one result in it, on disk, for the gates to judge."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from protocol.store.path import StorePath
from shim.gates.judgement import judge
from shim.gates.settings import Settings
from shim.gates.subject import Subject
from shim.gates.verdict import Severity, Verdict
from shim.systems import SYSTEMS
from tests.support.elf import ElfSpec

STORE = "/nix/store"
ALPHABET = "0123456789abcdfghijklmnpqrsvwxyz"


def store_path(name: str, letter: str = "1") -> StorePath:
    """A store path whose digest is one character, repeated but for the last."""
    return StorePath.parse(f"{STORE}/{letter * 31}0-{name}")


OUT = store_path("demo-1.0", "0")
GLIBC = store_path("glibc-2.40", "1")
BASH = store_path("bash-5.2", "2")
CROSS_GLIBC = store_path("glibc-aarch64-unknown-linux-gnu-2.40", "3")
BUILD_BASH = store_path("bash-5.2", "4")
LOADER = f"{GLIBC}/lib/ld-linux-aarch64.so.1"

GLIBC_FILES: Mapping[str, bytes] = {
    "lib/ld-linux-aarch64.so.1": ElfSpec(soname="ld-linux-aarch64.so.1").build(),
    "lib/libc.so.6": ElfSpec(
        soname="libc.so.6", defines=("libc.so.6", "GLIBC_2.17", "GLIBC_2.34")
    ).build(),
}
BASH_FILES: Mapping[str, bytes] = {
    "bin/bash": ElfSpec(interpreter=LOADER, needed=["libc.so.6"], runpath=f"{GLIBC}/lib").build(),
}
GOOD_PROGRAM = ElfSpec(
    interpreter=LOADER,
    needed=["libc.so.6"],
    runpath=f"{GLIBC}/lib",
    needs=[("libc.so.6", "GLIBC_2.17", False)],
).build()


class Planted:
    """Builds a store under a folder, then judges the result `demo-1.0` in it."""

    def __init__(self, root: Path, system: str = "aarch64-linux") -> None:
        self.root = root
        self.system = SYSTEMS[system]
        self.outputs = {"out": OUT}
        self.allowed = {GLIBC, BASH, OUT}
        self.forbidden = {
            CROSS_GLIBC.digest: "it is the cross libc",
            BUILD_BASH.digest: "it runs on the build machine",
        }
        self.tree(GLIBC, GLIBC_FILES)
        self.tree(BASH, BASH_FILES)
        self.tree(BUILD_BASH, {"bin/bash": ElfSpec(machine=62).build()})

    def tree(self, path: str, files: Mapping[str, bytes | str]) -> None:
        for inside, data in files.items():
            self.add(inside, data, path=path)

    def add(
        self,
        inside: str,
        data: bytes | str,
        *,
        path: str = OUT,
        executable: bool | None = None,
    ) -> Path:
        """A file (bytes) or link (text) in a store path; ELF files and scripts can be executed."""
        place = self.root / path.lstrip("/") / inside if inside else self.root / path.lstrip("/")
        for folder in reversed(place.relative_to(self.root).parents):
            above = self.root / folder
            above.mkdir(exist_ok=True)
            above.chmod(0o755)  # judging has made it read-only; root alone would not notice
        if isinstance(data, str):
            place.symlink_to(data)
            return place
        place.write_bytes(data)
        if executable is None:
            executable = data.startswith((b"\x7fELF", b"#!"))
        place.chmod(0o555 if executable else 0o444)
        return place

    def subject(self, **changes: Any) -> Subject:
        for path in self.outputs.values():
            top = self.root / path.lstrip("/")
            for folder, _, _ in os.walk(top):
                Path(folder).chmod(0o555)
        values: dict[str, Any] = {
            "name": "demo-1.0",
            "system": self.system,
            "outputs": self.outputs,
            "root": self.root,
            "allowed": frozenset(self.allowed),
            "forbidden": self.forbidden,
            **changes,
        }
        return Subject(**values)

    def judge(self, settings: Settings | None = None, **changes: Any) -> Verdict:
        return judge(self.subject(**changes), settings or Settings())


def rules(verdict: Verdict, least: Severity = Severity.NOTE) -> list[str]:
    """Rules of the findings that weigh at least `least`, each once, sorted."""
    return sorted({found.rule for found in verdict.findings if found.severity >= least})
