"""The `.npy` reader takes good arrays and refuses all else; the writer writes what numpy reads."""

import io
import math
import pickle
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays, from_dtype

from realtime.core.errors import InvalidArray
from realtime.core.npy import (
    HEADER_LIMIT,
    MAX_DIMENSIONS,
    check_array,
    measure_array,
    parse_header,
    read_array,
    write_array,
)

quick = settings(derandomize=True, database=None)

DTYPES = [
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "complex64", "complex128"),
]
SHAPES = array_shapes(min_dims=0, max_dims=MAX_DIMENSIONS, min_side=0, max_side=3)
ARRAYS = st.sampled_from(DTYPES).flatmap(
    lambda name: arrays(name, SHAPES, elements=from_dtype(np.dtype(name)), fill=st.nothing())
)
SMALL_ARRAYS = st.sampled_from(DTYPES).flatmap(
    lambda name: arrays(name, array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
)
GOOD = {"descr": "<f8", "fortran_order": False, "shape": (2, 3)}
NOT_SENT = [
    np.array([None, "x"], object),
    np.zeros(2, [("a", "<f8")]),
    np.zeros(2, "datetime64[ns]"),
    np.zeros(2, "timedelta64[s]"),
    np.array(["text"]),
    np.array([b"text"]),
    np.zeros(2, "V8"),
    np.zeros(2, np.longdouble),
    np.zeros(2, np.clongdouble),
]


def save(array, version=None):
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version=version)
    return file.getvalue()


def load(data):
    return np.load(io.BytesIO(data), allow_pickle=False)


def build(text, data=b"", *, version=(1, 0), length=None):
    """A file with any header text, and any lie about its length."""
    text = text.encode() if isinstance(text, str) else text
    length = len(text) if length is None else length
    size = length.to_bytes(2 if version[0] == 1 else 4, "little")
    return b"\x93NUMPY" + bytes(version) + size + text + data


def assert_same(got, expected):
    assert got.dtype == expected.dtype
    assert got.shape == expected.shape
    assert got.tobytes() == expected.tobytes()  # exact: NaN, -0.0 and all


def read_or_refuse(data):
    """What may become of any bytes: an array that numpy reads alike, or InvalidArray."""
    try:
        array = read_array(data)
    except InvalidArray:
        return
    assert_same(array, load(data))


# Writing


@quick
@given(ARRAYS)
def test_an_array_survives_the_round_trip_and_is_written_as_numpy_does(array):
    data = write_array(array)
    assert data == save(np.asarray(array, order="C"))
    assert_same(load(data), array)
    assert_same(read_array(data), array)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (5,), (0, 3), (2, 0, 2), (2, 3), (1,) * 8])
def test_every_dtype_and_shape_round_trips(dtype, shape):
    array = (np.arange(math.prod(shape)) % 7).astype(dtype).reshape(shape)
    data = write_array(array)
    assert_same(read_array(data), array)
    header = check_array(data)
    assert (header.dtype.name, header.shape) == (dtype, shape)
    assert header.nbytes == array.nbytes == len(data) - header.start
    assert measure_array(shape, dtype) == len(data)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=">f8").reshape(2, 3),
        np.arange(6, dtype=">i2"),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(24.0).reshape(2, 3, 4).T,
        np.arange(10.0)[::-2],
        np.broadcast_to(np.float64(7), (3, 2)),
        np.arange(3, dtype=np.longlong),
        np.array(1.5, ">f4"),
    ],
)
def test_any_memory_layout_is_written_in_c_order_and_little_endian(array):
    data = write_array(array)
    assert parse_header(data).dtype == array.dtype.newbyteorder("<")
    np.testing.assert_array_equal(load(data), array, strict=False)
    np.testing.assert_array_equal(read_array(data), array)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (1,), (5,), (0,), (0, 3), (2, 0, 2), (1, 4, 1), (1,) * 8])
def test_fortran_order_is_accepted_where_it_is_the_same(dtype, shape):
    array = (np.arange(math.prod(shape)) % 7).astype(dtype).reshape(shape)
    data = build(entry(descr=array.dtype.str, fortran_order=True, shape=shape), array.tobytes())
    assert_same(read_array(data), array)
    np.testing.assert_array_equal(load(data), array)


