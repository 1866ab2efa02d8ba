"""What a peer asks that builds nothing: relayed, taken in, handed out or refused, by one thread.

`shim.session.routes` says what becomes of each operation.  Requests for builds are given back to
the session (`shim.daemon.clients.session`), which judges them in the event loop.
"""

import time
from textwrap import shorten
from typing import Final

import structlog

from protocol.store.path import StorePath
from protocol.worker import skimming
from protocol.worker.events import Asked
from protocol.worker.messages import (
    AddMultipleToStore,
    AddToStoreNar,
    ExportPath,
    IsValidPath,
    NarFromPath,
    QueryPathInfo,
    SetOptions,
)
from shim.config import Policy
from shim.daemon.building.narrator import renumbering, sentence
from shim.daemon.clients.backing import Backing
from shim.daemon.clients.ends import Listen
from shim.daemon.clients.lane import Lane
from shim.daemon.clients.sessions import Live
from shim.daemon.clients.uploads import Intake
from shim.daemon.clients.who import Who
from shim.daemon.services import Services
from shim.session import policy as policies
from shim.session.routes import MAX_ROOTS, Route, Standing, refusal, route
from shim.session.settings import honoured

log = structlog.get_logger()

NO_REPAIR: Final = "repairing is not for boards: it replaces what others rely on"

_PROTECTING: Final = frozenset(
    {
        *("AddTempRoot", "AddTextToStore", "AddToStore", "BuildDerivation", "BuildPaths"),
        *("BuildPathsWithResults", "EnsurePath", "QueryValidPaths"),
    }
)
"""Operations by which a nix-daemon's process comes to keep paths for as long as it lives."""

FRESH: Final = 10
"""Seconds for which a path counts as valid after the nix-daemon called it so."""

MAX_FRESH: Final = 10_000
"""Paths of which that is remembered."""


