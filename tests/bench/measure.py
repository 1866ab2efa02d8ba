"""Median rates of repeated runs, one line each."""

import statistics
import time
from collections.abc import Callable

RUNS = 5


def rate(
    what: str,
    unit: str,
    amount: float,
    run: Callable[[], object],
    least: float | None = None,
    runs: int = RUNS,
) -> float:
    """Print and return how much of `amount` passes per second.

    Args:
        what: what is measured.
        unit: of the amount.
        amount: how much one run handles.
        run: does it once.
        least: the rate that is asked for, if one is.
        runs: how often; the median counts.
    """
    rates = []
    for _ in range(runs):
        begin = time.perf_counter()
        run()
        rates.append(amount / (time.perf_counter() - begin))
    median = statistics.median(rates)
    asked = "" if least is None else f"   asked {least:,.0f}: {median / least:.1f} times that"
    spread = f"{min(rates):,.0f} to {max(rates):,.0f}"
    print(f"{what:<46} {median:>13,.0f} {unit}/s  ({spread}){asked}")
    return median
