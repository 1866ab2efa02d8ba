"""Evaluated package sets, paired and planned once per test run: the shared corpus, and any others.

Other sets are held against the same invariants when `NIX_SHIM_GRAPHS` names them: pairs
`TABLE@DERIVATIONS`, as `nix-shim table scan` and `nix-shim plan` take both, with spaces between.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from protocol.store.path import StorePath
from shim.equivalence.file import load
from shim.equivalence.grades import Role
from shim.equivalence.pairing import pair
from shim.equivalence.source import Derivations
from shim.equivalence.table import Table
from shim.plant.plan import Decline, Plan
from shim.plant.planner import Planner
from tests.support.shared import shared

FOLDER = "corpus/aarch64-linux"


@dataclass(frozen=True)
class Corpus:
    """Derivations of both sides, their table, and a plan or refusal for every package."""

    derivations: Derivations
    table: Table
    truth: Mapping[str, Any]
    """Of the shared corpus; empty for others."""
    results: dict[StorePath, Plan | Decline]

    def native(self, attribute: str) -> StorePath:
        return StorePath.parse(self.truth["pairs"][attribute]["native"])

    def plan(self, attribute: str) -> Plan:
        found = self.results[self.native(attribute)]
        assert isinstance(found, Plan), found
        return found

    @property
    def triple(self) -> str:
        """Of the machine that results are for."""
        return self.table.provenance.triple

    @property
    def build_system(self) -> str:
        """Nix's name of the machine that builds."""
        return self.table.provenance.build_system

    @property
    def plans(self) -> list[Plan]:
        return [result for result in self.results.values() if isinstance(result, Plan)]


def roots(truth: Mapping[str, Any]) -> list[tuple[StorePath, StorePath]]:
    return [
        (StorePath.parse(each["native"]), StorePath.parse(each["cross"]))
        for each in truth["pairs"].values()
    ]


@cache
def corpus() -> Corpus:
    derivations = Derivations.open(shared(f"{FOLDER}/drvs.tar.zst"))
    truth = json.loads(shared(f"{FOLDER}/truth.json").read_text())
    table = pair(derivations, roots(truth))
    return planned(derivations, table, truth)


@cache
def others() -> tuple[Corpus, ...]:
    found = []
    for word in os.environ.get("NIX_SHIM_GRAPHS", "").split():
        table, _, where = word.partition("@")
        found.append(planned(Derivations.open(Path(where)), load(Path(table)), {}))
    return tuple(found)


def planned(derivations: Derivations, table: Table, truth: Mapping[str, Any]) -> Corpus:
    planner = Planner(table, derivations)
    packages = sorted(
        {
            entry.native
            for entry in table
            if entry.role is Role.HOST
            and entry.native_outputs != entry.cross_outputs
            and not derivations[entry.native].is_fixed
        }
    )
    return Corpus(derivations, table, truth, {path: planner.plan(path) for path in packages})
