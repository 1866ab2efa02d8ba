"""Hash modulo: recompute the paths of derivations and of their outputs.  Reads through a callback.

The hash of a derivation leaves out how its fixed-output inputs are fetched:

* a fixed output hashes as `fixed:out:<method><algorithm>:<base 16>:<path>`;
* any other derivation hashes as its text, in which the base-16 hash modulo of each input stands for
  its path, and inputs of equal hash are one; for its own output paths only, never as an input of
  another, its output paths are *masked*: empty in the outputs and in the variables of their names;
* a derivation is *deferred* where it, or any input, is floating, impure, deferred or dynamic: no
  path follows from its hash.

Where inputs of equal hash want different outputs, Nix up to 2.7 and Nix 2.35 keep those of the last
one; all others, and this module unless told otherwise, keep all.  Checked against Nix's
`hashDerivationModulo` of 2.3, 2.8, 2.18, 2.34 and `derivation::modulo` of 2.36.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from protocol.errors import inside
from protocol.store.addressing import content_path, output_path, text_path
from protocol.store.aterm import unparse, unparse_with
from protocol.store.content_address import ContentAddress
from protocol.store.derivation import (
    STRUCTURED,
    BadDerivation,
    Deferred,
    Derivation,
    FixedOutput,
    Floating,
    Impure,
    InputAddressed,
    InputOutputs,
    Output,
    output_path_name,
)
from protocol.store.hash import Hash
from protocol.store.path import DERIVATION_SUFFIX, STORE_DIR, StorePath

_NO_PATH: Final = Deferred()


@dataclass(frozen=True, slots=True)
class Modulo:
    """The hash of a derivation by output; the same for all outputs where it is not fixed."""

    hashes: Mapping[str, Hash]
    deferred: bool
    """Whether no output path follows from the hashes."""


class HashModulo:
    """Hashes of a graph of derivations, each computed once."""

    def __init__(
        self,
        read: Callable[[StorePath], Derivation],
        store_dir: str = STORE_DIR,
        *,
        last_wins: bool = False,
    ) -> None:
        """Hash derivations that `read` finds.

        Args:
            read: gives the derivation at a path; whatever it raises passes through.
            store_dir: where output paths lie.
            last_wins: whether inputs of equal hash are treated as Nix up to 2.7 did.
        """
        self.store_dir = store_dir
        self._read = read
        self._last_wins = last_wins
        self._known: dict[StorePath, Modulo] = {}

    def of(self, path: StorePath) -> Modulo:
        """The hash of the derivation at a path, as it enters those that use it: not masked.

        Raises:
            BadDerivation: an input uses an output that is not there, or the graph has a cycle.
        """
        # Graphs are hundreds of levels deep, more than Python calls nest: walk with a stack.
        open_paths: dict[StorePath, Derivation] = {}
        stack = [path]
        while stack:
            current = stack[-1]
            if current in self._known:
                stack.pop()
                continue
            derivation = open_paths.get(current)
            if derivation is None:
                derivation = open_paths[current] = self._read(current)
                missing = self._missing(derivation)
                if not open_paths.keys().isdisjoint(missing):
                    raise BadDerivation(f"the inputs of `{current}` lead back to it")
                if missing:
                    stack += missing
                    continue
            with inside(current.base):
                self._known[current] = self._hash(derivation, masked=False)
            del open_paths[current]
            stack.pop()
        return self._known[path]

    def masked(self, derivation: Derivation) -> Modulo:
        """The hash that a derivation's own output paths and output ids are made of.

        Raises:
            BadDerivation: as `of`.
        """
        for path in self._missing(derivation):
            self.of(path)
        return self._hash(derivation, masked=True)

    def _missing(self, derivation: Derivation) -> list[StorePath]:
        if derivation.is_fixed:
            return []
        return [path for path in derivation.input_derivations if path not in self._known]

    def _hash(self, derivation: Derivation, *, masked: bool) -> Modulo:
        outputs = derivation.outputs
        if derivation.is_fixed:
            return Modulo(
                {
                    name: _fixed_hash(output)
                    for name, output in outputs.items()
                    if isinstance(output, FixedOutput)
                },
                deferred=False,
            )
        # An output without a path may be deferred for no reason: only its inputs tell.
        deferred = not all(isinstance(kind, InputAddressed | Deferred) for kind in outputs.values())
        inputs: dict[str, frozenset[str]] = {}
        for path in sorted(derivation.input_derivations):
            wanted = derivation.input_derivations[path]
            known = self._known[path]
            deferred = deferred or known.deferred or bool(wanted.children)
            for digest, names in _by_hash(path, known, wanted).items():
                merged = frozenset() if self._last_wins else inputs.get(digest, frozenset())
                inputs[digest] = merged | names
        env = derivation.env
        shown: Mapping[str, Output] = outputs
        if masked:
            shown = {
                name: _NO_PATH if isinstance(output, InputAddressed) else output
                for name, output in outputs.items()
            }
            env = {name: "" if name in outputs else value for name, value in env.items()}
        text = unparse_with(
            derivation,
            {digest: InputOutputs(names) for digest, names in inputs.items()},
            shown,
            env,
        )
        return Modulo(dict.fromkeys(outputs, Hash.of(text)), deferred)


def derivation_path(derivation: Derivation, store_dir: str = STORE_DIR) -> StorePath:
    """The path of a derivation's own `.drv` file."""
    return text_path(
        derivation.name + DERIVATION_SUFFIX,
        unparse(derivation),
        derivation.input_sources | derivation.input_derivations.keys(),
        store_dir,
    )


