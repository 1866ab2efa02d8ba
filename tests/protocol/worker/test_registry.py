"""The table of operations against one that was written by hand from the specification."""

from protocol.version import ADD_TO_STORE_SCANNING, SUBMIT_OUTPUT, Dialect, Number
from protocol.worker.registry import REGISTRY
from protocol.worker.versions import NEWEST, OLDEST

# number, name, first minor version (0: before all that is known), last one (None: the newest)
MANIFEST = [
    (1, "IsValidPath", 0, None),
    (3, "HasSubstitutes", 0, None),
    (4, "QueryPathHash", 0, None),
    (5, "QueryReferences", 0, None),
    (6, "QueryReferrers", 0, None),
    (7, "AddToStore", 0, None),
    (8, "AddTextToStore", 0, None),
    (9, "BuildPaths", 0, None),
    (10, "EnsurePath", 0, None),
    (11, "AddTempRoot", 0, None),
    (12, "AddIndirectRoot", 0, None),
    (13, "SyncWithGC", 0, None),
    (14, "FindRoots", 0, None),
    (16, "ExportPath", 0, None),
    (18, "QueryDeriver", 0, None),
    (19, "SetOptions", 0, None),
    (20, "CollectGarbage", 0, None),
    (21, "QuerySubstitutablePathInfo", 0, None),
    (22, "QueryDerivationOutputs", 0, None),
    (23, "QueryAllValidPaths", 0, None),
    (24, "QueryFailedPaths", 0, 20),
    (25, "ClearFailedPaths", 0, 20),
    (26, "QueryPathInfo", 17, None),
    (27, "ImportPaths", 0, None),
    (28, "QueryDerivationOutputNames", 0, None),
    (29, "QueryPathFromHashPart", 11, None),
    (30, "QuerySubstitutablePathInfos", 12, None),
    (31, "QueryValidPaths", 12, None),
    (32, "QuerySubstitutablePaths", 12, None),
    (33, "QueryValidDerivers", 13, None),
    (34, "OptimiseStore", 14, None),
    (35, "VerifyStore", 14, None),
    (36, "BuildDerivation", 14, None),
    (37, "AddSignatures", 16, None),
    (38, "NarFromPath", 17, None),
    (39, "AddToStoreNar", 17, None),
    (40, "QueryMissing", 19, None),
    (41, "QueryDerivationOutputMap", 22, None),
    (42, "RegisterDrvOutput", 27, None),
    (43, "QueryRealisation", 27, None),
    (44, "AddMultipleToStore", 32, None),
    (45, "AddBuildLog", 32, None),
    (46, "BuildPathsWithResults", 34, None),
    (47, "AddPermRoot", 36, None),
    (1000, "SubmitOutput", 0, None),
    (1001, "AddToStoreScanning", 0, None),
]

FEATURES = {"SubmitOutput": SUBMIT_OUTPUT, "AddToStoreScanning": ADD_TO_STORE_SCANNING}


def test_the_registry_is_the_manifest() -> None:
    assert sorted(
        (
            row.code,
            row.name,
            row.gate.since.minor if row.gate.since else 0,
            row.gate.until.minor if row.gate.until else None,
        )
        for row in REGISTRY.by_code.values()
    ) == [(code, name, since, until) for code, name, since, until in MANIFEST]


def test_features_are_the_manifests() -> None:
    assert {
        row.name: row.gate.needs for row in REGISTRY.by_code.values() if row.gate.needs
    } == FEATURES


def test_the_oldest_and_the_newest_version_have_what_they_should() -> None:
    def names(number: Number) -> set[str]:
        dialect = Dialect(number)
        return {row.name for row in REGISTRY.by_code.values() if row.exists(dialect)}

    assert names(NEWEST) - names(OLDEST) == {
        "QueryDerivationOutputMap",
        "RegisterDrvOutput",
        "QueryRealisation",
        "AddMultipleToStore",
        "AddBuildLog",
        "BuildPathsWithResults",
        "AddPermRoot",
    }
    assert names(OLDEST) <= names(NEWEST)
