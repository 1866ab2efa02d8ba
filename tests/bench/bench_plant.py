"""How fast plans are made, on the shared corpus.

Run as `python -m tests.bench.bench_plant`.  *cold*: a new planner that has parsed nothing, for the
package with the largest closure; reading the archive and pairing are not in it.  *warm*: every
package once more by a planner that has made a plan with the same toolchain before.  Printed are the
median and the range of the runs, in seconds of processor time: planning does no I/O.
"""

import statistics
import time
from collections.abc import Callable
from functools import partial

from protocol.store.path import StorePath
from shim.equivalence.source import Derivations
from shim.plant.counterparts import Neighbourhood
from shim.plant.planner import Planner
from tests.shim.plant.corpus import FOLDER, corpus
from tests.support.shared import shared

RUNS = 5


def seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def show(what: str, found: list[float]) -> None:
    median, low, high = (1e3 * x for x in (statistics.median(found), min(found), max(found)))
    print(f"{what:44} {median:8.1f} ms  ({low:.1f} to {high:.1f})")


def cold(path: StorePath) -> float:
    derivations = Derivations.open(shared(f"{FOLDER}/drvs.tar.zst"))
    return seconds(lambda: Planner(corpus().table, derivations).plan(path))


def main() -> None:
    known = corpus()
    sizes = {
        plan.native: len(Neighbourhood(known.derivations, plan.native).distances)
        for plan in known.plans
    }
    largest = max(sizes, key=lambda path: (sizes[path], path))
    show(
        f"cold, {largest.name} ({sizes[largest]} derivations)",
        [cold(largest) for _ in range(RUNS)],
    )
    planner = Planner(known.table, known.derivations)
    planner.plan(known.native("zlib"))
    planner.plan(known.native("jq"))
    warm = [seconds(partial(planner.plan, path)) for path in sizes]
    show(f"warm, first plan of each of {len(sizes)} packages", warm)
    again = [seconds(partial(planner.plan, path)) for path in sizes]
    show("warm, the same plans again", again)


if __name__ == "__main__":
    main()
