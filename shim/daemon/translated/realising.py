"""`nix-store --realise`, and `nix build` of what is there: build, make roots, print.

Checked against Nix's `opRealise`, `realisePath`, `printMissing`, `Worker::failingExitStatus` and
`createOutLinks`.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from protocol.store.build_result import BuildResult, BuildStatus
from protocol.store.derived_path import ALL_OUTPUTS, Built, DerivedPath, Opaque
from protocol.store.path import StorePath
from protocol.worker.messages import (
    AddTempRoot,
    BuildMode,
    BuildPathsWithResults,
    QueryMissing,
    SetOptions,
)
from protocol.worker.results import Missing
from protocol.worker.stderr import LogMessage, Verbosity
from shim.daemon.clients.asking import Store, Unanswered
from shim.daemon.nix.upstream import Upstream
from shim.daemon.translated.framed import Framed, shown
from shim.daemon.translated.roots import Roots
from shim.session.commands import Code, Printed, Realise, Settings, Target

_CODES: Final[Mapping[BuildStatus, Code]] = {
    BuildStatus.TIMED_OUT: Code.TIMED_OUT,
    BuildStatus.OUTPUT_REJECTED: Code.HASH_MISMATCH,
    BuildStatus.NOT_DETERMINISTIC: Code.NOT_DETERMINISTIC,
}
"""Exit codes of builds that failed in a way of their own."""

WARNING: Final = (
    "warning: you did not specify '--add-root';"
    " the result might be removed by the garbage collector\n"
)

MIB: Final = 1 << 20


class BuildFailed(Exception):
    """Something could not be realised; the message is for the user, one line or more."""

    def __init__(self, message: str, code: Code) -> None:
        super().__init__(message)
        self.code = code


class Builder:
    """Realises through the session of a peer, and tells it on its standard error."""

    def __init__(
        self, framed: Framed, upstream: Upstream, roots: Roots, settings: Settings
    ) -> None:
        self._framed = framed
        self._upstream = upstream
        self._roots = roots
        self._settings = settings

    async def realise(self, command: Realise, targets: Sequence[tuple[StorePath, Target]]) -> None:
        """Carry out `command`, whose targets are at these paths.

        Raises:
            BuildFailed: not everything could be realised.
            Unanswered: a root cannot be made, or a derivation has no such output.
            DaemonRefused, DaemonLost: the session fails.
        """
        wanted = [_derived(path, target) for path, target in targets]
        missing = await self._upstream.ask(QueryMissing(tuple(wanted)))
        if command.ignore_unknown:
            left = [index for index, (path, _) in enumerate(targets) if path not in missing.unknown]
            wanted, targets = [wanted[at] for at in left], [targets[at] for at in left]
        elif self._settings.verbosity >= Verbosity.INFO:
            await self._tell(missing)
        if command.dry_run:
            return
        await self.bring(wanted, BuildMode.CHECK if command.check else BuildMode.NORMAL)
        if not command.ignore_unknown:
            await self._finish(command, targets)

    async def bring(
        self, wanted: Sequence[DerivedPath], mode: BuildMode = BuildMode.NORMAL
    ) -> None:
        """Build or fetch all of `wanted`.

        Raises:
            BuildFailed: not everything could be realised.
        """
        settings = self._settings
        await self._upstream.ask(
            SetOptions(
                keep_failed=settings.keep_failed,
                keep_going=settings.keep_going,
                verbosity=settings.verbosity,
                max_silent_time=settings.max_silent_time,
                verbose_build=Verbosity.ERROR,
                overrides={"timeout": str(settings.timeout)} if settings.timeout else {},
            )
        )
        results = await self._upstream.ask(
            BuildPathsWithResults(tuple(wanted), mode), listen=self._listen, builds=True
        )
        failed = [(path, result) for path, result in results if not result.is_success]
        if failed:
            message = "\n".join(
                f"error: {result.error_message or result.status.name}" for _, result in failed
            )
            raise BuildFailed(message, max(_code(path, result) for path, result in failed))

    async def _listen(self, message: LogMessage) -> None:
        settings = self._settings
        if text := shown(message, settings.verbosity, build_output=settings.build_output):
            await self._framed.say(text)

    async def _finish(self, command: Realise, targets: Sequence[tuple[StorePath, Target]]) -> None:
        """Make the roots, and print what is to be printed."""
        store = Store(self._upstream)
        if (
            command.root is None
            and command.printed is not Printed.PATHS
            and (self._settings.gc_warning)
        ):
            await self._framed.say(WARNING)
        for number, (path, target) in enumerate(targets):
            made = await _outputs(path, target, store)
            lines = []
            for output, place in made.items():
                name = _root(command, number, output)
                root = await self._protect(name, place) if name is not None else place
                lines.append(root if command.printed is Printed.ROOTS else place)
            if command.printed is Printed.ROOTS:
                lines = sorted(set(lines))
            if command.printed is not Printed.NOTHING:
                await self._framed.write("".join(f"{line}\n" for line in lines).encode())

    async def _protect(self, name: str, path: StorePath) -> str:
        # Until the link is there, nothing else keeps a garbage collector from the path.
        await self._upstream.ask(AddTempRoot(path))
        return self._roots.add(name, path)

    async def _tell(self, missing: Missing) -> None:
        """What has to be done, in Nix's words."""
        lines = []
        if built := missing.will_build:
            lines.append(
                "this derivation will be built:"
                if len(built) == 1
                else f"these {len(built)} derivations will be built:"
            )
            lines += [f"  {path}" for path in await Store(self._upstream).in_order(built)]
        if fetched := missing.will_substitute:
            sizes = (
                f"({missing.download_size / MIB:.2f} MiB download,"
                f" {missing.nar_size / MIB:.2f} MiB unpacked):"
            )
            lines.append(
                f"this path will be fetched {sizes}"
                if len(fetched) == 1
                else f"these {len(fetched)} paths will be fetched {sizes}"
            )
            lines += [f"  {path}" for path in sorted(fetched, key=lambda each: (each.name, each))]
        if missing.unknown:
            lines.append("don't know how to build these paths:")
            lines += [f"  {path}" for path in sorted(missing.unknown)]
        if lines:
            await self._framed.say("".join(f"{line}\n" for line in lines))


def _derived(path: StorePath, target: Target) -> DerivedPath:
    return Built(path, target.outputs or ALL_OUTPUTS) if path.is_derivation else Opaque(path)


def _code(path: DerivedPath, result: BuildResult) -> Code:
    if isinstance(path, Opaque):
        return Code.FAILED
    return _CODES.get(result.status, Code.BUILD_FAILED)


async def _outputs(path: StorePath, target: Target, store: Store) -> dict[str, StorePath]:
    """What was asked for, by name of output: `out` for a path that is no derivation."""
    if not path.is_derivation:
        return {"out": path}
    known = await store.outputs(path)
    made = {}
    for name in sorted(target.outputs or known):
        if name not in known:
            raise Unanswered(f"derivation '{path}' does not have an output named '{name}'")
        place = known[name]
        if place is None:
            raise Unanswered(f"nobody knows where the output '{name}' of '{path}' is")
        made[name] = place
    return made


def _root(command: Realise, number: int, output: str) -> str | None:
    """The name of the root for an output of a target; None where none is wanted."""
    if command.root is None:
        return None
    if number == 0:
        counted = ""
    elif command.printed is Printed.ROOTS:
        counted = f"-{number + 1}"
    else:  # `nix build` counts from 0
        counted = f"-{number}"
    return command.root + counted + ("" if output == "out" else f"-{output}")
