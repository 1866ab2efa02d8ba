"""Small package sets made for a test: a native one, the build machine's, and a cross one.

They have the shape of nixpkgs (wrappers, split compiler, slots, host flags) and are real
derivations with real paths; nothing in them can be built.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from protocol.store import aterm
from protocol.store.content_address import ContentAddress, Method
from protocol.store.derivation import (
    Deferred,
    Derivation,
    FixedOutput,
    InputOutputs,
    Output,
)
from protocol.store.hash import Hash
from protocol.store.modulo import HashModulo, derivation_path, with_outputs
from protocol.store.path import StorePath
from shim.equivalence.pairing import pair
from shim.equivalence.source import Derivations
from shim.equivalence.table import Table
from shim.plant.plan import Decline, Plan
from shim.plant.planner import Planner

NATIVE = "riscv64-linux"
BUILD = "x86_64-linux"
TRIPLE = "riscv64-unknown-linux-gnu"


class Made(str):
    """The path of a derivation's first output, so that it can stand in a text; others by name."""

    __slots__ = ("drv", "outputs")

    drv: StorePath
    outputs: Mapping[str, StorePath]

    def __getitem__(self, name: str) -> StorePath:  # type: ignore[override]
        return self.outputs[name]


class World:
    """Derivations, added one after the other; inputs are found in the texts."""

    def __init__(self) -> None:
        self.all: dict[StorePath, Derivation] = {}
        self.makers: dict[StorePath, tuple[StorePath, str]] = {}
        self.modulo = HashModulo(self.all.__getitem__)

    def add(
        self,
        name: str,
        platform: str,
        env: Mapping[str, str],
        *,
        outputs: tuple[str, ...] = ("out",),
        builder: str = "/bin/sh",
        args: tuple[str, ...] = ("-e",),
        sources: tuple[str, ...] = (),
        kinds: Mapping[str, Output] | None = None,
    ) -> Made:
        text = "\n".join((builder, *args, *env.values()))
        inputs: dict[StorePath, set[str]] = {}
        for path, (drv, output) in self.makers.items():
            if path in text:
                inputs.setdefault(drv, set()).add(output)
        draft = Derivation(
            name=name,
            outputs=kinds or dict.fromkeys(outputs, Deferred()),
            input_sources=frozenset(map(StorePath, sources)),
            input_derivations={drv: InputOutputs(frozenset(o)) for drv, o in inputs.items()},
            platform=platform,
            builder=builder,
            args=args,
            env={**env, "name": name, "system": platform, "builder": builder},
        )
        derivation = with_outputs(draft, self.modulo)
        drv = derivation_path(derivation)
        self.all[drv] = derivation
        paths = derivation.output_paths()
        self.makers |= {path: (drv, output) for output, path in paths.items()}
        made = Made(paths.get(outputs[0], drv))
        made.drv, made.outputs = drv, paths
        return made

    def fixed(self, name: str, platform: str = BUILD) -> Made:
        content = ContentAddress(Method.FLAT, Hash.of(name.encode()))
        path = StorePath(f"/nix/store/{'0' * 32}-{name}")
        return self.add(name, platform, {}, kinds={"out": FixedOutput(path, content)})

    def derivations(self) -> Derivations:
        texts = {path: aterm.unparse(derivation) for path, derivation in self.all.items()}
        return Derivations(texts.get)


@dataclass
class Side:
    """One package set."""

    world: World
    platform: str
    flags: str = ""
    """Of `configureFlags`, in everything the set makes."""
    suffix: str = ""
    shell: Made | None = None
    stdenv: Made | None = None
    attributes: dict[str, Made] = field(default_factory=dict)

    def make(self, pname: str, version: str = "1", *, outputs: str = "out", **env: str) -> Made:
        """A package that compiles, when it has a `src`; a text otherwise."""
        name = f"{pname}-{version}"
        if self.suffix and env.get("src"):
            name = f"{pname}-{self.suffix}-{version}"
        common = {"pname": pname, "version": version, "outputs": outputs}
        if self.stdenv:
            common |= {"stdenv": self.stdenv, "configureFlags": self.flags}
        made = self.world.add(
            name,
            self.platform,
            {**common, **env},
            outputs=tuple(outputs.split()),
            builder=f"{self.shell}/bin/bash" if self.shell else "/bin/sh",
        )
        self.attributes[pname] = made
        return made


@dataclass(frozen=True)
class Versions:
    """Of the toolchain, so that a test can make two that do not fit."""

    gcc: str = "14.2"
    libc: str = "2.41"
    march: str = "-march=rv64gc"
    hardening: str = "pic relro"
    configured: str = ""
    cut: str = ""
    """Folder of the compiler's archive that a script of that set makes its source from."""


