"""`mg.save` and `mg.load`.

Owns: that what is loaded is what was saved, to the bit; that a bad file changes
nothing; that a file is never half one.
Must not own: files of compiled programs (`test_saving.py`), or what PyTorch reads
(`test_torch_saving.py`).
Read next: `test_fit.py`.
"""

import pickle
import sys
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import microgradnd as mg
from microgradnd import nn, optim, saving

FORMATS = ["plain", "plain.npz", "plain.safetensors"]
SAFE = [np.dtype(name) for name in sorted(saving.SAFE)]
OTHERS = [np.dtype(name) for name in ("complex64", "complex128", "longdouble", ">f8", ">i2", "U3", "M8[s]", "i4,f4")]


def same(a, b):
    """Return whether two trees are equal to the bit: types, dtypes, shapes and order of
    keys.
    """
    if isinstance(a, np.ndarray | np.generic):
        return type(a) is type(b) and a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, dict):
        return type(b) is dict and list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and repr(a) == repr(b)


def arrays(dtypes):
    shapes = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
    made = st.sampled_from(dtypes).flatmap(lambda dtype: hnp.arrays(dtype, shapes))
    return made.flatmap(lambda a: st.sampled_from([a, a.T, np.asfortranarray(a), a[..., ::-1] if a.ndim else a]))


KEYS = st.text(max_size=3) | st.integers() | st.sampled_from(["__metadata__", "microgradnd", "file", "a.b", "a", None])
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | arrays(SAFE)
TREES = st.recursive(
    LEAVES, lambda t: st.lists(t, max_size=3) | st.dictionaries(KEYS, t, max_size=3) | st.tuples(t, t), max_leaves=8
)


@pytest.mark.parametrize("name", FORMATS)
@given(tree=TREES)
def test_what_is_loaded_is_what_was_saved(tmp_path_factory, name, tree):
    path = tmp_path_factory.mktemp("saved") / name
    mg.save(path, tree)
    assert same(tree, mg.load(path))


@given(tree=st.dictionaries(st.text(max_size=3), arrays(OTHERS), min_size=1, max_size=3))
def test_dtypes_that_safetensors_lacks_are_kept_in_npz(tmp_path_factory, tree):
    path = tmp_path_factory.mktemp("saved") / "plain"
    mg.save(path, tree)
    assert same(tree, mg.load(path))
    with pytest.raises(TypeError, match=r"can't hold the dtype .* ends in \.npz"):
        mg.save(path.with_suffix(".safetensors"), tree)


@pytest.mark.parametrize("name", FORMATS)
def test_arrays_of_any_layout_and_keys_of_any_name_are_kept(tmp_path, name):
    a = np.arange(24.0).reshape(2, 3, 4)
    tree = {
        np.int64(3): 1,
        (1, "b", None): np.str_("c") if name != "plain.safetensors" else 2,
        1.5: 4,
        "": a.T,
        "__metadata__": a[:, ::-1],
        "microgradnd": np.asfortranarray(a),
        "a": {"b": a[0]},
        "a.b": a[..., 1],
    }
    mg.save(tmp_path / name, tree)
    assert same(tree, mg.load(tmp_path / name))


def test_the_order_of_bytes_is_kept(tmp_path):
    tree = [np.arange(3, dtype=dtype) for dtype in (">f8", "<f8", ">i4")]
    mg.save(tmp_path / "a", tree)
    assert same(tree, mg.load(tmp_path / "a"))
    with pytest.raises(TypeError, match=r"can't hold the dtype >"):
        mg.save(tmp_path / "a.safetensors", tree)


def test_scalars_of_numpy_stay_such(tmp_path):
    tree = [np.float32(1.5), np.bool_(True), np.int8(-1), np.float64(2.0), np.array(3.0)]
    mg.save(tmp_path / "a", tree)
    assert same(tree, mg.load(tmp_path / "a"))


def test_derived_containers_come_back_plain(tmp_path):
    mg.save(tmp_path / "a", OrderedDict(a=saving.Path("x").parts, b=mg.tensor([1.0], requires_grad=True)))
    assert same({"a": ("x",), "b": np.array([1.0])}, mg.load(tmp_path / "a"))


def trained(seed):
    """Return a model with dropout, its optimizer after some steps, and a generator."""
    rng = np.random.default_rng(seed)
    model = nn.Sequential(nn.Linear(2, 4, rng=rng), nn.Dropout(0.5, rng=rng), nn.Linear(4, 1, rng=rng))
    optimizer = optim.Adam(model.parameters(), lr=0.1)
    steps(model, optimizer, 3)
    return {"model": model, "optimizer": optimizer, "rng": rng}