class Unjudged:
    """The requests of one session.  Its methods run in a thread, one at a time."""

    def __init__(self, services: Services, who: Who, backing: Backing) -> None:
        self._services = services
        self._who = who
        self._backing = backing
        self._roots = 0
        self._valid: dict[str, float] = {}
        self.intake = Intake(services.domain.uploads, services.keys, services.config.store_dir)

    @property
    def _is_peer(self) -> bool:
        return self._who.standing is Standing.PEER

    def serve(self, lane: Lane, live: Live) -> Asked:
        """Answer the client's requests until one has to be judged.

        Args:
            lane: the client and its nix-daemon.
            live: is told what is done.

        Returns:
            That request; nothing was answered.

        Raises:
            ClientGone, RemoteProtocolError: the client left, or broke the protocol.
            DaemonRefused, DaemonLost, ShimError: why a request cannot be answered; the client has
                not been told.
        """

        def passed(code: int, path: str, answer: bytes) -> None:
            live.stirred = True
            if skimming.says_valid(code, answer):
                self._note(path)

        while True:
            skimmed = lane.skim(self._allows, passed)
            asked = skimmed or lane.next_request()
            live.doing = asked.operation.name
            if skimmed:
                self.relay(asked, lane, passed=True)
            elif (way := self._route(asked.operation.name)) is Route.JUDGE:
                return asked
            else:
                self._answer(asked, way, lane)
            live.doing = ""

    def _route(self, operation: str) -> Route:
        return route(operation, self._who.standing, judged=self._services.config.judge_operators)

    def _allows(self, code: int, path: str) -> bool:
        """Whether a question may be passed on without a further look."""
        match self._route(skimming.OF_A_PATH[code]):
            case Route.RELAY:
                return True
            case Route.ROOT:
                self._roots += 1
                self._backing.protects = True
                return self._roots <= MAX_ROOTS
            case Route.DOWNLOAD:
                return self._is_fresh(path) and not self._withheld(StorePath(path))
            case _:
                return False

    def _answer(self, asked: Asked, way: Route, lane: Lane) -> None:
        match way:
            case Route.RELAY:
                self.relay(asked, lane)
            case Route.REFUSE:
                log.info("operation-refused", operation=asked.operation.name)
                lane.fail(refusal(asked.operation.name))
            case Route.OPTIONS:
                self._take_options(asked, lane)
            case Route.UPLOAD:
                self._take_upload(asked, lane)
            case Route.DOWNLOAD:
                self._hand_out(asked, lane)
            case Route.ROOT:
                self._take_root(asked, lane)
            case Route.JUDGE:
                raise AssertionError(f"{asked} is to be judged")

    @staticmethod
    def _listener(lane: Lane) -> Listen:
        renumbered = renumbering()
        return lambda message: lane.log(renumbered(message))

    def relay(self, asked: Asked, lane: Lane, *, passed: bool = False) -> None:
        """Pass a request on as it is.

        Args:
            asked: the request.
            lane: the client and its nix-daemon.
            passed: whether the nix-daemon has it already.

        Raises:
            ClientGone, RemoteProtocolError, DaemonLost, DaemonRefused: as `serve`.
        """
        if isinstance(asked.request, SetOptions):
            self._backing.settings = asked.request
        if self._is_peer and getattr(asked.request, "repair", False):
            lane.fail(NO_REPAIR)
            return
        self._backing.protects |= asked.operation.name in _PROTECTING
        answer = lane.relay(asked, self._listener(lane), passed=passed)
        if answer and isinstance(asked.request, IsValidPath | QueryPathInfo):
            self._note(asked.request.path)

    def _note(self, path: str) -> None:
        """Remember that a path is valid: who asks that usually wants it next."""
        if len(self._valid) >= MAX_FRESH:
            self._valid.clear()
        self._valid[path] = time.monotonic()

    def _is_fresh(self, path: str) -> bool:
        return time.monotonic() - self._valid.get(path, -FRESH) < FRESH

    def _take_options(self, asked: Asked, lane: Lane) -> None:
        """Take over what is honoured of a peer's settings; tell it of the rest."""
        assert isinstance(asked.request, SetOptions)
        self._backing.settings, ignored = honoured(asked.request, self._backing.base)
        lane.ask(self._backing.settings, self._listener(lane))
        if ignored:
            log.info("settings-ignored", names=ignored)
            names = shorten(", ".join(ignored), 400)
            lane.log(sentence(f"settings that boards may not change are ignored: {names}"))
        lane.reply(None)

    def _take_upload(self, asked: Asked, lane: Lane) -> None:
        request, listen = asked.request, self._listener(lane)
        assert isinstance(request, AddToStoreNar | AddMultipleToStore)
        if request.repair:
            lane.fail(NO_REPAIR)
            return
        self._backing.protects = True
        if isinstance(request, AddToStoreNar):
            self.intake.take_one(request, lane, listen)
        else:
            self.intake.take_many(lane, listen)
        lane.reply(None)

    def _hand_out(self, asked: Asked, lane: Lane) -> None:
        """Relay what reads a path, if it is proven and this peer's policy admits it."""
        assert isinstance(asked.request, NarFromPath | ExportPath)
        path = asked.request.path
        if not self._is_valid(path, lane):
            lane.fail(f"path '{path}' is not valid")
        elif why := self._withheld(path):
            lane.fail(why)
        else:
            self.relay(asked, lane)

    def _is_valid(self, path: StorePath, lane: Lane) -> bool:
        # nix-daemons below 2.33 send whatever lies there, the output of a build under way as well.
        return self._is_fresh(path) or lane.ask(IsValidPath(path), self._listener(lane))

    def _withheld(self, path: StorePath) -> str:
        return self._services.provenances.path_refusal(path, self._policies)

    def _policies(self, package: str) -> list[Policy]:
        config = self._services.config
        return [
            policies.resolve(config.policy, config.rules, self._who.name, system, package)
            for system in config.systems
        ]

    def _take_root(self, asked: Asked, lane: Lane) -> None:
        self._roots += 1
        if self._roots > MAX_ROOTS:
            lane.fail(f"more than {MAX_ROOTS} temporary roots on one connection")
        else:
            self.relay(asked, lane)
