"""What a message says about itself, read without the rest of it."""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from realtime.core.messages import Ref


class _Head(Struct):
    """Those fields that can say what a message's `ref` is."""

    type: str | UnsetType = UNSET
    shape: Annotated[list[int], Meta(max_length=64)] | UnsetType = UNSET
    ref: Ref = None


_DECODER = msgspec.json.Decoder(_Head)


def read_head(text: str) -> dict[str, Any]:
    """The `type`, `shape` and `ref` of a message that is not read as a whole; {} if they are wrong.

    What else is in it is passed over, which costs a hundredth of decoding it.
    """
    try:
        head = _DECODER.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return {}
    fields = {"type": head.type, "shape": head.shape, "ref": head.ref}
    return {name: value for name, value in fields.items() if value is not UNSET}
