"""A peer that says what no Nix client would: our own client on the shim's socket.

The derivations are of a foreign system and build in a moment, under emulation: their builder is a
statically linked shell.
"""

import json
import socket
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from protocol.nar.events import Data, End, Event, Regular
from protocol.nar.writer import NarWriter
from protocol.store import aterm
from protocol.store.addressing import content_path
from protocol.store.content_address import ContentAddress, Method
from protocol.store.derivation import BasicDerivation, Derivation
from protocol.store.hash import Hash
from protocol.store.path import StorePath
from protocol.store.path_info import PathInfo
from protocol.version import Dialect, Number
from protocol.wire.operation import Body, Request
from protocol.worker import handshake, multiple
from protocol.worker.client import ClientConnection
from protocol.worker.events import (
    Failed,
    Logged,
    PeerClosed,
    Pull,
    Replied,
    ReplyData,
    ReplyEnd,
    Welcomed,
)
from protocol.worker.messages import AddMultipleToStore
from protocol.worker.stderr import Next, Result
from protocol.worker.versions import NEWEST
from shim.preamble import Preamble
from tests.live import world

TIMEOUT: Final = 120
"""Seconds without a byte after which the daemon counts as stuck."""


class Refused(Exception):
    """The daemon's answer was an error."""


class Hung(Exception):
    """The daemon closed the connection."""


class Talker:
    """One connection to a shim, as a peer or, without a name, as the operator that we are."""

    def __init__(
        self,
        shim: world.Shim,
        peer: str | None = "attic",
        newest: Number = NEWEST,
        *,
        eager: bool = False,
    ) -> None:
        """Connect and shake hands; `eager` says all of its greeting before it hears anything."""
        self.said: list[str] = []
        """What was to be shown to the user."""
        self.log: list[str] = []
        """Lines of build logs."""
        self.connection = ClientConnection(newest=newest)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(TIMEOUT)
        self.socket.connect(str(shim.socket))
        try:
            self._greet(peer, eager=eager)
        except BaseException:
            self.socket.close()
            raise

    def _greet(self, peer: str | None, *, eager: bool) -> None:
        if peer is not None:
            self.socket.sendall(Preamble(peer).render())
        hello = self.connection.hello()
        if eager:
            preamble = handshake.preamble.put(None, Dialect(Number(1, 34)))
            self.socket.sendall(hello + preamble)
            while self.connection.next_event() is None and not self.connection.to_send():
                self.connection.receive(self.socket.recv(16))  # its magic number and version
        else:
            self.socket.sendall(hello)
        match self._event():
            case Welcomed(_, version, trust):
                self.version, self.trust = version, trust
            case Failed(error):
                raise Refused(error.message)
            case event:
                raise AssertionError(event)

    def __enter__(self) -> "Talker":  # noqa: PYI034 - never subclassed
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def _event(self) -> Any:
        while True:
            while (event := self.connection.next_event()) is None:
                if said := self.connection.to_send():
                    self.socket.sendall(said)
                try:
                    self.connection.receive(self.socket.recv(1 << 16))
                except ConnectionResetError:
                    raise Hung from None
            match event:
                case Logged(Next(text)):
                    self.said.append(text)
                case Logged(Result(fields=fields)):
                    self.log += [each for each in fields if isinstance(each, str)]
                case Logged():
                    pass
                case PeerClosed():
                    raise Hung
                case _:
                    return event

    def ask(self, request: Request[Any], body: bytes = b"") -> Any:
        """The answer; for those that are answered by a body, its bytes.

        Raises:
            Refused: it was an error.
            Hung: there was none.
        """
        self.socket.sendall(self.connection.ask(request))
        if self.connection.pulls:
            match self._event():
                case Pull():
                    self.socket.sendall(self.connection.body(body))
                case Failed(error):
                    raise Refused(error.message)
                case event:
                    raise AssertionError(event)
        elif body:
            for start in range(0, len(body), 1 << 16):
                self.socket.sendall(self.connection.body(body[start : start + (1 << 16)]))
        if request.operation.body is not Body.NONE:
            self.socket.sendall(self.connection.body_end())
        return self.answer(with_body=request.operation.reply_body is not Body.NONE)

    def answer(self, *, with_body: bool = False) -> Any:
        """What is answered to a request that was sent: a value, or a body's bytes.

        Raises:
            Refused, Hung: as `ask`.
        """
        received = b""
        while True:
            match self._event():
                case Replied(value=value) if not with_body:
                    return value
                case Replied():
                    pass
                case ReplyData(data):
                    received += data
                case ReplyEnd():
                    return received
                case Failed(error):
                    raise Refused(error.message)
                case event:
                    raise AssertionError(event)

    def upload(self, *things: "Thing") -> None:
        """Send store paths, as `nix copy` does."""
        body = multiple.count(len(things))
        for each in things:
            body += multiple.info(each.path, each.info) + each.nar
        self.ask(AddMultipleToStore(dont_check_signatures=True), body)


@dataclass(frozen=True)
class Thing:
    """A store path to be sent, and what is said of it."""

    path: StorePath
    info: PathInfo
    nar: bytes

    def saying(self, **changes: Any) -> "Thing":
        """The same with something else said of it."""
        return replace(self, info=replace(self.info, **changes))

    def at(self, path: StorePath) -> "Thing":
        """The same under another path."""
        return replace(self, path=path)


