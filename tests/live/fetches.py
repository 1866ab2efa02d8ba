"""What is fetched from a server of ours, by derivations of two systems that make the same.

A source says to the server for which system it is being fetched, so that the server knows whether
an emulator or this machine did it.  Its contents are new in every run: no store has them.
"""

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

from protocol.store import aterm
from protocol.store.derivation import BasicDerivation, Derivation
from protocol.store.hash import Hash
from protocol.store.path import StorePath
from tests.live import world

NATIVE: Final = "aarch64-linux"
HERE: Final = "x86_64-linux"

EXPRESSION: Final = """
{ seeds, url, name, hash }:
let
  fixed = { outputHashMode = "flat"; outputHashAlgo = "sha256"; outputHash = hash; };
  of = system: folder: rec {
    tools = builtins.path { path = seeds + "/${folder}"; name = "tools-${folder}"; };
    make = name: script: extra: derivation ({
      inherit name system;
      builder = "${tools}/bash";
      args = [ "-ec" script ];
      PATH = tools;
    } // extra);
    source = make "source-${name}" "busybox wget -q -O $out \\"${url}/${name}/$system\\"" fixed;
    package = make "package-${name}" "busybox cat $src > $out" { src = source; };
    private = make "private-${name}" "echo $RANDOM$RANDOM$RANDOM > $out" { };
    nosy = make "source-${name}" "busybox wget -q -O $out \\"${url}/${name}/$system\\"" (
      fixed // { inherit private; });
    image = make "image-${name}" "busybox cat $src > $out" { src = (of native "arm64").source; };
    builtin = derivation ({
      name = "builtin-${name}";
      inherit system;
      builder = "builtin:fetchurl";
      url = "${url}/${name}/${system}";
      executable = false;
      unpack = false;
    } // fixed);
  };
  native = "NATIVE";
in { native = of native "arm64"; here = of "HERE" "amd64"; }
""".replace("NATIVE", NATIVE).replace("HERE", HERE)


@dataclass
class Server:
    """An HTTP server on the loopback that has one file for each name."""

    refuses: set[tuple[str, str]] = field(default_factory=set)
    """(name, system) for which it has nothing."""
    forges: set[str] = field(default_factory=set)
    """Names under which something else lies than was promised."""
    asked: list[tuple[str, str]] = field(default_factory=list)
    """(name, system) of every request."""
    salt: str = field(default_factory=lambda: secrets.token_hex(8))
    url: str = ""

    def contents(self, name: str) -> bytes:
        """What was promised under a name."""
        return f"{name} {self.salt}\n".encode()

    def systems(self, name: str) -> list[str]:
        """For which systems a name was asked for, in the order of asking."""
        return [system for asked, system in self.asked if asked == name]

    @contextmanager
    def serving(self) -> Iterator["Server"]:
        """Answer within the block."""
        ours = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                _, name, system = self.path.split("/")
                ours.asked.append((name, system))
                if (name, system) in ours.refuses:
                    self.send_error(404)
                    return
                body = b"forged" if name in ours.forges else ours.contents(name)
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *_: object) -> None:  # noqa: A002 - inherited
                """Nothing is said: the tests read `asked`."""

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            self.url = f"http://127.0.0.1:{server.server_port}"
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            try:
                yield self
            finally:
                server.shutdown()
                thread.join()


@dataclass(frozen=True)
class Fetched:
    """The derivations of one name, in the host's store; nothing of them is built."""

    name: str
    folder: Path
    arguments: tuple[str, ...]
    """What the expression is called with."""
    drvs: dict[str, StorePath]
    """By attribute, such as `native.source`."""

    def derivation(self, attribute: str) -> Derivation:
        """The recipe."""
        drv = self.drvs[attribute]
        return aterm.parse(Path(drv).read_bytes(), drv.name.removesuffix(".drv"))

    def flat(self, attribute: str) -> BasicDerivation:
        """The recipe without its graph; its inputs have to be sources."""
        derivation = self.derivation(attribute)
        return derivation.as_basic(derivation.input_sources)

    def out(self, attribute: str) -> StorePath:
        """Where the output will be."""
        return self.derivation(attribute).output_paths()["out"]


ATTRIBUTES: Final = (
    *("native.source", "here.source", "native.package", "here.package", "here.image"),
    *("native.builtin", "here.builtin", "here.private", "here.nosy"),
)


def make(folder: Path, server: Server, name: str) -> Fetched:
    """Instantiate everything under one name."""
    (folder / "default.nix").write_text(EXPRESSION)
    arguments = (
        *("--arg", "seeds", str(world.CACHE / "minipkgs" / "seeds")),
        *("--argstr", "url", server.url, "--argstr", "name", name),
        *("--argstr", "hash", Hash.of(server.contents(name)).base16()),
    )
    wanted = [word for attribute in ATTRIBUTES for word in ("-A", attribute)]
    found = world.run(["nix-instantiate", folder, *wanted, *arguments]).stdout.split()
    drvs = {
        attribute: StorePath.parse(path.partition("!")[0])
        for attribute, path in zip(ATTRIBUTES, found, strict=True)
    }
    return Fetched(name, folder, arguments, drvs)


def put(root: Path, *drvs: StorePath) -> None:
    """Put `.drv` closures of the host's store into the store below `root`."""
    to = ["--no-check-sigs", "--to", f"local?root={root}"]
    world.run(["nix", "copy", "--derivation", *to, *drvs])


def table(
    output: Path, every: list[Fetched], kind: str = "package", other: str = "package"
) -> Path:
    """A table that knows the packages, and with them their sources.

    Args:
        output: where it is written.
        every: what it knows.
        kind: what of each is the native half of a root pair.
        other: what is the other half.
    """
    pairs = output.with_suffix(".pairs")
    pairs.write_text(
        "".join(f"{each.drvs[f'native.{kind}']} {each.drvs[f'here.{other}']}\n" for each in every)
    )
    world.run([world.SHIM, "table", "pair", "--pairs", pairs, "-o", output])
    return output
