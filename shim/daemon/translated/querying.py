"""Answers of `nix-store --query`, line by line as Nix prints them.

Checked against Nix's `opQuery`, `maybeUseOutputs` and `printTree`.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Final

from protocol.store.path import StorePath
from shim.daemon.clients.asking import Store, Unanswered
from shim.daemon.translated.roots import Roots
from shim.session.commands import Query, Question

Realise = Callable[[StorePath], Awaitable[None]]
"""Brings a path, or all outputs of a derivation, into the store."""

_CONNECTED: Final = ("├───", "│   ")
_LAST: Final = ("└───", "    ")
"""What comes before a path of a tree, and before the lines below it."""


async def answer(
    query: Query, paths: Iterable[StorePath], store: Store, roots: Roots, realise: Realise
) -> AsyncIterator[str]:
    """The lines that answer `query`, without their ends.

    Args:
        query: what is asked.
        paths: about what; those of `query`, resolved.
        store: whom to ask.
        roots: those of the peer that asks.
        realise: how to build what is asked about first, where the query says so.

    Raises:
        Unanswered: a path is not valid, or has not what is asked for.
        DaemonRefused, DaemonLost: the store fails.
    """
    match query.question:
        case Question.OUTPUTS:
            for path in paths:
                for output in await _meant(query, path, store, realise, use_output=True):
                    yield output
        case Question.DERIVER:
            for path in paths:
                yield (await store.info(path)).deriver or "unknown-deriver"
        case Question.BINDING:
            for path in paths:
                yield await _binding(query.binding, path, store)
        case Question.HASH | Question.SIZE:
            for path in paths:
                for each in await _meant(query, path, store, realise):
                    info = await store.info(each)
                    is_hash = query.question is Question.HASH
                    yield str(info.nar_hash if is_hash else info.nar_size)
        case Question.TREE:
            async for line in _tree(paths, store):
                yield line
        case Question.RESOLVE:
            for path in paths:
                yield path
        case Question.ROOTS:
            asked = [each for path in paths for each in await _meant(query, path, store, realise)]
            kept = await store.kept_with(asked)
            for name, target in roots.all():
                if target in kept:
                    yield f"{name} -> {target}"
        case _:
            found: set[StorePath] = set()
            for path in paths:
                for each in await _meant(query, path, store, realise):
                    found |= await _related(query, each, store)
            for each in await store.in_order(found):
                yield each


async def _related(query: Query, path: StorePath, store: Store) -> frozenset[StorePath]:
    match query.question:
        case Question.REQUISITES:
            return await store.closure([path], include_outputs=query.include_outputs)
        case Question.REFERENCES:
            return (await store.info(path)).references
        case Question.REFERRERS:
            return await store.referrers(path)
        case Question.REFERRERS_CLOSURE:
            return await store.referrers_closure([path])
        case Question.VALID_DERIVERS:
            return await store.valid_derivers(path)
        case question:
            raise AssertionError(question)


async def _meant(
    query: Query, path: StorePath, store: Store, realise: Realise, *, use_output: bool = False
) -> list[StorePath]:
    """The path itself, or the outputs of a derivation where those are asked about."""
    if query.question is Question.VALID_DERIVERS:
        return [path]
    if query.force_realise:
        await realise(path)
    if not path.is_derivation or not (use_output or query.use_output):
        return [path]
    found = await store.outputs(path)
    if None in found.values():
        raise Unanswered(
            "Cannot use output path of floating content-addressed derivation until we know what"
            " it is (e.g. by building it)"
        )
    return sorted(filter(None, found.values()))


async def _binding(name: str, path: StorePath, store: Store) -> str:
    if not path.is_derivation:
        deriver = (await store.info(path)).deriver
        if deriver is None:
            raise Unanswered(f"deriver of path '{path}' is not known")
        path = deriver
    value = (await store.derivation(path)).env.get(name)
    if value is None:
        raise Unanswered(f"derivation '{path}' has no environment binding named '{name}'")
    return value


async def _tree(paths: Iterable[StorePath], store: Store) -> AsyncIterator[str]:
    shown: set[StorePath] = set()
    left = [(path, "", "") for path in reversed(list(paths))]
    while left:
        path, first, tail = left.pop()
        if path in shown:
            yield f"{first}{path} [...]"
            continue
        shown.add(path)
        yield f"{first}{path}"
        below = await store.in_order((await store.info(path)).references)
        pads = [_CONNECTED] * (len(below) - 1) + [_LAST]
        left += [
            (each, tail + before, tail + behind)
            for each, (before, behind) in reversed(list(zip(below, pads, strict=False)))
        ]
