"""NumPy's `.npy` format, read from strangers and written for everyone: section 5 of the protocol.

Accepted is what any parser in any language understands: format 1.0 or 2.0, C order,
little-endian, a boolean, integer, float or complex dtype of a fixed size, up to 8 dimensions.
Fortran order is accepted where it is the same: the writers of Julia and Fortran state it always.
Everything else raises InvalidArray, before anything is allocated. Whatever is accepted here,
`numpy.load(io.BytesIO(data), allow_pickle=False)` reads as well.

The format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

import ast
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from realtime.core.entries import Chunks, LongMessage
from realtime.core.errors import ArrayTooBig, InvalidArray

HEADER_LIMIT = 4096  # bytes of header text; numpy's own writer needs 118 for up to 4 dimensions
MAX_DIMENSIONS = 8

Buffer = bytes | bytearray | memoryview
Pieces = Buffer | LongMessage | Chunks
Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class ArrayHeader:
    """What a `.npy` file says about itself; `start` is the byte at which its data begins."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    start: int

    @property
    def nbytes(self) -> int:
        """Bytes of data that the header asks for (exact, however absurd)."""
        return math.prod(self.shape) * self.dtype.itemsize


def parse_header(prefix: Pieces) -> ArrayHeader:
    """Read the header alone; `prefix` may be a whole file, or its beginning.

    Raises InvalidArray where it is malformed, not acceptable, or not complete in `prefix`.
    """
    head = bytes(prefix[: 12 + HEADER_LIMIT])
    if head[:6] != b"\x93NUMPY":
        raise InvalidArray("this is not a .npy file: it has to begin with \\x93NUMPY")
    if head[6:8] not in (b"\x01\x00", b"\x02\x00"):
        raise InvalidArray("only versions 1.0 and 2.0 of the .npy format are accepted")
    text_start = 10 if head[6] == 1 else 12
    length = int.from_bytes(head[8:text_start], "little")
    if length > HEADER_LIMIT:
        raise InvalidArray(f"the .npy header is {length} bytes long; the limit is {HEADER_LIMIT}")
    start = text_start + length
    if len(head) < start:
        raise InvalidArray("the .npy file ends inside its header")
    return _parse_text(head[text_start:start], start)


# A publisher's arrays are mostly alike, and each header is read when it comes and when it leaves.
@lru_cache(maxsize=64)
def _parse_text(text: bytes, start: int) -> ArrayHeader:
    fields = _read_fields(text)
    descr, shape, is_fortran = fields["descr"], fields["shape"], fields["fortran_order"]
    if not isinstance(is_fortran, bool):
        raise InvalidArray("fortran_order has to be False or True")
    dtype = _BY_DESCR.get(descr) if isinstance(descr, str) else None
    if dtype is None:
        raise InvalidArray(f"the dtype has to be little-endian and one of {_NAMES}")
    if not isinstance(shape, tuple):
        raise InvalidArray("the shape has to be a tuple of integers")
    checked = _check_shape(shape, dtype)
    if is_fortran and _has_an_order(checked):
        raise InvalidArray(
            "Fortran order is accepted where at most one dimension is longer than 1: send "
            "numpy.ascontiguousarray(array), in Julia vec(permutedims(array, ndims(array):-1:1)), "
            "in Fortran reshape(transpose(array), [size(array)]), since the .npy writers of these "
            "two know no C order"
        )
    return ArrayHeader(dtype, checked, start)


def check_array(data: Pieces) -> ArrayHeader:
    """The header of `data`, which is exactly one acceptable `.npy` file; else InvalidArray."""
    header = parse_header(data)
    got = len(data) - header.start
    if got != header.nbytes:
        raise InvalidArray(
            f"an array of dtype {header.dtype} and shape {header.shape} has "
            f"{header.nbytes} bytes of data; got {got}"
        )
    return header


def read_array(data: Buffer) -> Array:
    """The array in one `.npy` file, as a read-only view of `data`; InvalidArray as check_array."""
    header = check_array(data)
    array: Array = np.ndarray(header.shape, header.dtype, buffer=data, offset=header.start)
    array.flags.writeable = False
    return array


