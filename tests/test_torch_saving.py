"""Files that PyTorch reads, and files that it wrote.

Owns: that parameters pass between this library and PyTorch by way of a safetensors
file.
Must not own: everything else about files (`test_checkpoints.py`).
Read next: `test_checkpoints.py`.
"""

import numpy as np
import pytest

import microgradnd as mg
from microgradnd import nn

torch = pytest.importorskip("torch", reason="PyTorch isn't installed")
library = pytest.importorskip("safetensors.torch", reason="safetensors isn't installed")


def networks():
    ours = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    theirs = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2)).double()
    return ours, theirs


def test_pytorch_reads_what_is_saved(tmp_path):
    ours, theirs = networks()
    ours[0].weight.data = np.asfortranarray(ours[0].weight.data)  # which safetensors alone would write in wrong order
    mg.save(tmp_path / "a.safetensors", ours)
    theirs.load_state_dict(library.load_file(tmp_path / "a.safetensors"))
    x = np.random.default_rng(0).normal(size=(5, 3))
    np.testing.assert_allclose(theirs(torch.tensor(x)).detach().numpy(), ours(x).data, rtol=1e-12)


def test_what_pytorch_wrote_is_loaded(tmp_path):
    ours, theirs = networks()
    library.save_file(theirs.state_dict(), tmp_path / "a.safetensors")
    ours.load_state_dict(mg.load(tmp_path / "a.safetensors"))
    mg.load(tmp_path / "a.safetensors", into=ours)
    x = np.random.default_rng(0).normal(size=(5, 3))
    np.testing.assert_allclose(theirs(torch.tensor(x)).detach().numpy(), ours(x).data, rtol=1e-12)


@pytest.mark.parametrize("package", ["microgradnd", "ml_dtypes"])  # the latter teaches NumPy other numbers
def test_numbers_that_numpy_lacks_are_an_error(tmp_path, package):
    pytest.importorskip(package)
    library.save_file({"a": torch.ones(2, dtype=torch.bfloat16)}, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match=r"isn't a whole .*: NumPy has no dtype for a \(BF16\); save them as float32"):
        mg.load(tmp_path / "a.safetensors")


def test_a_file_that_needs_unpickling_is_an_error(tmp_path):
    torch.save({"a": torch.ones(2)}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"wrote it as a pickle; use safetensors\.torch\.save_file"):
        mg.load(tmp_path / "a.pt")