@quick
@given(ARRAYS)
def test_fortran_order_is_refused_exactly_where_it_differs(array):
    fields = {"descr": array.dtype.str, "fortran_order": True, "shape": array.shape}
    data = build(entry(**fields), array.tobytes(order="F"))
    by_number = np.arange(array.size).reshape(array.shape)
    if by_number.tobytes(order="F") == by_number.tobytes(order="C"):
        assert_same(read_array(data), array)
    else:
        with pytest.raises(InvalidArray, match=r"ascontiguousarray.*Julia.*Fortran"):
            check_array(data)


def test_writing_a_plain_array_copies_it_once():
    array = np.zeros(1_000_000)
    tracemalloc.start()
    data = write_array(array)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(data) <= peak < len(data) + 100_000


@pytest.mark.parametrize("array", NOT_SENT, ids=lambda array: str(array.dtype))
def test_other_dtypes_are_not_written(array):
    with pytest.raises(InvalidArray, match="dtype"):
        write_array(array)


def test_more_than_eight_dimensions_are_neither_written_nor_read():
    array = np.zeros((1,) * 9)
    for refuse, argument in [(write_array, array), (read_array, save(array))]:
        with pytest.raises(InvalidArray, match="at most 8 dimensions; got 9"):
            refuse(argument)


# Measuring


@quick
@given(SHAPES, st.sampled_from(DTYPES))
def test_the_measure_is_the_length_of_the_file(shape, dtype):
    assert measure_array(shape, dtype) == len(save(np.zeros(shape, dtype)))


def test_an_absurd_array_is_measured_without_making_it():
    assert measure_array([100_000, 1_000_000], "float64") == 800_000_000_128


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((3,), "object"),
        ((3,), "<f8"),
        ((3,), "float"),
        ((3,), ""),
        ((-1,), "int8"),
        ((True,), "int8"),
        ((2.0,), "int8"),
        (("2",), "int8"),
        ((None,), "int8"),
        ((1,) * 9, "int8"),
        ((2**63,), "int8"),
        ((2**31, 2**31, 2), "int8"),
        ((0, 2**62, 2), "int8"),
        ((2**60,), "float64"),
        ((10**5000, 10**5000), "float64"),
    ],
)
def test_a_shape_or_dtype_that_cannot_be_is_not_measured(shape, dtype):
    with pytest.raises(InvalidArray):
        measure_array(shape, dtype)


# Reading


@quick
@given(
    SMALL_ARRAYS, st.sampled_from([(1, 0), (2, 0)]), st.sampled_from([bytes, bytearray, memoryview])
)
def test_both_versions_are_read_from_any_kind_of_bytes_without_a_copy(array, version, kind):
    data = kind(save(np.asarray(array, order="C"), version))
    got = read_array(data)
    assert_same(got, array)
    assert not got.flags.writeable
    assert not got.flags.owndata
    start = parse_header(data).start
    if got.size:
        assert np.shares_memory(got, np.frombuffer(data, np.uint8)[start:])


@pytest.mark.parametrize(
    "text",
    [
        "{'descr': '<f8', 'fortran_order': False, 'shape': (2,)}",
        "{'descr':'<f8','fortran_order':False,'shape':(2,)}   \n",
        '{"shape": (2,), "fortran_order": False, "descr": "<f8"}',
        "  {'descr': '<f8',\n 'fortran_order': False,\t'shape': (2, ), }",
    ],
)
def test_headers_of_other_writers_are_read(text):
    data = build(text, np.array([1.5, 2.5]).tobytes())
    assert read_array(data).tolist() == [1.5, 2.5]
    read_or_refuse(data)


def test_the_header_is_read_from_the_beginning_of_a_file():
    data = save(np.zeros((100, 100)))
    header = parse_header(data[:200])
    assert (header.shape, header.start, header.nbytes) == ((100, 100), 128, 80_000)
    for end in (8, 10, 100, 127):
        with pytest.raises(InvalidArray, match="ends inside its header"):
            parse_header(data[:end])


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
def test_a_header_is_read_up_to_its_limit(version):
    text = entry().ljust(HEADER_LIMIT)
    assert read_array(build(text, bytes(48), version=version)).shape == (2, 3)
    with pytest.raises(InvalidArray, match="4097 bytes long; the limit is 4096"):
        read_array(build(text + " ", bytes(48), version=version))


