"""NumPy's `.npy` format, strictly: section Binary publications of the protocol.

numpy is an extra of this package (`realtime-client[arrays]`) and imported when first needed.
"""

import ast
import io
import math
from typing import TYPE_CHECKING, Any

from realtime_client.errors import ArrayError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    NDArray = npt.NDArray[Any]

HEADER_LIMIT = 4096
MAX_DIMENSIONS = 8
DTYPES = frozenset(
    {
        *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
        *("float16", "float32", "float64", "complex64", "complex128"),
    }
)


def read_array(data: bytes) -> "NDArray":
    """The array in one `.npy` file, as a read-only view of `data`; raises ArrayError."""
    np = _import_numpy()
    dtype, shape, start = _read_header(data, np)
    needed = math.prod(shape) * dtype.itemsize
    if len(data) - start != needed:
        raise ArrayError(f"{dtype} of shape {shape} takes {needed} bytes; got {len(data) - start}")
    array: NDArray = np.ndarray(shape, dtype, buffer=data, offset=start)
    array.flags.writeable = False
    return array


def write_array(array: "npt.ArrayLike") -> bytes:
    """One `.npy` file, in C order and little-endian; raises ArrayError for other dtypes."""
    np = _import_numpy()
    value = np.asarray(array)
    if value.dtype.name not in DTYPES:
        raise ArrayError(f"the dtype {value.dtype} cannot be sent; one of {sorted(DTYPES)} can")
    if value.ndim > MAX_DIMENSIONS:
        raise ArrayError(f"at most {MAX_DIMENSIONS} dimensions, not {value.ndim}")
    plain = np.asarray(value, dtype=value.dtype.newbyteorder("<"), order="C")
    file = io.BytesIO()
    np.lib.format.write_array(file, plain, version=(1, 0), allow_pickle=False)
    return file.getvalue()


def is_array(value: object) -> bool:
    """Whether a value is a numpy array; imports nothing."""
    kind = type(value)
    return kind.__module__ == "numpy" and kind.__name__ == "ndarray"


def _read_header(data: bytes, np: Any) -> "tuple[np.dtype[Any], tuple[int, ...], int]":
    if data[:6] != b"\x93NUMPY" or data[6:8] not in (b"\x01\x00", b"\x02\x00"):
        raise ArrayError("not a .npy file of format 1.0 or 2.0")
    text_start = 10 if data[6] == 1 else 12
    start = text_start + int.from_bytes(data[8:text_start], "little")
    if start - text_start > HEADER_LIMIT or len(data) < start:
        raise ArrayError("the .npy header is too long, or not all here")
    try:
        fields = ast.literal_eval(data[text_start:start].decode("latin1").strip())
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise ArrayError("the .npy header is no Python dictionary") from error
    if not isinstance(fields, dict) or fields.keys() != {"descr", "fortran_order", "shape"}:
        raise ArrayError("the .npy header needs descr, fortran_order and shape")
    descr, shape = fields["descr"], fields["shape"]
    if not isinstance(descr, str) or descr[:1] not in ("<", "|"):
        raise ArrayError("the dtype has to be a plain little-endian one")
    try:
        dtype = np.dtype(descr)
    except (TypeError, ValueError) as error:
        raise ArrayError(f"there is no dtype {descr!r}") from error
    if dtype.name not in DTYPES or not isinstance(fields["fortran_order"], bool):
        raise ArrayError("the array has to be of a plain dtype and in a known order")
    if (
        not isinstance(shape, tuple)
        or len(shape) > MAX_DIMENSIONS
        or not all(type(size) is int and size >= 0 for size in shape)
    ):
        raise ArrayError("the shape has to be up to 8 sizes from 0 up")
    # The bytes are the same in both orders where at most one dimension is longer than 1.
    if fields["fortran_order"] and 0 not in shape and sum(size > 1 for size in shape) > 1:
        raise ArrayError(f"an array of shape {shape} has to be in C order, not in Fortran order")
    return dtype, shape, start


def _import_numpy() -> Any:
    try:
        import numpy
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "arrays need numpy: pip install 'realtime-client[arrays]'", name="numpy"
        ) from error
    return numpy