def expected_outputs(derivation: Derivation, modulo: HashModulo) -> dict[str, StorePath]:
    """The paths that follow from a derivation, by output; without those known after the build only.

    Raises:
        BadDerivation: a path is stated although the inputs are deferred, or as `HashModulo.of`.
    """
    expected: dict[str, StorePath] = {}
    hashes: Modulo | None = None
    for name, output in derivation.outputs.items():
        with inside("outputs"), inside(name):
            match output:
                case FixedOutput(_, content):
                    expected[name] = _fixed_path(derivation, name, content, modulo.store_dir)
                case InputAddressed() | Deferred():
                    hashes = hashes or modulo.masked(derivation)
                    if not hashes.deferred:
                        digest = hashes.hashes[name]
                        expected[name] = output_path(
                            derivation.name, name, digest, modulo.store_dir
                        )
                    elif isinstance(output, InputAddressed):
                        raise BadDerivation(
                            f"a path is stated, but no path of an input is known yet: "
                            f"`{output.path}`"
                        )
                case _:
                    pass  # floating and impure: known after the build
    return expected


def with_outputs(derivation: Derivation, modulo: HashModulo) -> Derivation:
    """The derivation with the output paths that follow from it, in `outputs` and in `env`.

    Deferred outputs become input-addressed where their path can be known after all.  A variable is
    added for each output, except beside structured attributes: there only existing ones are set, as
    Nix 2.3 wrote none.

    Raises:
        BadDerivation: as `HashModulo.of`.
    """
    # The variables count although their values are masked: they have to be there beforehand, as
    # they are when Nix evaluates.
    env = dict(derivation.env)
    outputs: dict[str, Output] = {}
    for name, output in derivation.outputs.items():
        outputs[name] = output
        if isinstance(output, Floating | Impure):
            continue  # their variables hold placeholders
        if isinstance(output, InputAddressed):
            outputs[name] = _NO_PATH
        if name in env or STRUCTURED not in env:
            env[name] = ""
    expected = expected_outputs(replace(derivation, outputs=outputs, env=env), modulo)
    for name, path in expected.items():
        output = outputs[name]
        if isinstance(output, FixedOutput):
            outputs[name] = replace(output, path=path)
        else:
            outputs[name] = InputAddressed(path)
        if name in env:
            env[name] = path
    return replace(derivation, outputs=outputs, env=env)


def check_outputs(derivation: Derivation, modulo: HashModulo) -> None:
    """Refuse a derivation that states other output paths than follow from it.

    Raises:
        BadDerivation: a path in `outputs`, or in the variable of an output's name, is another one;
            `.path` names it; or it has no outputs.
    """
    if not derivation.outputs:
        raise BadDerivation("a derivation needs an output")
    for name, expected in expected_outputs(derivation, modulo).items():
        stated = derivation.output_paths().get(name)
        if stated is None:
            continue
        if stated != expected:
            raise _other_path(("outputs", name), stated, expected)
        variable = derivation.env.get(name, expected)
        if variable != expected:
            raise _other_path(("env", name), variable, expected)


def _by_hash(path: StorePath, known: Modulo, wanted: InputOutputs) -> dict[str, frozenset[str]]:
    """The wanted outputs by base-16 hash."""
    grouped: dict[str, frozenset[str]] = {}
    for name in wanted.outputs:
        digest = known.hashes.get(name)
        if digest is None:
            raise BadDerivation(f"`{path}` has no output `{name}`")
        text = digest.base16()
        grouped[text] = grouped.get(text, frozenset()) | {name}
    return grouped


def _fixed_hash(output: FixedOutput) -> Hash:
    content = output.content
    digest = content.hash
    text = f"fixed:out:{content.method.prefix}{digest.algorithm}:{digest.base16()}:{output.path}"
    return Hash.of(text.encode())


def _fixed_path(
    derivation: Derivation, output: str, content: ContentAddress, store_dir: str
) -> StorePath:
    name = output_path_name(derivation.name, output)
    return content_path(name, content, store_dir=store_dir)


def _other_path(where: tuple[str, str], stated: str, expected: StorePath) -> BadDerivation:
    error = BadDerivation(f"`{stated}` is stated, but `{expected}` follows from the derivation")
    error.path = where
    return error
