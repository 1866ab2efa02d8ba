"""The table of operations: what becomes of each when an operator asks, and when a peer does.

An operator (a local user that the configuration trusts) gets what the nix-daemon would give to a
trusted user.  A peer (a board) speaks through our trusted connection, so whatever a nix-daemon
would deny to an untrusted user has to be denied here (`nix::daemon::performOp`, the checks on
`trusted`), and so has what would let one board disturb the others.
"""

from enum import StrEnum
from typing import Final


class Route(StrEnum):
    """What becomes of an operation."""

    RELAY = "relay"
    """Passed to the serving nix-daemon, its answer passed back."""
    JUDGE = "judge"
    """A build: foreign derivations go to the planner, the rest is relayed."""
    ABSORB = "absorb"
    """Answered as done, without effect."""
    REFUSE = "refuse"
    """Answered with an error; the connection goes on."""


class Standing(StrEnum):
    """Who is at the other end of a session."""

    OPERATOR = "operator"
    PEER = "peer"


OPERATOR: Final = {
    "BuildDerivation": Route.JUDGE,
    "BuildPaths": Route.JUDGE,
    "BuildPathsWithResults": Route.JUDGE,
}
"""Everything else an operator asks is relayed."""

PEER: Final = {
    "AddBuildLog": Route.REFUSE,
    "AddIndirectRoot": Route.REFUSE,
    "AddMultipleToStore": Route.RELAY,
    "AddPermRoot": Route.REFUSE,
    "AddSignatures": Route.REFUSE,
    "AddTempRoot": Route.RELAY,
    "AddTextToStore": Route.RELAY,
    "AddToStore": Route.RELAY,
    "AddToStoreNar": Route.RELAY,
    "BuildDerivation": Route.JUDGE,
    "BuildPaths": Route.JUDGE,
    "BuildPathsWithResults": Route.JUDGE,
    "CollectGarbage": Route.REFUSE,
    "EnsurePath": Route.RELAY,
    "ExportPath": Route.RELAY,
    "FindRoots": Route.REFUSE,
    "HasSubstitutes": Route.RELAY,
    "ImportPaths": Route.REFUSE,
    "IsValidPath": Route.RELAY,
    "NarFromPath": Route.RELAY,
    "OptimiseStore": Route.REFUSE,
    "QueryAllValidPaths": Route.RELAY,
    "QueryDerivationOutputMap": Route.RELAY,
    "QueryDerivationOutputNames": Route.RELAY,
    "QueryDerivationOutputs": Route.RELAY,
    "QueryDeriver": Route.RELAY,
    "QueryMissing": Route.RELAY,
    "QueryPathFromHashPart": Route.RELAY,
    "QueryPathHash": Route.RELAY,
    "QueryPathInfo": Route.RELAY,
    "QueryRealisation": Route.RELAY,
    "QueryReferences": Route.RELAY,
    "QueryReferrers": Route.RELAY,
    "QuerySubstitutablePathInfo": Route.RELAY,
    "QuerySubstitutablePathInfos": Route.RELAY,
    "QuerySubstitutablePaths": Route.RELAY,
    "QueryValidDerivers": Route.RELAY,
    "QueryValidPaths": Route.RELAY,
    "RegisterDrvOutput": Route.REFUSE,
    "SetOptions": Route.ABSORB,
    "SyncWithGC": Route.RELAY,
    "VerifyStore": Route.REFUSE,
}
"""Every operation that a peer may name; one that is missing here is refused."""


def route(operation: str, standing: Standing) -> Route:
    """What becomes of `operation` (its name in the registry) for that kind of client."""
    match standing:
        case Standing.OPERATOR:
            return OPERATOR.get(operation, Route.RELAY)
        case Standing.PEER:
            return PEER.get(operation, Route.REFUSE)
