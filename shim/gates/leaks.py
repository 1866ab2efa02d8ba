"""Gate: the build machine does not shine through in what the target will read or run.

Installed configuration (`*-config`, `.pc`, CMake, libtool, Python's and Perl's) tells other builds
which compiler to use: there the build platform's triple and the cross tools' prefix are wrong.  The
sandbox's build folder is wrong in what is executed or followed.  Store paths are the business of
`shim.gates.references`.
"""

import re
from fnmatch import translate
from typing import ClassVar, Final

from shim.gates.closure import Closure
from shim.gates.gate import Gate, Item, Report
from shim.gates.subject import Subject
from shim.gates.tree import Entry

CONFIGURATION: Final = (
    "*-config",
    "*.pc",
    "*.cmake",
    "*.la",
    "*.prl",
    "*.pri",
    "_sysconfigdata*.py",
    "Makefile.inc",
    "config-*/Makefile",
    "Config.pm",
    "Config_heavy.pl",
    "Makeconf",
    "rbconfig.rb",
    "libtool",
    "mkspecs/*",
    "system",
    "pgxs/*/Makefile.global",
)
"""Patterns over file names, or over the end of a path where they hold a slash."""

TOOLS: Final = (
    *("addr2line", "ar", "as", "c++", "cc", "clang", "clang++", "cpp", "g++", "gcc", "gfortran"),
    *("ghc", "ld", "nm", "objcopy", "objdump", "pkg-config", "ranlib", "readelf", "strip"),
)
"""Programs that a cross toolchain gives a prefix and a native one does not."""

MOST: Final = 1 << 24
"""Bytes of a configuration file that are read."""


class Leaks(Gate):
    """Searches configuration for triples, everything for the build folder."""

    name: ClassVar = "leaks"

    def __init__(self, subject: Subject, closure: Closure, report: Report) -> None:
        super().__init__(subject, closure, report)
        patterns = [
            translate(f"*/{pattern}" if "/" in pattern else pattern) for pattern in CONFIGURATION
        ]
        self._is_configuration = re.compile("|".join(patterns)).match
        names = "|".join(re.escape(triple) for triple in subject.build_system.triples)
        system = re.escape(subject.build_system.nix)
        self._build_triple = re.compile(
            rf"(?<![\w-])(?:(?:{names})(?!\w)|{system}(?![\w-]))".encode()
        )
        prefixes = "|".join(re.escape(triple) for triple in subject.system.triples)
        tools = "|".join(re.escape(tool) for tool in TOOLS)
        self._tool = re.compile(rf"(?<![\w-])(?:{prefixes})-(?:{tools})(?![\w+-])".encode())
        self._folder = f"{subject.build_dir}/".encode()
        word = re.escape(self._folder)
        self._in_folder = re.compile(rb"(?<![\w.+/-])" + word + rb"[\w.+-]+/")

    def entry(self, entry: Entry) -> None:
        """Look at a link's target."""
        if entry.target.startswith(f"{self.subject.build_dir}/"):
            self.report("leaks.build-folder", entry.path, f"links to `{entry.target}`")

    def content(self, item: Item) -> None:
        """Look at contents."""
        if item.depth == 0:
            inside = item.entry.inside
            name = inside.rpartition("/")[2]
            if self._is_configuration(name) or self._is_configuration(f"/{inside}"):
                self._judge_configuration(item)
        if item.fresh:
            self._judge_folder(item)

    def _judge_configuration(self, item: Item) -> None:
        data = item.blob.read(0, MOST)
        for rule, pattern in (
            ("leaks.build-triple", self._build_triple),
            ("leaks.tool-prefix", self._tool),
        ):
            if found := pattern.search(data):
                self.report(rule, item.path, f"`{found[0].decode()}`", offset=found.start())

    def _judge_folder(self, item: Item) -> None:
        for chunk in item.blob.chunks():
            place = chunk.data.find(self._folder, chunk.start)
            while 0 <= place < chunk.stop:
                if found := self._in_folder.match(chunk.data, place):
                    script = item.depth == 0 and item.executable and item.head.startswith(b"#!")
                    rule = "leaks.build-folder" if script else "leaks.build-folder-text"
                    text = found[0].decode("utf-8", "replace")
                    self.report(rule, item.path, f"names `{text}`", offset=chunk.base + place)
                    return
                place = chunk.data.find(self._folder, place + 1)
