"""The address of a topic, with what is asked of it."""

from collections.abc import Sequence
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from realtime_client.positions import Position


def build_url(
    url: str,
    *,
    position: Position | None = None,
    history: int | None = None,
    subscribe: bool = True,
    window: str | int | None = None,
    fields: Sequence[str] = (),
    interval: float | None = None,
) -> str:
    """`url` with the parameters of section Parameters of the protocol; ValueError if no ws URL."""
    parts = urlsplit(url)
    if parts.scheme not in ("ws", "wss") or not parts.netloc:
        raise ValueError(f"an address begins with ws:// or wss://, unlike {url!r}")
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    if not subscribe:
        if position is not None or history is not None:
            raise ValueError("subscribe=False leaves no position and no history to ask for")
        query["subscribe"] = "0"
    if window is not None:
        query["window"] = str(window)
    if fields:
        query["fields"] = ",".join(fields)
    if interval is not None:
        query["interval"] = f"{interval:.6f}".rstrip("0").rstrip(".")
    if position is not None:
        query.pop("history", None)
        query.update(epoch=position.epoch, offset=str(position.offset))
    elif history is not None:
        query["history"] = str(history)
    return urlunsplit(parts._replace(query=urlencode(query)))
