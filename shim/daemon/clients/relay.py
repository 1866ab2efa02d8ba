"""Passing one operation through: its request and body up, its log, answer and body down.

Client and nix-daemon may speak different versions: requests and answers are decoded and encoded
anew, bodies are passed on in the pieces in which they come, each way only as fast as it is taken.
"""

from typing import Any, Final

import trio

from protocol.errors import LocalProtocolError
from protocol.wire.operation import Body
from protocol.worker.events import (
    Asked,
    BodyData,
    BodyEnd,
    Failed,
    Logged,
    Replied,
    ReplyData,
    ReplyEnd,
)
from shim.config import Deadlines
from shim.daemon.clients.client import Client, ClientGone
from shim.daemon.nix.upstream import DaemonLost, DaemonRefused, Listener, Upstream

SOON: Final = 0.05
"""Seconds within which an answer is taken for one that comes at once."""


async def relay(
    asked: Asked, client: Client, upstream: Upstream, listen: Listener, deadlines: Deadlines
) -> None:
    """Pass `asked` to the nix-daemon and its answer back.

    Raises:
        ClientGone, RemoteProtocolError: the client left, or broke the protocol.
        DaemonLost: the connection to the nix-daemon is of no more use; nothing was answered.
    """
    try:
        request = upstream.request_bytes(asked.request)
    except LocalProtocolError as error:
        # What the client's version can ask, the daemon's may not know, or may not any more.
        await client.fail(f"the nix-daemon ({upstream.daemon_version}) cannot be asked: {error}")
        return
    await upstream.send(request)
    try:
        if asked.operation.body is Body.NONE:
            value = await _answer(client, upstream, listen, deadlines)
        else:
            value = await _with_body(client, upstream, listen, deadlines)
    except DaemonRefused as refused:
        await client.send(client.connection.fail(refused.error))
        return
    await _reply(asked, value, client, upstream, deadlines)


async def _answer(
    client: Client, upstream: Upstream, listen: Listener, deadlines: Deadlines
) -> Any:
    """The answer; a client that leaves is noticed unless it comes at once, as most do."""
    match await upstream.soon(SOON):
        case Replied(value=value):
            return value
        case Failed(error):
            raise DaemonRefused(upstream.name, error)
        case Logged(message):
            await listen(message)
        case None:
            pass
        case event:
            raise DaemonLost(upstream.name, f"sent {event} where an answer was due")
    return await client.while_listening(lambda: upstream.answer(listen, deadlines.reply))


async def _with_body(
    client: Client, upstream: Upstream, listen: Listener, deadlines: Deadlines
) -> Any:
    """Move the body up while listening to the daemon, which may say much meanwhile.

    The client's body is read to its end whatever happens above: only then can it hear an answer.
    """
    outcome: list[Any] = []

    async def downwards() -> None:
        try:
            outcome.append(await upstream.answer(listen, deadlines.reply))
        except (DaemonRefused, DaemonLost, ClientGone) as error:
            outcome.append(error)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(downwards)
        failure = await _upwards(client, upstream, outcome, deadlines)
        if failure is not None:
            nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    return outcome[0]


async def _upwards(
    client: Client, upstream: Upstream, outcome: list[Any], deadlines: Deadlines
) -> Exception | None:
    """Pass the body on as long as somebody above takes it; what stopped us, if anything did."""
    lost: Exception | None = None
    while True:
        try:
            event = await client.event(deadlines.transfer)
        except Exception as error:  # noqa: BLE001 - raised again where no nursery wraps it
            return error
        try:
            match event:
                case BodyData(data) if not outcome and lost is None:
                    await upstream.send(upstream.connection.body(data))
                case BodyEnd():
                    # The daemon waits for the end even of a body that it has refused.
                    if lost is None and not (
                        outcome and isinstance(outcome[0], DaemonLost | ClientGone)
                    ):
                        await upstream.send(upstream.connection.body_end())
                    return lost
        except DaemonLost as error:
            lost = error


async def _reply(
    asked: Asked, value: Any, client: Client, upstream: Upstream, deadlines: Deadlines
) -> None:
    try:
        reply = client.connection.reply(value)
    except LocalProtocolError as error:
        await client.fail(f"the answer cannot be put for your version: {error}")
        return
    await client.send(reply)
    if asked.operation.reply_body is Body.NONE:
        return
    while True:
        match await upstream.event(deadlines.transfer):
            case ReplyData(data):
                await client.send(client.connection.reply_body(data))
            case ReplyEnd():
                await client.send(client.connection.reply_body_end())
                return
            case event:
                raise DaemonLost(upstream.name, f"sent {event} within a body")
