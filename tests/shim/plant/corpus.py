"""The shared corpus, paired and planned once per test run."""

import json
from dataclasses import dataclass
from functools import cache
from typing import Any

from protocol.store.path import StorePath
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
    truth: dict[str, Any]
    results: dict[StorePath, Plan | Decline]

    def native(self, attribute: str) -> StorePath:
        return StorePath.parse(self.truth["pairs"][attribute]["native"])

    def plan(self, attribute: str) -> Plan:
        found = self.results[self.native(attribute)]
        assert isinstance(found, Plan), found
        return found

    @property
    def plans(self) -> list[Plan]:
        return [result for result in self.results.values() if isinstance(result, Plan)]


def roots(truth: dict[str, Any]) -> list[tuple[StorePath, StorePath]]:
    return [
        (StorePath.parse(each["native"]), StorePath.parse(each["cross"]))
        for each in truth["pairs"].values()
    ]


@cache
def corpus() -> Corpus:
    derivations = Derivations.open(shared(f"{FOLDER}/drvs.tar.zst"))
    truth = json.loads(shared(f"{FOLDER}/truth.json").read_text())
    table = pair(derivations, roots(truth))
    planner = Planner(table, derivations)
    packages = sorted(
        {
            entry.native
            for entry in table
            if entry.role is Role.HOST and not derivations[entry.native].is_fixed
        }
    )
    return Corpus(derivations, table, truth, {path: planner.plan(path) for path in packages})