def file_nar(text: bytes) -> bytes:
    """The NAR of a file."""
    writer = NarWriter()
    node: tuple[Event, ...] = (Regular(executable=False, size=len(text)), Data(text), End())
    return b"".join(writer.write(event) for event in node)


def claimed(path: StorePath, text: bytes, **about: Any) -> Thing:
    """A file under any path, with nothing that proves it."""
    nar = file_nar(text)
    return Thing(path, PathInfo(nar_hash=Hash.of(nar), nar_size=len(nar), **about), nar)


def proven(name: str, text: bytes, references: frozenset[StorePath] = frozenset()) -> Thing:
    """A text under the path that it follows from."""
    address = ContentAddress(Method.TEXT, Hash.of(text))
    path = content_path(name, address, references)
    return claimed(path, text, content_address=address, references=references)


def things(*paths: str) -> list[Thing]:
    """Paths of the host's store with all that they refer to, dependencies first."""
    closure = world.run(["nix-store", "--query", "--requisites", *paths]).stdout.split()
    plain = [path for path in closure if not path.endswith(".drv")]
    shown = json.loads(world.run(["nix", "path-info", "--json", *plain]).stdout)
    about = {each["path"]: each for each in shown}
    return [_thing(path, about.get(path)) for path in closure]


def _thing(path: str, about: dict[str, Any] | None) -> Thing:
    if about is None:  # nix takes the name of a derivation for what it makes
        references = world.run(["nix-store", "--query", "--references", path]).stdout.split()
        found = proven(
            StorePath.parse(path).name,
            Path(path).read_bytes(),
            frozenset(map(StorePath.parse, references)),
        )
        assert found.path == path
        return found
    content = about.get("ca")
    return Thing(
        StorePath.parse(path),
        PathInfo(
            nar_hash=Hash.parse(about["narHash"]),
            nar_size=about["narSize"],
            references=frozenset(map(StorePath.parse, about["references"])),
            content_address=ContentAddress.parse(content) if content else None,
        ),
        dump(path),
    )


def dump(path: str) -> bytes:
    """The NAR of a path of the host's store, or of any file."""
    return subprocess.run(["nix-store", "--dump", path], check=True, capture_output=True).stdout


EXPRESSION: Final = """
{ seeds }:
let
  of = system: folder: rec {
    tools = builtins.path { path = seeds + "/${folder}"; name = "tools-${folder}"; };
    make = name: script: extra: derivation ({
      inherit name system;
      builder = "${tools}/bash";
      args = [ "-c" script ];
    } // extra);
  };
  foreign = of "aarch64-linux" "arm64";
  native = of "x86_64-linux" "amd64";
in rec {
  plain = foreign.make "plain" "echo plain > $out" { };
  pair = foreign.make "pair" "echo out > $out; echo dev > $dev" { outputs = [ "out" "dev" ]; };
  upper = foreign.make "upper" "echo $below > $out" { below = plain; };
  failing = foreign.make "failing" "echo so it goes; exit 3" { };
  other = foreign.make "other" "echo other > $out" { };
  napping = foreign.make "napping" "${foreign.tools}/busybox sleep 6; echo > $out" { };
  fixed = foreign.make "fixed" "echo -n fixed > $out" {
    outputHashAlgo = "sha256"; outputHash = builtins.hashString "sha256" "fixed";
  };
  here = native.make "here" "echo here > $out" { };
  bad = native.make "bad" "exit 4" { };
  image = native.make "image" "echo image $content > $out" { content = plain; };
}
"""

NAMES: Final = (
    *("plain", "pair", "upper", "failing", "other", "napping", "fixed", "here", "bad", "image"),
)


@dataclass(frozen=True)
class Sayings:
    """The derivations, instantiated in the host's store; nothing of them is built."""

    drvs: dict[str, StorePath]

    def derivation(self, name: str) -> Derivation:
        """The recipe."""
        return aterm.parse(Path(self.drvs[name]).read_bytes(), name)

    def flat(self, name: str) -> BasicDerivation:
        """The recipe without its graph; its inputs have to be sources."""
        derivation = self.derivation(name)
        return derivation.as_basic(derivation.input_sources)

    def out(self, name: str, output: str = "out") -> StorePath:
        """Where an output will be."""
        return self.derivation(name).output_paths()[output]

    def graph(self, *names: str) -> list[Thing]:
        """The `.drv` closures, sources included."""
        return things(*(self.drvs[name] for name in names))

    def put(self, root: Path, names: Iterable[str] = NAMES) -> None:
        """Put the `.drv` closures into the store below `root`."""
        to = ["--no-check-sigs", "--to", f"local?root={root}"]
        world.run(["nix", "copy", "--derivation", *to, *(self.drvs[name] for name in names)])


def make(folder: Path) -> Sayings:
    """Instantiate everything."""
    (folder / "default.nix").write_text(EXPRESSION)
    seeds = world.CACHE / "minipkgs" / "seeds"
    found = world.run(
        [
            *("nix-instantiate", folder, "--arg", "seeds", seeds),
            *(word for name in NAMES for word in ("-A", name)),
        ]
    ).stdout.split()
    return Sayings(
        {
            name: StorePath.parse(path.partition("!")[0])
            for name, path in zip(NAMES, found, strict=True)
        }
    )