def write_array(array: Array) -> bytes:
    """`array` as one `.npy` file in C order and little-endian; InvalidArray where it cannot be.

    Copies the data once into the result, and once before only to mend its order or its bytes.
    """
    dtype = _BY_NAME.get(array.dtype.name)
    if dtype is None:
        raise InvalidArray(f"the dtype {array.dtype} cannot be sent; it has to be one of {_NAMES}")
    shape = _check_shape(array.shape, dtype)
    plain = np.asarray(array, dtype=dtype, order="C")
    return b"".join((_format_header(dtype, shape), plain.data))


def measure_array(shape: Sequence[int], dtype: str) -> int:
    """Bytes of the `.npy` file of an array of `shape` and `dtype` (a name such as "float64").

    Allocates nothing of that size. Raises InvalidArray for a shape or dtype not accepted.
    """
    little = _BY_NAME.get(dtype)
    if little is None:
        raise InvalidArray(f"the dtype has to be one of {_NAMES}")
    checked = _check_shape(shape, little)
    return len(_format_header(little, checked)) + math.prod(checked) * little.itemsize


_BY_NAME: dict[str, np.dtype[Any]] = {
    name: np.dtype(name).newbyteorder("<")
    for name in (
        *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
        *("float16", "float32", "float64", "complex64", "complex128"),
    )
}
_NAMES = ", ".join(_BY_NAME)
# As numpy spells it: "<f8", and "|i1" where there is no order. Some writers put "<i1".
_BY_DESCR = {dtype.str: dtype for dtype in _BY_NAME.values()} | {
    f"<{dtype.str[1:]}": dtype for dtype in _BY_NAME.values()
}
_MAX_BYTES = 2**63 - 1

# The only tokens that a header needs. Without backslashes, operators, names and other kinds of
# numbers, nothing is left in it that would make Python's parser warn or build something large.
_TOKENS = re.compile(
    r"""(?:[ \t\r\n]|[][{}(),:]|'[^'\\]*+'|"[^"\\]*+"|-?[0-9]++|True\b|False\b)*+""", re.ASCII
)


def _read_fields(text: bytes) -> dict[str, Any]:
    """The three fields of a header's text, values as they came; InvalidArray if not exactly they.

    Not by numpy's own reader: that one warns, and falls back to Python 2's syntax.
    """
    source = text.decode("latin1")
    if not _TOKENS.fullmatch(source):
        raise InvalidArray("the .npy header has to be a plain dictionary, as numpy.save writes it")
    try:
        fields = ast.literal_eval(source)
    # Exactly what literal_eval documents for malformed input.
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise InvalidArray("the .npy header has to be a Python dictionary") from error
    # Three colons: no key stands there twice, which different parsers would read differently.
    known = isinstance(fields, dict) and fields.keys() == {"descr", "fortran_order", "shape"}
    if not known or source.count(":") != 3:
        raise InvalidArray("the .npy header needs descr, fortran_order and shape, each once")
    return fields  # type: ignore[no-any-return]


def _check_shape(shape: Sequence[object], dtype: np.dtype[Any]) -> tuple[int, ...]:
    """`shape` as a tuple that numpy can make an array of, given the memory; else InvalidArray."""
    if len(shape) > MAX_DIMENSIONS:
        raise InvalidArray(f"an array has at most {MAX_DIMENSIONS} dimensions; got {len(shape)}")
    checked = tuple(size for size in shape if type(size) is int and size >= 0)  # True is no size
    if len(checked) != len(shape):
        raise InvalidArray("each dimension has to be an integer from 0 up")
    # Zeros aside, as numpy reckons: it refuses (0, 2**62, 2**62) too.
    if math.prod(size for size in checked if size) * dtype.itemsize > _MAX_BYTES:
        raise ArrayTooBig("an array of this shape is too big for any machine")
    return checked


def _has_an_order(shape: tuple[int, ...]) -> bool:
    """Whether the bytes differ between C order and Fortran order."""
    return 0 not in shape and sum(size > 1 for size in shape) > 1


def _format_header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """All that comes before the data, padded to a multiple of 64 bytes, as numpy.save has it."""
    head = io.BytesIO()
    fields = {"descr": dtype.str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(head, fields)
    return head.getvalue()
