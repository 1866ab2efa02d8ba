"""Exact names of built outputs, for clients that insist on them.  Judges nothing.

Nix since 2.35 no longer computes the hash that an output was named by, and tells peers without
`realisation-with-path-not-hash` zeroes in its place.  Build hooks up to 2.15 look for the exact
name of a content-addressed output and abort without (`build-remote`); later ones look at what
stands behind the `!` only.

A flat derivation says all that is needed: a builder of earlier releases has no more either.
"""

from dataclasses import replace

from protocol.store.build_result import BuildResult
from protocol.store.derivation import BasicDerivation, Derivation
from protocol.store.modulo import HashModulo
from protocol.store.path import StorePath
from protocol.store.realisation import DrvOutput, Realisation, UnkeyedRealisation


def output_names(derivation: BasicDerivation) -> dict[str, DrvOutput]:
    """How builders up to 2.34 name the outputs of a flat derivation, by output."""
    whole = Derivation(
        name="flat",  # not part of what is hashed
        outputs=derivation.outputs,
        input_derivations={},
        input_sources=derivation.input_sources,
        platform=derivation.platform,
        builder=derivation.builder,
        args=derivation.args,
        env=derivation.env,
    )
    hashes = HashModulo(_no_inputs).masked(whole).hashes
    return {name: DrvOutput.of(digest, name) for name, digest in hashes.items()}


def named(result: BuildResult, derivation: BasicDerivation) -> BuildResult:
    """The result with a name for every output that the builder told none of."""
    told = result.built_outputs
    if not any(_is_nameless(name, each) for name, each in told.items()):
        return result
    names = output_names(derivation)
    return replace(
        result,
        built_outputs={
            name: Realisation(names[name], each.out_path, each.signatures)
            if name in names and _is_nameless(name, each)
            else each
            for name, each in told.items()
        },
    )


def _is_nameless(output: str, told: Realisation | UnkeyedRealisation) -> bool:
    return isinstance(told, UnkeyedRealisation) or told.id == DrvOutput.unknown(output)


def _no_inputs(path: StorePath) -> Derivation:
    raise AssertionError(f"a flat derivation has no input `{path}`")
