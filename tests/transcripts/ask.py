"""Ask a real `nix-store --serve` what no client of today asks, as `tests.transcripts.record` does.

The client of these recordings is ours; the answers are the server's.
"""

import os
import subprocess
import sys
from typing import Any

from protocol.serve.connection import ClientConnection
from protocol.serve.events import Greeted, PeerClosed, Replied, ReplyEnd
from protocol.serve.messages import (
    BuildPaths,
    DumpStorePath,
    ExportPaths,
    QueryClosure,
    QueryPathInfos,
)
from protocol.serve.values import BuildOptions
from protocol.store.derived_path import ALL_OUTPUTS, Built, Opaque
from protocol.store.path import StorePath
from protocol.wire.operation import Body, Request


def hear(connection: ClientConnection, served: "subprocess.Popen[bytes]", wanted: type) -> Any:
    """Read until such an event, or the end."""
    assert served.stdout is not None
    while True:
        event = connection.next_event()
        if isinstance(event, wanted | PeerClosed):
            return event
        if event is None:
            connection.receive(os.read(served.stdout.fileno(), 1 << 16))


def ask(
    connection: ClientConnection, served: "subprocess.Popen[bytes]", asked: Request[Any]
) -> None:
    """Send a command and hear its answer out."""
    assert served.stdin is not None
    served.stdin.write(connection.ask(asked))
    served.stdin.flush()
    ends = Replied if asked.operation.reply_body is Body.NONE else ReplyEnd
    hear(connection, served, ends)


def main() -> None:
    """Ask about a derivation that builds, then about one that does not."""
    program, good, bad, source = sys.argv[1], *map(StorePath.parse, sys.argv[2:])
    options = BuildOptions(max_silent_time=100, build_timeout=200, max_log_size=1 << 20)
    with subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as served:
        assert served.stdin is not None
        connection = ClientConnection()
        served.stdin.write(connection.hello())
        served.stdin.flush()
        hear(connection, served, Greeted)
        for request in (
            BuildPaths((Built(good, ALL_OUTPUTS), Opaque(source)), options),
            BuildPaths((Built(bad, frozenset({"out"})),), options),
            QueryClosure(include_outputs=True, paths=frozenset({good})),
            QueryPathInfos(paths=frozenset({good, bad, source})),
            DumpStorePath(good),
            ExportPaths(0, (source, good)),
        ):
            ask(connection, served, request)
        served.stdin.close()


if __name__ == "__main__":
    main()
