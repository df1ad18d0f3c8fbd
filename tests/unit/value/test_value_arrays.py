"""Arrays and other buffers: nothing is copied without need, and memory lives as long as someone reads it."""

import gc
import io
import mmap
import pickle
import weakref

import numpy as np
import pytest

ALIGNMENT = 64
RNG = np.random.default_rng(1)
ARRAYS = {
    "bool": RNG.random(700) < 0.5,
    "int8": np.arange(-100, 100, dtype=np.int8),
    "uint64": np.array([2**64 - 1], np.uint64),
    "longlong": np.arange(80, dtype=np.longlong),
    "half": np.arange(600, dtype=np.float16),
    "float": RNG.random((3, 40, 5)),
    "complex": RNG.random(90) * 1j,
    "long double": np.arange(40, dtype=np.longdouble),
    "fortran": np.asfortranarray(RNG.random((30, 40))),
    "strided": RNG.random((40, 40))[::2, ::-1],
    "strided small": np.arange(10)[::3],
    "scalar": np.array(5.5),
    "empty": np.zeros((0, 3)),
    "big-endian": np.arange(100, dtype=">i4"),
    "many dimensions": np.zeros((1,) * 40),
    "datetime": np.arange(100).astype("M8[ns]"),
    "timedelta": np.arange(100).astype("m8[s]")[::2],
    "datetime fortran": np.asfortranarray(np.arange(1200).reshape(30, 40).astype("M8[us]")),
    "bytes": np.array([b"ab", b"c"] * 200),
    "text": np.array(["é", "abc"] * 200),
    "structured": np.zeros(50, [("a", "i4"), ("b", "f8", 3)]),
    "object": np.array([1, "two", None, [3]], object),
    "masked": np.ma.array([1, 2, 3], mask=[0, 1, 0]),
}
WRAPS = {
    "bare": (lambda array: array, lambda value: value),
    "in a dict": (lambda array: {"x": array}, lambda value: value["x"]),
    "beside a function": (lambda array: [array, lambda: 1], lambda value: value[0]),
}


def aligned(data):
    """A copy of bytes on a page of its own, as a stored object lies in shared memory."""
    memory = np.frombuffer(mmap.mmap(-1, max(1, len(data))), np.uint8)[: len(data)]
    memory[:] = np.frombuffer(data, np.uint8)
    return memory


def address(array):
    return array.__array_interface__["data"][0]


def is_inside(array, memory):
    return address(memory) <= address(array) <= address(memory) + memory.nbytes - array.nbytes


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_come_back(codec, name, wrap):
    array, (put, take) = ARRAYS[name], WRAPS[wrap]
    data = codec.encode(put(array))
    for back in (take(codec.decode(data)), take(codec.decode_in_place(aligned(data)))):
        assert type(back) is type(array) and back.dtype == array.dtype and back.shape == array.shape
        assert np.array_equal(back, array)
        assert back.flags.f_contiguous or not array.flags.f_contiguous


@pytest.mark.parametrize("size", [1, 63, 64, 100, 1_000_000])
def test_bare_and_nested_arrays_are_read_only_whatever_their_size(codec, size):
    array = np.arange(float(size))
    bare = codec.decode(codec.encode(array))
    nested = codec.decode_in_place(aligned(codec.encode({"x": array})))["x"]
    for back in (bare, nested):
        with pytest.raises(ValueError, match="read-only"):
            back[0] = 1


@pytest.mark.parametrize("wrap", ["bare", "in a dict"])
def test_big_arrays_alias_the_store_and_keep_it_alive(codec, wrap):
    put, take = WRAPS[wrap]
    memory = aligned(codec.encode(put(RNG.random(1000))))
    array = take(codec.decode_in_place(memory))
    assert is_inside(array, memory) and address(array) % ALIGNMENT == 0
    alive = weakref.ref(memory)
    part = array[10:20]
    del memory, array
    gc.collect()
    assert alive() is not None and part.sum() > 0
    del part
    gc.collect()
    assert alive() is None


def test_small_arrays_do_not_keep_the_store_alive(codec):
    memory = aligned(codec.encode({"x": np.arange(10), "y": np.arange(10)}))
    alive = weakref.ref(memory)
    value = codec.decode_in_place(memory)
    del memory
    gc.collect()
    assert alive() is None and value["y"].sum() == 45


