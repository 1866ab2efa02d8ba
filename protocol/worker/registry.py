"""The table of operations: number -> row.  The rows hang on the requests of `worker.messages`."""

from typing import Final

from protocol.wire.operation import Registry
from protocol.worker import messages

REGISTRY: Final = Registry(
    (
        messages.IsValidPath,
        messages.HasSubstitutes,
        messages.QueryPathHash,
        messages.QueryReferences,
        messages.QueryReferrers,
        messages.AddToStore,
        messages.AddTextToStore,
        messages.BuildPaths,
        messages.EnsurePath,
        messages.AddTempRoot,
        messages.AddIndirectRoot,
        messages.SyncWithGC,
        messages.FindRoots,
        messages.ExportPath,
        messages.QueryDeriver,
        messages.SetOptions,
        messages.CollectGarbage,
        messages.QuerySubstitutablePathInfo,
        messages.QueryDerivationOutputs,
        messages.QueryAllValidPaths,
        messages.QueryFailedPaths,
        messages.ClearFailedPaths,
        messages.QueryPathInfo,
        messages.ImportPaths,
        messages.QueryDerivationOutputNames,
        messages.QueryPathFromHashPart,
        messages.QuerySubstitutablePathInfos,
        messages.QueryValidPaths,
        messages.QuerySubstitutablePaths,
        messages.QueryValidDerivers,
        messages.OptimiseStore,
        messages.VerifyStore,
        messages.BuildDerivation,
        messages.AddSignatures,
        messages.NarFromPath,
        messages.AddToStoreNar,
        messages.QueryMissing,
        messages.QueryDerivationOutputMap,
        messages.RegisterDrvOutput,
        messages.QueryRealisation,
        messages.AddMultipleToStore,
        messages.AddBuildLog,
        messages.BuildPathsWithResults,
        messages.AddPermRoot,
        messages.SubmitOutput,
        messages.AddToStoreScanning,
    )
)
"""Every operation that any version of 1.21 to 1.38 or any feature has, and two that were gone."""
