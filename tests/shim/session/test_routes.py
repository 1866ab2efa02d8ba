"""The table of operations: nothing is missing from it, and nothing harmful is let in."""

import pytest

from protocol.worker import messages
from shim.session.routes import PEER, WHY, Route, Standing, refusal, route

NEVER_FOR_PEERS = (
    "AddBuildLog",
    "AddIndirectRoot",
    "AddPermRoot",
    "AddSignatures",
    "CollectGarbage",
    "FindRoots",
    "OptimiseStore",
    "RegisterDrvOutput",
    "VerifyStore",
)

ONLY_WITHIN_BUILDS = {"AddToStoreScanning", "SubmitOutput"}
GONE = {"ClearFailedPaths", "QueryFailedPaths"}


@pytest.mark.parametrize("operation", NEVER_FOR_PEERS)
def test_a_peer_may_not_disturb_others(operation: str) -> None:
    assert route(operation, Standing.PEER) is Route.REFUSE


@pytest.mark.parametrize("operation", sorted(PEER))
def test_an_operator_is_refused_nothing(operation: str) -> None:
    assert route(operation, Standing.OPERATOR) in {Route.RELAY, Route.JUDGE}
    assert route(operation, Standing.OPERATOR, judged=False) is Route.RELAY


def test_the_table_has_every_operation_that_clients_send() -> None:
    known = {
        each.operation.name
        for name in messages.__all__
        if hasattr(each := getattr(messages, name), "operation")
    }
    assert known - PEER.keys() == ONLY_WITHIN_BUILDS | GONE
    assert PEER.keys() <= known


@pytest.mark.parametrize("operation", sorted(ONLY_WITHIN_BUILDS | GONE))
def test_what_the_table_does_not_have_is_refused_to_peers(operation: str) -> None:
    assert route(operation, Standing.PEER) is Route.REFUSE


@pytest.mark.parametrize("standing", list(Standing))
def test_builds_are_judged_whoever_asks(standing: Standing) -> None:
    for operation in ("BuildDerivation", "BuildPaths", "BuildPathsWithResults"):
        assert route(operation, standing) is Route.JUDGE


def test_every_refusal_has_its_reason() -> None:
    refused = {name for name, found in PEER.items() if found is Route.REFUSE}
    assert WHY.keys() == refused
    assert refusal("CollectGarbage").endswith("by the operator of this machine")
    assert "not known here" in refusal("SubmitOutput")
