"""The order in which everything starts and ends.

Start: checks, tables, state, the nix-daemons of every domain, then the socket.  When listening ends
(`shim.daemon.clients.listening`), the nix-daemons are stopped.
"""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import structlog
import trio

from shim import keys
from shim.config import Config, Domain, NixStore
from shim.daemon.building.builds import Builds, Shared
from shim.daemon.building.scheduling import Scheduler
from shim.daemon.checks import check
from shim.daemon.clients.listening import listen
from shim.daemon.clients.provenance import Provenances
from shim.daemon.clients.sessions import Sessions
from shim.daemon.nix.nixdaemon import Launch, accepts, plant_launch, serving_launch, supervise
from shim.daemon.nix.nixstore import Nix
from shim.daemon.plants.mending import sweep
from shim.daemon.reloading import reload
from shim.daemon.scans import Scans
from shim.daemon.services import Services
from shim.daemon.state import State
from shim.daemon.tables import Tables
from shim.errors import ExitCode, ShimError
from shim.metrics import Metrics
from shim.session.claims import Claims
from shim.session.uploads import trusted_keys

log = structlog.get_logger()

Read = Callable[[], Config]
"""Reads the configuration anew."""


def serve(read: Read, metrics: Metrics | None = None) -> None:
    """Run the daemon until SIGTERM or SIGINT.

    Args:
        read: reads the configuration; called again on SIGHUP.
        metrics: shown at the endpoint that the configuration names.

    Raises:
        ShimError: something that it needs is missing; the message says what mends it.
    """
    try:
        trio.run(_serve, read(), read, metrics)
    except BaseExceptionGroup as group:
        raise _first_shim_error(group) from None


def _first_shim_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    wanted, rest = group.split(ShimError)
    if wanted is None or rest is not None:
        return group
    inner: BaseException = wanted
    while isinstance(inner, BaseExceptionGroup):
        inner = inner.exceptions[0]
    return inner


async def _serve(config: Config, read: Read, metrics: Metrics | None) -> None:
    lacks = check(config, config.platforms)
    with _only_one(config.state_directory):
        tables = Tables.load(config)
        state = State(config.state_directory / "state.sqlite")
        try:
            await _run(config, tables, state, lacks, read, metrics)
        finally:
            state.close()


async def _run(
    config: Config,
    tables: Tables,
    state: State,
    lacks: dict[str, str | None],
    read: Read,
    metrics: Metrics | None,
) -> None:
    ring = _keys(config)
    scans = Scans(config, tables, state)
    scheduler = Scheduler(config)
    sessions, claims = Sessions(), Claims(config.store_dir)
    provenances = Provenances(state, tables)
    async with trio.open_nursery() as daemons:
        daemons.start_soon(scans.run)
        daemons.start_soon(scheduler.look_around)
        shared = Shared(
            config, config.platforms, tables, state, scans, ring, lacks, scheduler, daemons
        )
        domains: dict[str, Services] = {}
        for name, domain in config.all_domains().items():
            launch = serving_launch(config, name, domain)
            serving = await _nix(config, domain.serving, launch, daemons)
            builds = Builds(
                shared, name, domain, serving, await _plant(config, name, domain, daemons)
            )
            await builds.settle()
            domains[name] = Services(
                config,
                serving.socket,
                builds,
                tables,
                provenances,
                trusted_keys(domain.serving, ring.public.values()),
                sessions,
                claims,
                name,
            )
        with _shown(metrics, config, scheduler, sessions):
            await listen(domains, partial(reload, read, domains, tables))
        daemons.cancel_scope.cancel()


@contextmanager
def _shown(
    metrics: Metrics | None, config: Config, scheduler: Scheduler, sessions: Sessions
) -> Iterator[None]:
    """Serve metrics, if they are wanted, for as long as the block lasts."""
    if metrics is None:
        yield
        return
    metrics.watch("builds_running", "Builds that have a place.", lambda: len(scheduler.running))
    metrics.watch("builds_waiting", "Builds in the queue.", lambda: len(scheduler.waiting))
    metrics.watch("sessions_open", "Sessions that go on.", lambda: len(sessions.live))
    server = metrics.serve(config.metrics)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


async def _plant(config: Config, name: str, domain: Domain, daemons: trio.Nursery) -> Nix | None:
    """The nix-daemon of a domain's plant store, if it has one."""
    launch = plant_launch(config, name, domain)
    if domain.plant is None or launch is None:
        return None
    sweep(domain.plant.root)
    return await _nix(config, domain.plant, launch, daemons)


async def _nix(config: Config, store: NixStore, launch: Launch, daemons: trio.Nursery) -> Nix:
    """The nix-daemon of a store, once it accepts connections.

    Raises:
        ShimError: it does not come up, or nothing listens where one should run already.
    """
    if store.start:

        async def start(task_status: trio.TaskStatus[None]) -> None:
            await supervise(
                launch,
                deadline=config.deadlines.connect,
                shutdown=config.deadlines.shutdown,
                task_status=task_status,
            )

        await daemons.start(start)
    elif not await accepts(launch.socket):
        raise ShimError(
            f"nothing listens at `{launch.socket}`, the socket of the {launch.name}",
            hint="start that nix-daemon, or let us: start = true",
            code=ExitCode.UNAVAILABLE,
        )
    return Nix(launch.name, launch.socket, config)


def _keys(config: Config) -> keys.KeyRing:
    if config.key_directory is not None:
        return keys.KeyRing.load(config.key_directory)
    directory = config.state_directory / "keys"
    for made in keys.generate(directory, config.key_name):
        log.info("key-made", public=made.render())
    return keys.KeyRing.load(directory)


class _only_one:  # noqa: N801 - used like the context managers of contextlib
    """Hold the state directory's lock: two daemons on one plant store would undo each other."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._path = directory / "lock"
        self._file = self._path.open("w")

    def __enter__(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ShimError(
                f"another nix-shim uses the state directory `{self._path.parent}`",
                hint="stop it, or configure another state-directory",
                code=ExitCode.UNAVAILABLE,
            ) from None

    def __exit__(self, *_: object) -> None:
        self._file.close()