def steps(model, optimizer, count):
    for _ in range(count):
        optimizer.zero_grad()
        np.sum(model(np.ones((3, 2))) ** 2).backward()
        optimizer.step()
    return model.state_dict()


@pytest.mark.parametrize("name", FORMATS)
def test_training_goes_on_to_the_same_numbers(tmp_path, name):
    saved, other = trained(0), trained(1)
    mg.save(tmp_path / name, saved | {"epoch": 3})
    expected = steps(saved["model"], saved["optimizer"], 4)
    loaded = mg.load(tmp_path / name, into=other)
    assert loaded == other | {"epoch": 3}
    assert same(expected, steps(other["model"], other["optimizer"], 4))


@pytest.mark.parametrize(
    "bits", [np.random.MT19937, np.random.PCG64, np.random.PCG64DXSM, np.random.Philox, np.random.SFC64]
)
def test_generators_go_on(tmp_path, bits):
    first, second = np.random.Generator(bits(1)), np.random.Generator(bits(2))
    first.integers(7, dtype=np.int32)  # half of a draw is kept for the next one
    mg.save(tmp_path / "rng", first)
    mg.load(tmp_path / "rng", into=second)
    np.testing.assert_array_equal(
        first.integers(100, size=9, dtype=np.int32), second.integers(100, size=9, dtype=np.int32)
    )


def test_a_state_that_does_not_fit_changes_nothing(tmp_path):
    mg.save(tmp_path / "a", trained(0))
    other = trained(1)
    other["optimizer"] = optim.SGD(other["model"].parameters(), lr=0.1, momentum=0.9)
    before = saving.states(other)
    with pytest.raises(ValueError, match="optimizer doesn't fit the saved state, and nothing was changed"):
        mg.load(tmp_path / "a", into=other)
    assert same(before, saving.states(other))
    for into in ({"modell": other["model"]}, [other["model"]], {"model": [other["model"]]}, {"rng": other["model"]}):
        with pytest.raises(ValueError, match="nothing was changed"):
            mg.load(tmp_path / "a", into=into)
    assert same(before, saving.states(other))


def test_tensors_take_over_their_values(tmp_path):
    """In place, as modules do, and all or none; a use before the load is noticed."""
    w, v = mg.tensor([1.0, 2.0], requires_grad=True), mg.tensor([[3.0]], requires_grad=True)
    mg.save(tmp_path / "a.npz", {"w": w, "v": [v], "step": 3})
    with mg.no_grad():
        w += 1
        v += 1
    product, array = w * w, w.data
    loaded = mg.load(tmp_path / "a.npz", into={"w": w, "v": [v]})
    assert loaded["w"] is w
    assert loaded["v"][0] is v
    assert loaded["step"] == 3
    assert w.data is array
    assert array.tolist() == [1, 2]
    assert v.item() == 3
    with pytest.raises(RuntimeError, match="was changed after"):
        np.sum(product).backward()
    mg.save(tmp_path / "b.npz", {"w": w + 5, "v": [np.ones(3)]})
    with pytest.raises(ValueError, match=r"v.0 doesn't fit .* nothing was changed: the Tensor has shape \(1, 1\)"):
        mg.load(tmp_path / "b.npz", into={"w": w, "v": [v]})
    assert w.data.tolist() == [1, 2]


def test_a_tuple_stays_a_tuple(tmp_path):
    w = mg.tensor([1.0], requires_grad=True)
    mg.save(tmp_path / "a.npz", {"pair": (w, 2), "list": [w]})
    loaded = mg.load(tmp_path / "a.npz", into={"pair": (w, 0), "list": [w]})
    assert loaded["pair"] == (w, 2)
    assert type(loaded["list"]) is list


def test_models_in_lists_take_over_their_states(tmp_path):
    models, others = [nn.Linear(1, 1), nn.Linear(2, 1)], (nn.Linear(1, 1), nn.Linear(2, 1))
    mg.save(tmp_path / "a", {"models": models})
    loaded = mg.load(tmp_path / "a", into={"models": others})
    assert loaded["models"] == list(others)
    assert all(same(a.state_dict(), b.state_dict()) for a, b in zip(models, others, strict=True))


