"""Collecting garbage in every store of ours, through its nix-daemon; the host's own is left."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import trio

from protocol.worker.messages import CollectGarbage
from protocol.worker.upkeep import GcAction
from shim.config import DEFAULT_DOMAIN, Config, NixStore
from shim.daemon.nix.nixdaemon import plant_launch, serving_launch
from shim.daemon.nix.upstream import DaemonLost, DaemonRefused, Upstream, options
from shim.errors import ExitCode, ShimError


def collect(config: Config, max_freed: int | None = None) -> Iterator[tuple[str, int]]:
    """Delete what nothing keeps; what is in use, delivered or rooted stays.

    Args:
        config: names the stores.
        max_freed: bytes after which to stop, in each store; None: no end.

    Yields:
        The key of each store in the configuration, and the bytes freed there.

    Raises:
        ShimError: a nix-daemon does not answer, or refuses.
    """
    request = CollectGarbage(GcAction.DELETE_DEAD)
    if max_freed is not None:
        request = replace(request, max_freed=max_freed)
    for key, store, where in _stores(config):
        if store.root == Path("/"):
            continue
        try:
            yield key, trio.run(_freed, config, key, where, request)
        except (DaemonLost, DaemonRefused) as error:
            raise ShimError(str(error), code=ExitCode.UNAVAILABLE) from error


def _stores(config: Config) -> Iterator[tuple[str, NixStore, Path]]:
    for name, domain in config.all_domains().items():
        prefix = "" if name == DEFAULT_DOMAIN else f"domains.{name}."
        plant = plant_launch(config, name, domain)
        if domain.plant is not None and plant is not None:
            yield f"{prefix}plant", domain.plant, plant.socket
        serving = serving_launch(config, name, domain)
        yield f"{prefix}serving", domain.serving, serving.socket


async def _freed(config: Config, key: str, where: Path, request: CollectGarbage) -> int:
    async with Upstream.open(
        f"{key} nix-daemon", where, config.store_dir, config.deadlines
    ) as daemon:
        await daemon.ask(options())
        return (await daemon.ask(request)).bytes_freed
