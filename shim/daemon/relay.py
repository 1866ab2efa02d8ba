"""Passing one operation through: its request and body up, its log, answer and body down.

Client and nix-daemon may speak different versions: requests and answers are decoded and encoded
anew, bodies are passed on in the pieces in which they come, each way only as fast as it is taken.
"""

import trio

from protocol.errors import LocalProtocolError
from protocol.worker.events import (
    Asked,
    BodyData,
    BodyEnd,
    Failed,
    Logged,
    Pull,
    Replied,
    ReplyData,
    ReplyEnd,
    Written,
)
from shim.config import Deadlines
from shim.daemon.client import Client, ClientGone
from shim.daemon.upstream import DaemonLost, Listener, Upstream
