"""An ASGI application that knows nothing of this package: it tells what its messages are."""

from typing import Any

from project.asgi import application as project


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Answer binary messages with their type and length; leave HTTP to the project."""
    if scope["type"] != "websocket":
        await project(scope, receive, send)
        return
    await receive()
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        data = event["bytes"]
        await send({"type": "websocket.send", "text": f"{type(data).__name__} {len(data)}"})