@pytest.mark.parametrize("extra", [-80, -1, 1, 1000])
def test_the_data_has_to_have_exactly_the_announced_length(extra):
    data = save(np.zeros(10))
    data = data[:extra] if extra < 0 else data + b"\0" * extra
    with pytest.raises(InvalidArray, match=rf"has 80 bytes of data; got {80 + extra}$"):
        check_array(data)


def test_a_small_file_that_asks_for_745_gib_allocates_nothing():
    data = build(f"{GOOD | {'shape': (100_000, 1_000_000)}!r:<117}\n")
    assert len(data) == 128
    tracemalloc.start()
    with pytest.raises(InvalidArray, match="800000000000 bytes of data; got 0"):
        read_array(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000


def entry(**fields):
    return repr(GOOD | fields)


HOSTILE = {
    "empty": b"",
    "magic only": b"\x93NUMPY",
    "no length": b"\x93NUMPY\x01\x00",
    "half a length": b"\x93NUMPY\x02\x00\x10\x00",
    "wrong magic": b"\x94" + save(np.zeros(2))[1:],
    "pickle": pickle.dumps(np.zeros(2)),
    "pickled objects": save(np.array([None], object)),
    "zip": b"PK\x03\x04" + bytes(200),
    "version 3.0": save(np.zeros(2), (3, 0)),
    "version 1.1": build(entry(), bytes(48), version=(1, 1)),
    "version 0.0": build(entry(), bytes(48), version=(0, 0)),
    "big-endian": save(np.zeros(2, ">f8")),
    "native order": build(entry(descr="=f8"), bytes(48)),
    "no order": build(entry(descr="f8"), bytes(48)),
    "order that says nothing": build(entry(descr="|f8"), bytes(48)),
    "fortran order": save(np.asfortranarray(np.zeros((2, 3)))),
    "order as a number": build(entry(fortran_order=0), bytes(48)),
    "fortran order of one": build(entry(fortran_order=1, shape=(6,)), bytes(48)),
    "fortran order among ones": build(entry(fortran_order=True, shape=(1, 2, 1, 3)), bytes(48)),
    "length too long": build(entry(), length=2000),
    "length too short": build(entry(), bytes(48), length=20),
    "length zero": build("", entry().encode()),
    "length over the limit": build(entry() + " " * HEADER_LIMIT, bytes(48)),
    "length of 4 GiB": build(entry(), bytes(48), version=(2, 0), length=2**32 - 1),
    "nested parentheses": build("(" * 2000 + ")" * 2000),
    "nested tuples": build("(" * 90 + "1" + ",)" * 90),
    "nested brackets": build("[" * 2000 + "]" * 2000),
    "nested braces": build("{" * 4000),
    "nested calls": build("()" * 2000),
    "nested shape": build("{'descr': '<f8', 'fortran_order': False, 'shape': ((2,),)}", bytes(16)),
    "minus signs": build("-" * 4000 + "1"),
    "sums": build("-1" * 2000),
    "unhashable key": build("{[]: 1}"),
    "call": build("{'descr': __import__('os'), 'fortran_order': False, 'shape': ()}"),
    "power": build("{'descr': '<f8', 'fortran_order': False, 'shape': (9**9**9,)}"),
    "repeated text": build("{'descr': 'a'*999999999, 'fortran_order': False, 'shape': ()}"),
    "Python 2 integers": build(
        "{'descr': '<f8', 'fortran_order': False, 'shape': (2L,)}", bytes(16)
    ),
    "backslash": build(r"{'descr': '\x3cf8', 'fortran_order': False, 'shape': (2,)}", bytes(16)),
    "keyword at a number": build(
        "{'descr': '<f8', 'fortran_order': 0or 0, 'shape': (1if 1else 2,)}"
    ),
    "leading zero": build("{'descr': '<f8', 'fortran_order': False, 'shape': (02,)}", bytes(16)),
    "underscore": build("{'descr': '<f8', 'fortran_order': False, 'shape': (1_0,)}", bytes(80)),
    "NUL": build("{'descr': '<f8\0', 'fortran_order': False, 'shape': (2,)}", bytes(16)),
    "latin-1": build(entry().encode() + b"\xa0", bytes(48)),
    "not a dictionary": build("('<f8', False, (2,))"),
    "key missing": build("{'descr': '<f8', 'shape': (2,)}", bytes(16)),
    "key too many": build(entry(more=1), bytes(48)),
    "key twice": build(entry()[:-1] + ", 'shape': (6,)}", bytes(48)),
    "dtype of no kind": build(entry(descr="<q9"), bytes(48)),
    "dtype as a number": build(entry(descr=8), bytes(48)),
    "dtype as a list": build(entry(descr=["<f8"]), bytes(48)),
    "dtype with a comma": build(entry(descr="<f8,<f8"), bytes(96)),
    "shape as a list": build(entry(shape=[2, 3]), bytes(48)),
    "shape as a number": build(entry(shape=6), bytes(48)),
    "negative dimension": build(entry(shape=(-2, -3)), bytes(48)),
    "boolean dimension": build(entry(shape=(True, 6)), bytes(48)),
    "fractional dimension": build(entry(shape=(2.0, 3)), bytes(48)),
    "text as a dimension": build(entry(shape=("2", "3")), bytes(48)),
    "huge dimension": build(entry(shape=(10**3900,))),
    "huge product": build(entry(shape=(2**32, 2**32))),
    "huge and empty": build(entry(shape=(0, 2**62, 2**62))),
} | {f"dtype {array.dtype}": save(array) for array in NOT_SENT}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_hostile_files_are_refused_with_a_reason(data):
    for refuse in (check_array, read_array):
        with pytest.raises(InvalidArray) as caught:
            refuse(data)
        assert 0 < len(caught.value.detail) < 300


@quick
@given(st.binary(max_size=300), st.sampled_from([b"", b"\x93NUMPY\x01\x00", b"\x93NUMPY\x02\x00"]))
def test_arbitrary_bytes_are_an_array_or_refused(data, prefix):
    read_or_refuse(prefix + data)


@quick
@given(SMALL_ARRAYS, st.lists(st.tuples(st.integers(0, 140), st.integers(0, 255)), max_size=3))
def test_mutated_files_are_an_array_that_numpy_reads_alike_or_refused(array, changes):
    data = bytearray(write_array(array))
    for position, byte in changes:
        data[position % len(data)] = byte
    if array.dtype == bool:  # which other bytes are true is nobody's business here
        data[128:] = bytes(len(data) - 128)
    read_or_refuse(bytes(data))


@quick
@given(SMALL_ARRAYS, st.integers(0, 200))
def test_a_file_cut_short_is_refused(array, end):
    data = write_array(array)
    if end < len(data):
        with pytest.raises(InvalidArray):
            read_array(data[:end])


LITERALS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(0, 10)
    | st.text(max_size=3)
    | st.sampled_from(["<f8", "|i1", ">f8", "|O", "descr", "fortran_order", "shape"]),
    lambda inner: st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple),
    max_leaves=6,
)
HEADERS = st.fixed_dictionaries(
    {
        "descr": st.sampled_from(["<f8", "|i1", "<i1", "|b1", "<c16"]) | LITERALS,
        "fortran_order": st.just(False) | LITERALS,
        "shape": st.lists(st.integers(0, 3), max_size=3).map(tuple) | LITERALS,
    },
    optional={"more": LITERALS},
)


@quick
@given(HEADERS, st.integers(0, 100))
def test_any_values_in_a_header_are_an_array_or_refused(fields, size):
    read_or_refuse(build(repr(fields), bytes(size)))


TOKENS = ["{", "}", "(", ")", "[", "]", ",", ":", "-", "1", "0", "9", "'descr'", '"shape"', "'<f8'"]
TOKENS += [
    "True",
    "False",
    "None",
    " ",
    "\n",
    "\t",
    "\\",
    "#",
    "'",
    '"',
    "e",
    "L",
    "or",
    "*",
    ".",
    "é",
]


@quick
@given(st.lists(st.sampled_from(TOKENS), max_size=60).map("".join), st.integers(1, 60))
def test_any_soup_of_tokens_is_refused(text, times):
    with pytest.raises(InvalidArray):
        read_array(build((text * times).encode()[:HEADER_LIMIT]))
