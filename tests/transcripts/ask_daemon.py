"""Ask a real `nix-daemon` what no client of today asks, as `tests.transcripts.record` tells it to.

The client of these recordings is ours; the answers are the daemon's.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from protocol.store.content_address import ContentAddress
from protocol.store.path import StorePath
from protocol.wire.operation import Body, Request
from protocol.worker import queries, upkeep, uploads
from protocol.worker.connection import ClientConnection
from protocol.worker.events import Failed, PeerClosed, Pull, Replied, ReplyEnd, Welcomed

ANSWERS: Final = Replied | ReplyEnd | Failed | PeerClosed


class Session:
    """A daemon of our own, asked one thing after the other."""

    def __init__(self, served: "subprocess.Popen[bytes]", export: bytes) -> None:
        assert served.stdin is not None
        assert served.stdout is not None
        self._up, self._down = served.stdin.fileno(), served.stdout.fileno()
        self._connection = ClientConnection()
        self._export = export
        os.write(self._up, self._connection.hello())
        self.hear(Welcomed | PeerClosed)

    def hear(self, wanted: Any) -> None:
        """Read until such an event; a pull is answered with the next piece of the export."""
        while True:
            event = self._connection.next_event()
            os.write(self._up, self._connection.to_send())
            if isinstance(event, wanted):
                return
            if isinstance(event, Pull):
                piece, self._export = self._export[: event.size], self._export[event.size :]
                os.write(self._up, self._connection.body(piece))
            elif event is None:
                self._connection.receive(os.read(self._down, 1 << 16))

    def ask(self, request: Request[Any]) -> None:
        """Send a request and hear its answer out."""
        os.write(self._up, self._connection.ask(request))
        streams = request.operation.reply_body is not Body.NONE
        self.hear(ReplyEnd | Failed | PeerClosed if streams else ANSWERS)
        if request.operation.body is not Body.NONE:
            os.write(self._up, self._connection.body_end())


def main() -> None:
    """Ask about a path that was built and the derivation it was built by."""
    program, export = sys.argv[1], Path(sys.argv[2]).read_bytes()
    path, drv, source = map(StorePath.parse, sys.argv[3:])
    address = ContentAddress.parse(f"fixed:r:sha256:{'0' * 52}")
    paths = frozenset({path, source})
    with subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as served:
        session = Session(served, export)
        for request in (
            queries.HasSubstitutes(path),
            queries.QueryPathHash(path),
            queries.QueryReferences(path),
            queries.QueryDeriver(path),
            queries.QuerySubstitutablePathInfo(path),
            queries.QueryDerivationOutputs(drv),
            queries.QueryDerivationOutputNames(drv),
            queries.QueryPathFromHashPart(path.digest),
            queries.QuerySubstitutablePathInfos({path: None, source: address}),
            queries.QuerySubstitutablePaths(paths),
            queries.QueryValidDerivers(path),
            upkeep.SyncWithGC(),
            uploads.ExportPath(path),
            uploads.ImportPaths(),
        ):
            session.ask(request)
        assert served.stdin is not None
        served.stdin.close()


if __name__ == "__main__":
    main()