def test_without_a_keeper_nothing_refers_to_the_bytes(codec):
    memory = aligned(codec.encode([np.arange(1000), np.arange(5)]))
    first, second = codec.decode(memory)
    memory[:] = 255
    assert first.sum() == 499_500 and second.sum() == 10


def test_items_on_odd_addresses_are_copied(codec):
    data = codec.encode(np.arange(1000))
    memory = aligned(b"x" + data)[1:]
    array = codec.decode_in_place(memory)
    assert array.flags.aligned and not is_inside(array, memory) and array[-1] == 999


@pytest.mark.parametrize("name", ["float", "fortran", "strided", "datetime fortran", "timedelta"])
def test_reduce_array_serves_other_picklers(codec, name):
    array, file, buffers = np.concatenate([ARRAYS[name]] * 9), io.BytesIO(), []
    pickler = pickle.Pickler(file, 5, buffer_callback=buffers.append)
    pickler.dispatch_table = {np.ndarray: codec.reduce_array}
    pickler.dump([array, array])
    back, again = pickle.loads(file.getvalue(), buffers=[buffer.raw().toreadonly() for buffer in buffers])
    assert back is again and len(buffers) == 1
    assert back.dtype == array.dtype and np.array_equal(back, array) and not back.flags.writeable


def test_encoding_copies_no_big_array(codec):
    array = np.empty(3 << 30, np.uint8)  # never touched: takes addresses, not memory
    size, whole, _ = codec.measure(array)
    assert size == (3 << 30) + ALIGNMENT and not whole
    assert codec.measure([array, array])[0] < (3 << 30) + 1024  # shared, once


def test_sizes_beyond_32_bits(codec):
    assert codec.measure(bytes(5 << 30))[0] == (5 << 30) + 1
    memory = np.frombuffer(mmap.mmap(-1, (3 << 30) + ALIGNMENT), np.uint8)
    memory[:16] = np.frombuffer(codec.encode(np.zeros(600, np.uint8)), np.uint8)[:16]
    memory[8:16] = np.frombuffer((3 << 30).to_bytes(8, "little"), np.uint8)
    memory[-1] = 7
    array = codec.decode_in_place(memory)
    assert array.nbytes == 3 << 30 and array[-1] == 7


def test_buffers_are_released(codec):
    class Exporter:
        def __init__(self, data):
            self.data = data

        def __reduce_ex__(self, protocol):
            return bytes, (pickle.PickleBuffer(self.data),)

    data = bytearray(b"x" * 5000)
    assert codec.decode(codec.encode(Exporter(data))) == bytes(data)
    codec.drop_without_gil(Exporter(data))
    data.append(1)  # BufferError while anyone holds a view


def test_buffers_that_are_not_contiguous_fail_as_in_pickle(codec):
    class Exporter:
        def __reduce_ex__(self, protocol):
            return bytes, (pickle.PickleBuffer(memoryview(bytes(100))[::2]),)

    with pytest.raises(TypeError, match="contiguous"):
        codec.encode(Exporter())


def test_an_array_and_its_view_share_no_memory_by_accident(codec):
    array = np.arange(1000)
    value = codec.decode(codec.encode([array, array[10:]]))
    assert np.array_equal(value[1], array[10:])


@pytest.mark.parametrize(
    "scalar", [np.float64(1.5), np.int8(3), np.bool_(True), np.datetime64(5, "ns"), np.str_("é")]
)
def test_numpy_scalars_keep_their_types(codec, scalar):
    back = codec.decode(codec.encode([scalar]))[0]
    assert type(back) is type(scalar) and back == scalar


def test_data_frames(codec):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {"n": np.arange(1000), "when": np.arange(1000).astype("M8[ns]"), "s": ["x"] * 1000}
    )
    frame["kind"] = frame["s"].astype("category")
    data = codec.encode({"frame": frame})
    pandas.testing.assert_frame_equal(codec.decode_in_place(aligned(data))["frame"], frame)


def test_arrow_tables_alias_the_store(codec):
    arrow = pytest.importorskip("pyarrow")
    table = arrow.table({"n": np.arange(1000), "s": ["text"] * 1000})
    memory = aligned(codec.encode(table))
    back = codec.decode_in_place(memory)
    assert back == table
    column = back["n"].chunk(0).to_numpy()
    assert is_inside(column, memory) and address(column) % ALIGNMENT == 0


def test_tensors(codec):
    torch = pytest.importorskip("torch")
    tensor = torch.arange(1000.0)
    assert torch.equal(codec.decode(codec.encode({"x": tensor}))["x"], tensor)
