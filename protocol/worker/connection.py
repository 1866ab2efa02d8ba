"""Both ends of a worker connection under one roof; see `worker.client` and `worker.server`."""

from protocol.worker.client import ClientConnection
from protocol.worker.server import ServerConnection

__all__ = ["ClientConnection", "ServerConnection"]
