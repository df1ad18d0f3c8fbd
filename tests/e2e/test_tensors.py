"""Torch tensors out of the store: read in place, the program's own once it writes to them."""

import pytest

import narke

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.usefixtures("cluster")

MANY = 1 << 20


def private_kilobytes(tensor):
    """Memory of this process's own in the mapping that holds the tensor."""
    address = tensor.data_ptr()
    inside, found = False, 0
    with open("/proc/self/smaps") as maps:
        for line in maps:
            word = line.split()[0]
            if "-" in word and not word.endswith(":"):
                begin, end = (int(part, 16) for part in word.split("-"))
                inside = begin <= address < end
            elif inside and word == "Private_Dirty:":
                found += int(line.split()[1])
    return found


def test_a_large_tensor_is_not_copied_until_it_is_written_to():
    ref = narke.put(torch.arange(MANY))
    tensor = narke.get(ref)
    assert int(tensor.sum()) == MANY * (MANY - 1) // 2
    assert private_kilobytes(tensor) == 0
    tensor[5] = -1
    assert 0 < private_kilobytes(tensor) <= 64


def test_writing_leaves_the_stored_object_as_it_is():
    ref = narke.put({"weights": torch.zeros(MANY)})
    first = narke.get(ref)["weights"]
    first.add_(1)
    assert float(first.sum()) == MANY
    assert float(narke.get(ref)["weights"].sum()) == 0


def test_a_tensor_outlives_its_reference():
    @narke.remote
    def made():
        return torch.ones(MANY, dtype=torch.float64)

    tensor = narke.get(made.remote())
    others = [narke.put(torch.zeros(MANY)) for _ in range(20)]
    assert float(tensor.sum()) == MANY
    del others


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.bool, torch.int8, torch.complex64])
def test_kinds_and_shapes(dtype):
    tensor = torch.ones((3, 1024, 512), dtype=dtype)
    back = narke.get(narke.put(tensor))
    assert back.dtype == dtype and back.shape == tensor.shape and torch.equal(back, tensor)


def test_small_and_empty_ones():
    for tensor in (torch.arange(1000), torch.zeros(0), torch.tensor(3.5)):
        back = narke.get(narke.put(tensor))
        assert torch.equal(back, tensor)
        back += 1
        assert not torch.equal(back, tensor) or tensor.numel() == 0
