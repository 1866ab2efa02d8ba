"""Which compiler and libc of the cross set may serve a native package, and why not.

The compiler itself stays as it is (it is opaque), so what it brings along must be what the native
compiler brings: the same release from the same source, the same instruction set and float ABI, a
libc of the same release.  What only the built files can tell is left to whoever carries the plan
out: that the two libcs' headers are equal (`Admission.headers`), and that the native run-time
libraries offer every symbol version that the cross ones do (`Admission.runtime`).
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from protocol.store.path import StorePath
from shim.equivalence.recipe import Mention, Recipe
from shim.equivalence.table import InputPair, Toolchain
from shim.plant.graph import CrossGraph, Refused
from shim.plant.native_compiler import NativeCompiler
from shim.plant.plan import Kind
from shim.plant.slots import Slot, slot_of


@dataclass(frozen=True, slots=True)
class Admission:
    """A pair of standard environments that was judged interchangeable."""

    toolchain: Toolchain | None
    """The table's row for the two; None where the recipe has no compiler and the table no row."""
    headers: tuple[tuple[StorePath, StorePath], ...] = ()
    """Native and cross libc outputs whose `include` must be equal."""
    runtime: tuple[tuple[StorePath, StorePath], ...] = ()
    """Native and cross run-time libraries: the native ones must offer all that the others do."""
    compiler: NativeCompiler | None = None
    """The native one, as far as wrappers of the cross one are told of it."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Parts:
    """What a standard environment compiles and links with."""

    wrapper: Recipe
    compiler: Recipe
    libc: Recipe | None
    program: StorePath
    """The compiler's output that the wrapper names."""
    headers: StorePath | None
    """The libc output that holds `include`."""


_MACHINE: Final = re.compile(
    r"(?<![\w-])-m(?:arch|cpu|fpu|float-abi|abi|mode|tune|thumb|arm|soft-float|hard-float)[\w=.+-]*"
)
"""Code generation options that a wrapper adds to every compilation (gcc manual, machine options).
"""

_CONFIGURED: Final = re.compile(
    r"--(?:with-(?:arch|cpu|tune|abi|fpu|float|mode|isa-spec|long-double-\d+|default-libstdcxx-abi)"
    r"|(?:en|dis)able-(?:default-pie|default-ssp|standard-branch-protection))(?:=\S*)?"
)
"""Configure options of gcc that decide what code looks like or who can call it (installation
manual).
"""


def _version(_: CrossGraph, recipe: Recipe) -> str:
    return recipe.variable("version")


def _sources(graph: CrossGraph, recipe: Recipe) -> str:
    mentions = [each for name in ("src", "srcs") for each in recipe.mentions.get(name, ())]
    return " ".join(sorted(_origin(graph, each) for each in mentions))


def _origin(graph: CrossGraph, mention: Mention) -> str:
    """A source's path; for one that a script cuts out of another, the script and that other one.

    LLVM's packages have parts of one fixed archive, copied on whichever machine builds them.
    """
    maker = None if mention.derivation is None else graph.recipe(mention.derivation)
    if maker is None or maker.derivation.is_fixed or not maker.variable("buildCommand"):
        return mention.path
    script, fixed = maker.variable("buildCommand"), set()
    for each in (each for mentions in maker.mentions.values() for each in mentions):
        if each.derivation is None or graph.recipe(each.derivation).derivation.is_fixed:
            fixed.add(each.path)
        else:  # a tool of that machine: by its name
            script = script.replace(each.path, each.path.name)
    return " ".join((mention.path.name, *sorted(fixed), script))


def _configured(_: CrossGraph, recipe: Recipe) -> str:
    return " ".join(sorted(set(_CONFIGURED.findall(recipe.variable("configureFlags")))))


def _machine(_: CrossGraph, recipe: Recipe) -> str:
    text = "\n".join(recipe.variables.values())
    return " ".join(sorted(set(_MACHINE.findall(text))))


def _hardening(_: CrossGraph, recipe: Recipe) -> str:
    return recipe.variable("default_hardening_flags_str")


_Read: TypeAlias = Callable[[CrossGraph, Recipe], str]

_COMPILER: Final[tuple[tuple[str, _Read], ...]] = (
    ("compiler version", _version),
    ("compiler source", _sources),
    ("compiler's configured instruction set and ABI", _configured),
)
_LIBC: Final[tuple[tuple[str, _Read], ...]] = (
    ("libc version", _version),
    ("libc source", _sources),
)
_WRAPPER: Final[tuple[tuple[str, _Read], ...]] = (
    ("code generation flags of the compiler wrapper", _machine),
    ("hardening flags of the compiler wrapper", _hardening),
)
"""What must be equal on both sides, and its name for people."""

_UNDONE: Final[Mapping[str, str]] = {"--enable-default-pie": "-fno-pie -no-pie"}
"""Default that only the cross compiler was configured with -> options that take it back: the
compiler of a bootstrap stage lacks what the final ones have (gcc manual, "Link Options").
"""

_RUNTIME: Final = frozenset({"libc_lib", "cc.lib", "cc.libgcc"})
"""Slots of a toolchain's libraries that programs load."""


