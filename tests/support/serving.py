"""A client of the serve protocol, which asks one command after the other."""

import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from protocol.errors import RemoteProtocolError
from protocol.serve.connection import ClientConnection
from protocol.serve.events import Greeted, PeerClosed, Replied, ReplyData, ReplyEnd
from protocol.serve.values import NEWEST
from protocol.version import Number
from protocol.wire.operation import Body, Request

CHUNK = 1 << 16


class Broken(Exception):
    """The server ended the session instead of answering."""


class ServeClient:
    """A session with a program that serves on its standard input and output."""

    def __init__(
        self,
        program: Sequence[str | Path],
        environ: Mapping[str, str],
        newest: Number = NEWEST,
    ) -> None:
        self._program = [str(word) for word in program]
        self._environ = dict(environ)
        self._process: subprocess.Popen[bytes]
        self.connection = ClientConnection(newest=newest)

    def __enter__(self) -> "ServeClient":  # noqa: PYI034 - never subclassed
        self._process = subprocess.Popen(
            self._program,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self._environ,
        )
        self._write(self.connection.hello())
        greeted = self._event()
        assert isinstance(greeted, Greeted), greeted
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    @property
    def number(self) -> Number:
        """What was agreed on."""
        return self.connection.dialect.number

    def ask(self, request: Request[Any], body: Iterable[bytes] = ()) -> Any:
        """The answer: a value, or the bytes of a body.

        Raises:
            Broken: there is none.
        """
        self._write(self.connection.ask(request))
        if request.operation.body is not Body.NONE:
            for piece in body:
                self._write(self.connection.body(piece))
            self._write(self.connection.body_end())
        replied = self._event()
        if not isinstance(replied, Replied):
            raise Broken(replied)
        if request.operation.reply_body is Body.NONE:
            return replied.value
        pieces = []
        while isinstance(event := self._event(), ReplyData):
            pieces.append(event.data)
        if not isinstance(event, ReplyEnd):
            raise Broken(event)
        return b"".join(pieces)

    def leave(self) -> tuple[int, str]:
        """Close; exit code and standard error of the server."""
        _, said = self._process.communicate(timeout=60)
        return self._process.returncode, said.decode(errors="replace")

    def _write(self, data: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(data)
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise Broken("closed") from error

    def _event(self) -> Any:
        assert self._process.stdout is not None
        try:
            while (event := self.connection.next_event()) is None:
                self.connection.receive(os.read(self._process.stdout.fileno(), CHUNK))
        except RemoteProtocolError as error:
            raise Broken(str(error)) from error
        if isinstance(event, PeerClosed):
            raise Broken("closed")
        return event
