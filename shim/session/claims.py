"""Whether a request may claim the output paths that it states.  Reads through a callback.

With its graph, a derivation's output paths are recomputed (`Claims`).  A flat one names its output
paths without evidence; what can be held against it is its own name, the hash of a fixed output, and
what is known of the derivation at its path from elsewhere: a table, or the store.

A `.drv` path follows from its content and so from everything below it: what was found out about
one holds for ever, and is kept.
"""

import json
import threading
from collections.abc import Mapping
from typing import Final

from protocol.errors import ProtocolError
from protocol.store.addressing import content_path
from protocol.store.derivation import (
    STRUCTURED,
    BasicDerivation,
    Derivation,
    FixedOutput,
    Recipe,
    output_path_name,
)
from protocol.store.modulo import HashModulo, check_outputs
from protocol.store.path import STORE_DIR, StorePath
from protocol.store.realisation import DrvOutput, Realisation
from shim.equivalence.source import Derivations, UnreadableDerivation

KEPT: Final = 100_000
"""Derivations about which knowledge is kept, some 100 bytes and two hashes each; when there are
more, all of it goes."""


class Claims:
    """Checks graphs of derivations.  May be asked from several threads; one is served at a time."""

    def __init__(self, store_dir: str = STORE_DIR) -> None:
        self._store_dir = store_dir
        self._lock = threading.Lock()
        self._graph: Derivations | None = None
        self._forget()

    def _forget(self) -> None:
        self._sound: set[StorePath] = set()
        self._ways = [
            HashModulo(self._read, self._store_dir, last_wins=last_wins)
            for last_wins in (False, True)
        ]

    def _read(self, path: StorePath) -> Derivation:
        assert self._graph is not None
        return self._graph[path]

    def objection(self, path: StorePath, graph: Derivations) -> str:
        """Why the derivation at `path`, or one below it, is not believed; empty if all are.

        Nix up to 2.7 hashed inputs of equal hash in another way, so either result will do.  An
        input that is missing is an objection: without it nothing follows.
        """
        with self._lock:
            if len(self._sound) > KEPT:
                self._forget()
            self._graph = graph
            try:
                return self._below(path)
            except UnreadableDerivation as error:
                return str(error)
            finally:
                self._graph = None

    def _below(self, path: StorePath) -> str:
        assert self._graph is not None
        seen = {path}
        fringe = [path]
        while fringe:
            each = fringe.pop()
            if each in self._sound:
                continue
            derivation = self._graph[each]
            fresh = derivation.input_derivations.keys() - seen
            seen |= fresh
            fringe += fresh
        for each in seen - self._sound:
            if why := self._forgery(self._graph[each]):
                return f"`{each.base}`: {why}"
            self._sound.add(each)
        return ""

    def _forgery(self, derivation: Derivation) -> str:
        why = ""
        for modulo in self._ways:
            try:
                check_outputs(derivation, modulo)
            except UnreadableDerivation:
                raise
            except ProtocolError as error:
                why = why or str(error)
            else:
                return ""
        return why

    def realisations(
        self, derivation: Derivation, wanted: Mapping[str, StorePath], graph: Derivations
    ) -> dict[str, Realisation]:
        """Outputs as results name them: by the hash modulo of their derivation.

        Raises:
            UnreadableDerivation: one below it is missing.
        """
        with self._lock:
            self._graph = graph
            try:
                hashes = self._ways[0].masked(derivation).hashes
            finally:
                self._graph = None
        return {
            name: Realisation(DrvOutput.of(hashes[name], name), path)
            for name, path in wanted.items()
        }


def flat_objection(path: StorePath, derivation: BasicDerivation, store_dir: str) -> str:
    """Why a flat derivation contradicts itself; empty if it does not.

    Args:
        path: its `.drv`, which gives it its name.
        derivation: as the client sent it.
        store_dir: where its paths lie.
    """
    name = path.name.removesuffix(".drv")
    for output, stated in derivation.output_paths().items():
        expected = output_path_name(name, output)
        if stated.name != expected:
            return (
                f"its output `{output}` is stated as `{stated}`, but would be called `{expected}`"
            )
    for output, kind in derivation.outputs.items():
        if isinstance(kind, FixedOutput):
            follows = content_path(
                output_path_name(name, output), kind.content, store_dir=store_dir
            )
            if follows != kind.path:
                return f"`{kind.path}` is stated, but its hash leads to `{follows}`"
    return ""


def contradiction(flat: Recipe, known: Derivation) -> str:
    """How a flat derivation differs from the one that is known by its path; empty if it does not.

    Inputs are not compared: the flat form has paths where the other has derivations, and more of
    them (`BuildRemote`: the whole closure that the client copied).
    """
    if flat.outputs != known.outputs:
        return "its outputs are others"
    for field in ("platform", "builder", "args"):
        if getattr(flat, field) != getattr(known, field):
            return f"its {field} is another: `{getattr(flat, field)}`"
    for name in sorted(flat.env.keys() | known.env.keys()):
        ours, theirs = known.env.get(name), flat.env.get(name)
        if ours != theirs and not (name == STRUCTURED and _same_json(ours, theirs)):
            return f"its variable `{name}` is another"
    return ""


def _same_json(one: str | None, other: str | None) -> bool:
    """Whether two texts hold the same value: Nix since 2.31 writes the attributes anew."""
    if one is None or other is None:
        return False
    try:
        return bool(json.loads(one) == json.loads(other))
    except (ValueError, RecursionError):
        return False