@dataclass
class Sets:
    """A native set, the build machine's, and the cross set that runs there."""

    world: World
    native: Side
    tools: Side
    cross: Side

    def roots(self, *names: str) -> list[tuple[StorePath, StorePath]]:
        return [(self.native.attributes[n].drv, self.cross.attributes[n].drv) for n in names]

    def table(self, *names: str) -> Table:
        return pair(self.world.derivations(), self.roots(*names))

    def plan(self, name: str, *also: str) -> Plan | Decline:
        table = self.table(name, *also)
        planner = Planner(table, self.world.derivations())
        return planner.plan(self.native.attributes[name].drv)

    def planted(self, name: str, *also: str) -> Plan:
        found = self.plan(name, *also)
        assert isinstance(found, Plan), found
        return found

    def declined(self, name: str, *also: str) -> Decline:
        found = self.plan(name, *also)
        assert isinstance(found, Decline), found
        return found

    def both(self, pname: str, *, outputs: str = "out", src: bool = True, **env: str) -> None:
        """The same package in both sets; `@name@` in a text is that set's package.

        `@tools.name@` is the native one natively, and the build machine's in the cross set.
        """
        for side, tools in ((self.native, self.native), (self.cross, self.tools)):
            texts = {name: self.fill(text, side, tools) for name, text in env.items()}
            if src:
                texts["src"] = self.world.fixed(f"{pname}.tar.gz")
            side.make(pname, outputs=outputs, **texts)

    def tool(self, pname: str, **env: str) -> None:
        """A build tool: for the board natively, for the build machine beside the cross set."""
        for side in (self.native, self.tools):
            texts = {name: self.fill(text, side, side) for name, text in env.items()}
            side.make(pname, **{"src": self.world.fixed(f"{pname}.tar.gz"), **texts})

    def fill(self, text: str, side: Side, tools: Side) -> str:
        for prefix, source in (("tools.", tools), ("", side)):
            for name, made in source.attributes.items():
                text = text.replace(f"@{prefix}{name}@", made)
                for output, path in made.outputs.items():
                    text = text.replace(f"@{prefix}{name}.{output}@", path)
        return text


def sets(native: Versions = Versions(), cross: Versions = Versions()) -> Sets:
    """A native and a cross set with toolchains, bash and zlib on both sides."""
    world = World()
    ours = Side(world, NATIVE)
    tools = Side(world, BUILD)
    theirs = Side(
        world, BUILD, flags=f"--build=x86_64-unknown-linux-gnu --host={TRIPLE}", suffix=TRIPLE
    )
    _toolchain(ours, native, "", ours)
    _toolchain(tools, Versions(), "", tools)
    # The cross libc is made before there is a cross standard environment: it says so by its flags.
    theirs.shell = tools.shell
    _toolchain(theirs, cross, f"{TRIPLE}-", tools)
    made = Sets(world, ours, tools, theirs)
    for side in (ours, tools, theirs):
        side.make("bash", "5", src=world.fixed("bash.tar.gz"))
        side.make("zlib", outputs="out dev", src=world.fixed("zlib.tar.gz"))
    return made


def _toolchain(side: Side, versions: Versions, prefix: str, tools: Side) -> None:
    world = side.world
    here = replace(tools, attributes={}) if prefix else side
    if not side.shell:
        side.shell = here.shell = here.make("bootstrap-bash", "0")
    libc = side.make(
        "glibc",
        versions.libc,
        outputs="out dev bin",
        src=world.fixed(f"glibc-{versions.libc}.tar.xz"),
        configureFlags=side.flags,
    )
    binutils = here.make(f"{prefix}binutils", "2.44", src=world.fixed("binutils.tar.xz"))
    linker = here.make(
        f"{prefix}binutils-wrapper",
        "2.44",
        wrapperName="BINTOOLS_WRAPPER",
        bintools_bin=binutils,
        libc_lib=libc,
        libc_dev=libc["dev"],
        libc_bin=libc["bin"],
        postFixup=f"echo {libc}/lib/ld.so > $out/nix-support/dynamic-linker",
    )
    source = world.fixed(f"gcc-{versions.gcc}.tar.xz")
    if versions.cut:
        script = f"{here.shell}/bin/cp -r {source}/{versions.cut} $out"
        source = here.make("gcc-src", versions.gcc, buildCommand=script)
    compiler = here.make(
        f"{prefix}gcc",
        versions.gcc,
        outputs="out lib",
        src=source,
        configureFlags=f"--with-ld={linker}/bin/ld --with-headers={libc['dev']}/include"
        f" --target={prefix.removesuffix('-')} {versions.configured}",
    )
    inner = f"/{prefix.removesuffix('-')}/lib" if prefix else "/lib"
    wrapper = here.make(
        f"{prefix}gcc-wrapper",
        versions.gcc,
        wrapperName="CC_WRAPPER",
        cc=compiler,
        bintools=linker,
        libc_lib=libc,
        libc_dev=libc["dev"],
        libc_bin=libc["bin"],
        default_hardening_flags_str=versions.hardening,
        postFixup=f"echo -L{compiler['lib']}{inner} > $out/nix-support/cc-ldflags\n"
        f"echo {versions.march} > $out/nix-support/cc-cflags-before",
    )
    stdenv = here.make(
        "stdenv-linux",
        "",
        setup="setup.sh",
        initialPath=str(tools.shell),
        defaultNativeBuildInputs=wrapper,
    )
    side.stdenv = stdenv
    side.attributes |= {"compiler": compiler, "wrapper": wrapper, "glibc": libc}
