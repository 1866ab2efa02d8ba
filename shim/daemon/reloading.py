"""Taking over a changed configuration while sessions and builds go on (SIGHUP).

Only what can change under them is taken over: `RELOADED`.  For anything else the operator is told
that the daemon has to be started anew.  A configuration or table that cannot be used changes
nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Final

import structlog
import trio

from shim.config import Config
from shim.daemon.services import Services
from shim.daemon.tables import Tables
from shim.errors import ShimError

log = structlog.get_logger()

RELOADED: Final = (
    *("policy", "rules", "peers", "tables", "trust_boards"),
    *("operators", "judge_operators", "preamble_users"),
)
"""Keys that are taken over: they hold for whatever is asked from then on."""


async def reload(
    read: Callable[[], Config], domains: Mapping[str, Services], tables: Tables
) -> None:
    """Read configuration and tables, and use them for what is asked from now on.

    Args:
        read: gives the configuration as it is now.
        domains: whose services are told.
        tables: all that is shared of tables.
    """
    old = next(iter(domains.values())).config
    try:
        new = await trio.to_thread.run_sync(read)
        config = replace(old, **{name: getattr(new, name) for name in RELOADED})
        _check_domains(config, domains)
        tables.become(await trio.to_thread.run_sync(Tables.load, config))
    except ShimError as error:
        log.error("reload-failed", why=str(error))  # noqa: TRY400 - the message is the reason
        return
    ignored = sorted(
        each.name.replace("_", "-")
        for each in fields(Config)
        if each.name not in RELOADED and getattr(new, each.name) != getattr(old, each.name)
    )
    if ignored:
        log.warning("needs-restart", keys=ignored)
    for services in domains.values():
        services.config = config
    log.info("reloaded", peers=len(config.peers), rules=len(config.rules), tables=tables.version)


def _check_domains(config: Config, domains: Mapping[str, Services]) -> None:
    unknown = {peer.domain for peer in config.peers.values()} - domains.keys()
    if unknown:
        names = ", ".join(f"`{name}`" for name in sorted(unknown))
        raise ShimError(f"peers name domains that were not there at the start: {names}")
