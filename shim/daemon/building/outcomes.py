"""What became of an attempt: for the client, and for the daemon's memory."""

from dataclasses import dataclass

from protocol.store.build_result import BuildResult
from shim.gates.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Outcome:
    """A strategy that led to the outputs."""

    result: BuildResult
    told: str = ""
    """For the client, behind how long it took."""
    verdict: Verdict | None = None
    grade: str = ""
    """Kind of the key that signed the outputs."""
