"""Ends the work on a request whose client has gone away."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class CancelOnDisconnect:
    """Cancels the application when the client goes away before the whole answer is sent: a request that its sender has
    given up must not change anything later, perhaps after what the sender did next.

    The application gets a `CancelledError` once, where it waits; nothing is answered. What it does after its answer is
    left alone. A client that sends its next request before it has this one's answer (pipelining) is not watched: the
    server does not read from its connection meanwhile.

    Args:
        app: what to cancel. It gets the whole body in one message, so that whatever comes after it is the end.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = await receive()
        gone = asyncio.ensure_future(_gone(receive))
        is_answered = False

        async def receive_once(unread: list[Message] = [body]) -> Message:  # noqa: B006 - one list for this request
            return unread.pop() if unread else await asyncio.shield(gone)

        async def send_noting_the_end(message: Message) -> None:
            nonlocal is_answered
            is_answered = message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)

        loop = asyncio.get_running_loop()
        try:
            # A deadline that comes when the client goes. Unlike Task.cancel, it cannot be taken for somebody else's.
            async with asyncio.timeout(None) as deadline:

                def cancel(_: asyncio.Future[Message]) -> None:
                    if not is_answered:
                        deadline.reschedule(loop.time())

                gone.add_done_callback(cancel)
                try:
                    await self._app(scope, receive_once, send_noting_the_end)
                finally:
                    gone.remove_done_callback(cancel)
        except TimeoutError:
            if not deadline.expired():
                raise
        finally:
            gone.cancel()


async def _gone(receive: Receive) -> Message:
    """The message that says that the client has gone away, or that the answer is complete."""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return message