@pytest.mark.parametrize("name", FORMATS[1:])
def test_a_file_that_was_cut_off_or_changed_changes_nothing(tmp_path, name):
    model, rng = nn.Linear(2, 3, rng=np.random.default_rng(0)), np.random.default_rng(1)
    mg.save(tmp_path / name, {"model": model, "steps": [1, 2, (3.5, "x")]})
    other = nn.Linear(2, 3)
    before, whole = other.state_dict(), (tmp_path / name).read_bytes()
    for end in (*range(0, len(whole), 7), len(whole) - 1):
        (tmp_path / name).write_bytes(whole[:end])
        with pytest.raises(ValueError, match="isn't a whole"):
            mg.load(tmp_path / name, into={"model": other})
    for _ in range(100):  # other numbers may pass for numbers in safetensors, which has no checksum
        changed = bytearray(whole)
        for place in rng.integers(len(whole), size=3):
            changed[place] = rng.integers(256)
        (tmp_path / name).write_bytes(changed)
        try:
            mg.load(tmp_path / name)
        except ValueError as error:
            assert "isn't a whole" in str(error)  # noqa: PT017 -- any other error fails
    assert same(before, other.state_dict())


class Trap:
    """An object that runs code where it is unpickled."""

    def __reduce__(self):
        return sys.exit, ("it was unpickled",)


def archive(path, entries, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in entries.items():
            file.writestr(name, content)


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"PK"),
        lambda path: path.write_text("epoch,loss\n1,0.5\n"),
        lambda path: path.write_bytes(pickle.dumps(Trap())),
        lambda path: np.savez(path, a=np.array([Trap()])),
        lambda path: np.savez_compressed(path, a=np.zeros(10**7)),
        lambda path: archive(path, {"a.npy": b"no array"}),
        lambda path: archive(path, {saving.TEXT: "[" * 10**5}),
        lambda path: archive(path, {saving.TEXT: '{"array": "missing"}'}),
        lambda path: archive(path, {saving.TEXT: '{"eval": "exit()"}'}),
        lambda path: archive(path, {saving.TEXT: '{"dict": [[{"list": []}, 1]]}'}),
        lambda path: path.write_bytes((2**63).to_bytes(8, "little") + b"{}"),
        lambda path: path.write_bytes((2**20).to_bytes(8, "little") + b"{}"),
    ],
)
def test_a_hostile_file_is_an_error(tmp_path, write):
    write(tmp_path / "a.npz")
    with pytest.raises(ValueError, match=r"a\.npz isn't a whole \.safetensors or \.npz file"):
        mg.load(tmp_path / "a.npz")


def test_files_of_numpy_are_dicts_of_arrays(tmp_path):
    tree = {"weight": np.ones((2, 3)), "bias": np.arange(3)}
    np.savez(tmp_path / "a.npz", **tree)
    assert same(tree, mg.load(tmp_path / "a.npz"))


def test_files_of_ours_are_read_by_numpy_and_safetensors(tmp_path):
    library = pytest.importorskip("safetensors.numpy", reason="safetensors isn't installed")
    model = nn.Sequential(nn.Linear(2, 3))
    mg.save(tmp_path / "a.npz", model)
    mg.save(tmp_path / "a.safetensors", model)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        assert {name: file[name].tolist() for name in model.state_dict()} == {
            name: array.tolist() for name, array in model.state_dict().items()
        }
    loaded = library.load_file(tmp_path / "a.safetensors")
    assert same(model.state_dict(), {name: loaded[name] for name in model.state_dict()})


@pytest.mark.parametrize("name", FORMATS)
def test_a_save_that_fails_leaves_the_old_file(tmp_path, name, monkeypatch):
    mg.save(tmp_path / name, {"a": np.ones(2)})
    before = (tmp_path / name).read_bytes()

    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space left"):
        mg.save(tmp_path / name, {"a": np.zeros(2)})
    assert (tmp_path / name).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_is_as_readable_as_any_new_one(tmp_path, name):
    (tmp_path / "other").touch()
    mg.save(tmp_path / name, {"a": np.ones(2)})
    assert (tmp_path / name).stat().st_mode == (tmp_path / "other").stat().st_mode


def test_a_link_stays_one(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "latest").symlink_to(tmp_path / "real" / "a")
    mg.save(tmp_path / "latest", 3)
    assert (tmp_path / "latest").is_symlink()
    assert mg.load(tmp_path / "real" / "a") == 3


def test_without_safetensors_files_are_npz(tmp_path, monkeypatch):
    mg.save(tmp_path / "a.safetensors", 3)
    for name in [name for name in sys.modules if name.partition(".")[0] == "safetensors"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "safetensors", None)
    mg.save(tmp_path / "a", {"a": np.ones(2)})
    assert (tmp_path / "a").read_bytes().startswith(b"PK")
    for call in (lambda: mg.save(tmp_path / "b.safetensors", 3), lambda: mg.load(tmp_path / "a.safetensors")):
        with pytest.raises(ImportError, match=r'pip install "microgradnd\[safetensors\]"'):
            call()