def admit(
    graph: CrossGraph,
    native: Recipe,
    cross: Recipe,
    toolchain: Toolchain | None,
    inputs: Iterable[InputPair] = (),
) -> Admission:
    """Judge the standard environments of a pair of recipes, and compilers beside them.

    Args:
        graph: reads derivations of both sides.
        native: the native recipe.
        cross: its counterpart.
        toolchain: the table's row for their standard environments.
        inputs: what the table pairs in the two recipes.

    Raises:
        Refused: they are not interchangeable; says every difference.
    """
    ours, theirs = parts_of(graph, native), parts_of(graph, cross)
    if theirs is None:
        return Admission(toolchain)
    if ours is None:
        raise Refused(
            Kind.TOOLCHAIN,
            f"`{cross.path.name}` has a compiler, but `{native.path.name}` has none: it is put"
            " together from other outputs",
        )
    if toolchain is None:
        raise Refused(
            Kind.TOOLCHAIN,
            f"the table does not say which libraries of `{ours.wrapper.path.name}` stand for those"
            f" of `{theirs.wrapper.path.name}`; scan a root that contains `{native.path.name}`",
        )
    undone = _undone(graph, ours, theirs) if ours.headers else []
    _check(graph, ours, theirs, undone)
    for one, other in _beside(graph, native, cross, inputs):
        _check(graph, one, other, [])
    headers: tuple[tuple[StorePath, StorePath], ...] = ()
    if ours.headers and theirs.headers and ours.headers != theirs.headers:
        headers = ((ours.headers, theirs.headers),)
    options = " ".join(_UNDONE[flag] for flag in undone)
    compiler = NativeCompiler(ours.program, ours.headers, options) if ours.headers else None
    runtime = tuple(
        (pair.native, pair.cross)
        for pair in toolchain.libraries
        if pair.slot in _RUNTIME and pair.native != pair.cross
    )
    notes = [f"{_UNDONE[flag]} takes back {flag} of the cross compiler" for flag in undone]
    return Admission(toolchain, headers, runtime, compiler, (*notes, *_notes(ours, theirs)))


def parts_of(graph: CrossGraph, recipe: Recipe) -> Parts | None:
    """The compiler and libc of a recipe's standard environment; None where it has no compiler."""
    stdenv = _maker(graph, recipe, "stdenv")
    if stdenv is None:
        return None
    for mentions in stdenv.mentions.values():
        for mention in mentions:
            found = _wrapper(graph, mention.derivation)
            if found is not None:
                return found
    return None


def _wrapper(graph: CrossGraph, path: StorePath | None) -> Parts | None:
    """What a compiler wrapper wraps; None where it is none."""
    if path is None:
        return None
    wrapper = graph.recipe(path)
    compiler = _maker(graph, wrapper, "cc")
    if compiler is None or not wrapper.variable("wrapperName"):
        return None
    headers = next((each.path for each in wrapper.mentions.get("libc_dev", ())), None)
    program = wrapper.mentions["cc"][0].path
    return Parts(wrapper, compiler, _maker(graph, wrapper, "libc_lib"), program, headers)


def _maker(graph: CrossGraph, recipe: Recipe, variable: str) -> Recipe | None:
    for mention in recipe.mentions.get(variable, ()):
        if mention.derivation is not None:
            return graph.recipe(mention.derivation)
    return None


def _check(graph: CrossGraph, ours: Parts, theirs: Parts, undone: list[str]) -> None:
    differences = list(_differences(graph, ours, theirs, undone))
    if differences:
        raise Refused(
            Kind.TOOLCHAIN,
            f"`{ours.wrapper.path.name}` and `{theirs.wrapper.path.name}` are not"
            f" interchangeable: {'; '.join(differences)}",
        )


def _beside(
    graph: CrossGraph, native: Recipe, cross: Recipe, inputs: Iterable[InputPair]
) -> Iterator[tuple[Parts, Parts]]:
    """Pairs of compilers for the target in slots of dependencies, such as gfortran's."""
    for pair in inputs:
        if pair.slot == "stdenv" or slot_of(pair.slot) is not Slot.BUILD:
            continue
        ours = _wrapper(graph, _maker_of(native, pair.slot, pair.native))
        theirs = _wrapper(graph, _maker_of(cross, pair.slot, pair.cross))
        if ours and theirs and graph.opaque(theirs.compiler.path):
            yield ours, theirs


def _maker_of(recipe: Recipe, variable: str, path: StorePath) -> StorePath | None:
    mentions = recipe.mentions.get(variable, ())
    return next((each.derivation for each in mentions if each.path == path), None)


def _undone(graph: CrossGraph, ours: Parts, theirs: Parts) -> list[str]:
    """Defaults of the cross compiler that the native one has not, and that options take back."""
    here, there = (_configured(graph, each.compiler).split() for each in (ours, theirs))
    return [flag for flag in there if flag in _UNDONE and flag not in here]


def _differences(graph: CrossGraph, ours: Parts, theirs: Parts, undone: list[str]) -> Iterator[str]:
    pairs = [(ours.compiler, theirs.compiler, _COMPILER), (ours.wrapper, theirs.wrapper, _WRAPPER)]
    if ours.libc and theirs.libc:
        pairs.append((ours.libc, theirs.libc, _LIBC))
    elif ours.libc or theirs.libc:
        yield "only one of them has a libc"
    for native, cross, rules in pairs:
        for what, read in rules:
            here, there = read(graph, native), read(graph, cross)
            if read is _configured:
                there = " ".join(flag for flag in there.split() if flag not in undone)
            if here != there:
                yield f"{what}: native `{here}`, cross `{there}`"


def _notes(ours: Parts, theirs: Parts) -> Iterator[str]:
    for what, native, cross in (
        ("compiler", ours.compiler, theirs.compiler),
        ("libc", ours.libc, theirs.libc),
    ):
        if native and cross:
            here, there = (set(each.variable("patches").split()) for each in (native, cross))
            names = sorted(StorePath(path).name for path in here ^ there)
            if names:
                yield f"only one {what} is patched by {', '.join(names)}"
