# ruff: noqa: INP001 (lies beside the scripts that import it; scripts/ is no package)
"""Debian packages through apt's own verification, with lists, cache and state of our own.

It leaves the machine's apt alone (`/etc/apt` is read, nothing there is written) and installs
nothing.  The archive is the one the machine's own apt uses, read at run time; no host name is kept.
Needs only the standard library: it runs before there is a virtual environment.
"""

import hashlib
import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CACHE = Path(os.environ.get("NIX_SHIM_CACHE") or ROOT / ".cache")
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


class FetchError(Exception):
    """What cannot be fetched, and what to do."""


@dataclass(frozen=True)
class Offer:
    """A file that apt's signed index lists."""

    file: str
    sha256: str


def archive(sources: Path = Path("/etc/apt")) -> str:
    """The URI of the Debian archive that this machine's apt uses.

    Raises:
        FetchError: apt has no Debian source.
    """
    for uri, suite, components in _entries(sources):
        if "main" in components and not suite.endswith("-security"):
            return uri
    raise FetchError(f"no Debian archive with component `main` below `{sources}`: add one")


def _entries(sources: Path) -> Iterator[tuple[str, str, list[str]]]:
    """(URI, suite, components) of every enabled source, one-line and deb822 (sources.list(5))."""
    lists = [sources / "sources.list", *sorted((sources / "sources.list.d").glob("*.list"))]
    for path in filter(Path.exists, lists):
        for line in path.read_text().splitlines():
            found = re.match(r"deb\s+(?:\[[^]]*\]\s+)?(\S+)\s+(\S+)\s+(.+)", line.strip())
            if found:
                yield found[1], found[2], found[3].split()
    for path in sorted((sources / "sources.list.d").glob("*.sources")):
        for stanza in re.split(r"\n\s*\n", path.read_text()):
            lines = (line for line in stanza.splitlines() if not line.startswith("#"))
            fields = dict(re.findall(r"^([\w-]+):\s*(.*)$", "\n".join(lines), re.MULTILINE))
            if fields.get("Enabled", "yes") == "no" or "deb" not in fields.get("Types", "").split():
                continue
            for uri in fields.get("URIs", "").split():
                for suite in fields.get("Suites", "").split():
                    yield uri, suite, fields.get("Components", "").split()


class Apt:
    """apt for one suite and several architectures, apart from the machine's own."""

    def __init__(self, suite: str, architectures: Sequence[str], state: Path) -> None:
        """Write the configuration below `state`; the folder may be deleted at any time."""
        self.state = state.resolve()
        for each in ("lists/partial", "archives/partial", "parts", "state"):
            (self.state / each).mkdir(parents=True, exist_ok=True)
        option = f"[signed-by={KEYRING}] " if KEYRING.exists() else ""
        uri = archive()
        (self.state / "sources.list").write_text(
            "".join(f"{kind} {option}{uri} {suite} main\n" for kind in ("deb", "deb-src"))
        )
        wanted = " ".join(f'"{each}";' for each in architectures)
        (self.state / "apt.conf").write_text(
            f"""\
Dir::State "{self.state}/state";
Dir::State::lists "{self.state}/lists";
Dir::State::status "/dev/null";
Dir::Cache "{self.state}";
Dir::Etc::sourcelist "{self.state}/sources.list";
Dir::Etc::sourceparts "{self.state}/parts";
Dir::Etc::preferencesparts "{self.state}/parts";
APT::Architecture "{architectures[0]}";
APT::Architectures {{ {wanted} }};
APT::Sandbox::User "root";
Acquire::Languages "none";
"""
        )

    def run(self, *arguments: str, cwd: Path | None = None) -> str:
        """Run an apt program under our configuration; its standard output."""
        done = subprocess.run(
            arguments,
            env={**os.environ, "APT_CONFIG": str(self.state / "apt.conf"), "LC_ALL": "C"},
            cwd=cwd,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise FetchError(f"`{' '.join(arguments[:4])} ...` failed:\n{done.stderr}")
        return done.stdout

    def update(self) -> None:
        """Fetch the suite's signed index."""
        self.run("apt-get", "-q", "update")

    def offers(self, packages: Sequence[str]) -> list[Offer]:
        """What the index says of binary packages named `name:architecture` (or `name` for all)."""
        return self._offers(self.run("apt-get", "--print-uris", "download", *packages))

    def source_offers(self, source: str) -> list[Offer]:
        """What the index says of the files of a source package."""
        return self._offers(
            self.run("apt-get", "--print-uris", "--download-only", "source", source)
        )

    @staticmethod
    def _offers(text: str) -> list[Offer]:
        rows = re.findall(r"^'\S+' (\S+) \d+ SHA256:([0-9a-f]{64})$", text, re.MULTILINE)
        return [Offer(file, digest) for file, digest in rows]


def is_present(folder: Path, offer: Offer) -> bool:
    """Whether the file is there with the contents that the index promises."""
    path = folder / offer.file
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == offer.sha256
