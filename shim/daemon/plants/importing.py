"""Adding judged paths to the serving store: one operation, the commit point of a plant."""

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass

from protocol.store.path import StorePath
from protocol.store.path_info import PathInfo
from protocol.worker import multiple
from protocol.worker.messages import AddMultipleToStore
from shim.daemon.nix.upstream import Upstream


@dataclass(frozen=True, slots=True)
class Export:
    """A path to be imported."""

    path: StorePath
    info: PathInfo
    nar: AsyncIterator[bytes]


async def import_all(serving: Upstream, exports: list[Export]) -> None:
    """Everything in one operation: the commit point."""
    await serving.ask(
        AddMultipleToStore(repair=False, dont_check_signatures=True),
        body=_payload(_dependencies_first(exports)),
    )


def _dependencies_first(exports: Iterable[Export]) -> list[Export]:
    given = {export.path: export for export in exports}
    ordered: dict[StorePath, Export] = {}

    def visit(path: StorePath) -> None:
        if path in given and path not in ordered:
            for reference in sorted(given[path].info.references - {path}):
                visit(reference)
            ordered[path] = given[path]

    for path in sorted(given):
        visit(path)
    return list(ordered.values())


async def _payload(exports: list[Export]) -> AsyncIterator[bytes]:
    """The payload of `AddMultipleToStore`: count, then each path's info and NAR."""
    yield multiple.count(len(exports))
    for export in exports:
        yield multiple.info(export.path, export.info)
        async for chunk in export.nar:
            yield chunk
