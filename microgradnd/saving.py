"""Checkpoints: models, optimizers, generators and nested arrays in a file, and back.

Owns: `save`, `load`, the two formats, and restoring states so that nothing changes
unless everything fits.
Must not own: what a state is (`nn/module.py`, `optim/optimizer.py`), or compiled
programs (`compiler/saving.py`).
Read next: `nn/fit.py`.

A file holds named arrays and a JSON text, which describes how they were nested and the
values that aren't arrays. PyTorch and other libraries can read the arrays of a
safetensors file. Their files have no such text, and load as a dict of arrays. Nothing
in a file is ever executed: no pickle is involved.
"""

from __future__ import annotations

import contextlib
import json
import os
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from microgradnd.failures import explained
from microgradnd.states import overwrite
from microgradnd.tensor import Tensor
from microgradnd.trees import Tree, flatten

INSTALL = 'pip install "microgradnd[safetensors]"'
TEXT = "microgradnd"  # the text's name in a file
RESERVED = {"", TEXT, "__metadata__"}  # not for arrays: safetensors can write the last, but not read it
SAFE = {"bool", "float16", "float32", "float64"} | {f"{kind}{8 * n}" for kind in ("int", "uint") for n in (1, 2, 4, 8)}


def has_state(value: Any) -> bool:
    """Return whether a value is saved by its state, which it can load in place."""
    own = hasattr(type(value), "state_dict") and hasattr(type(value), "load_state_dict")
    return own or isinstance(value, np.random.Generator)


def state_of(value: Any) -> Any:
    """Return a copy of the state of a value that has one, or of a Tensor's array."""
    if isinstance(value, Tensor):
        return np.array(value.data)
    return value.bit_generator.state if isinstance(value, np.random.Generator) else value.state_dict()


def take_over(value: Any, state: Any) -> None:
    """Load a state into a value in place, or raise."""
    if isinstance(value, np.random.Generator):
        value.bit_generator.state = state
    elif isinstance(value, Tensor):
        new = np.asarray(state)
        if new.shape != value.shape or not np.can_cast(new.dtype, value.dtype, "same_kind"):
            raise ValueError(
                f"the Tensor has shape {value.shape} and dtype {value.dtype}, got {new.shape}, {new.dtype}"
            )
        overwrite(value, new)
    else:
        value.load_state_dict(state)


def states(tree: Tree) -> Tree:
    """Return a tree with copies of the states in place of the objects that have one."""
    leaves, form = flatten(tree, has_state)
    return form.rebuild([state_of(leaf) if has_state(leaf) else leaf for leaf in leaves])


def restore(tree: Tree, saved: Tree, where: str) -> Tree:
    """Load states from a saved tree into the objects of another: into all, or none.

    If one doesn't fit, no object changes. Returns the saved tree, with the objects in
    place of their states.
    """
    found: list[tuple[str, Any, Any]] = []
    new = matched(tree, saved, "", where, found)
    before = [(value, state_of(value)) for _, value, _ in found]
    for name, value, state in found:
        try:
            take_over(value, state)
        except Exception as error:
            for other, old in before:
                take_over(other, old)
            what = f"{where}: {name or 'it'} doesn't fit the saved state, and nothing was changed"
            raise ValueError(f"{what}: {error}") from error
    return new


def matched(tree: Tree, saved: Tree, name: str, where: str, found: list[tuple[str, Any, Any]]) -> Tree:
    """Return a saved tree with a tree's objects in place of states; list those.

    The list `found` takes their names, the objects and their states.
    """
    if has_state(tree) or isinstance(tree, Tensor):
        found.append((name, tree, saved))
        return tree
    if not isinstance(tree, Mapping | list | tuple):
        return saved
    parts = dict(tree if isinstance(tree, Mapping) else enumerate(tree))
    others = dict(enumerate(saved)) if isinstance(saved, list | tuple) else saved
    is_part = isinstance(tree, Mapping)  # a dict may ask for some of the keys
    if not isinstance(others, dict) or not parts.keys() <= others.keys() or not (is_part or len(parts) == len(others)):
        got = f"{'only ' * is_part}{list(others)}" if isinstance(others, dict) else f"{saved!r:.60}"
        raise ValueError(f"{where}: {name or 'it'} must hold {list(parts)}, got {got}; nothing was changed")
    new = others | {key: matched(part, others[key], child(name, key), where, found) for key, part in parts.items()}
    return new if others is saved else type(saved)(new.values())


def child(name: str, key: Any) -> str:
    """Return the name of a part."""
    return f"{name}.{key}" if name else str(key)


@explained
def save(path: str | os.PathLike[str], tree: Tree) -> None:
    """Save models, optimizers, schedules, generators and nested arrays in a file.

    The file is complete or unchanged: `save` writes to another name first, and then
    replaces the file.

    Parameters
    ----------
    path : path
        The format follows the ending, `.safetensors` or `.npz`. Under any other name it
        is safetensors if that package is installed and knows the dtypes, otherwise
        `.npz`; `load` finds out.
    tree : tree
        Dicts, lists and tuples, at any depth. They may hold objects with `state_dict()`
        and `load_state_dict()`, such as modules, optimizers and schedules; NumPy
        Generators; arrays and Tensors of any dtype except object; numbers, strings and
        None. For a class derived from dict, list or tuple, only the contents are saved.

    Raises
    ------
    ValueError
        If the tree contains itself.
    TypeError
        If the tree holds anything else, or a dtype that the format doesn't have:
        complex numbers, longdouble, strings and dates need `.npz`.
    ImportError
        If the name ends in `.safetensors` and that package isn't installed.

    See Also
    --------
    load : the way back.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> from microgradnd import nn, optim
    >>> model = nn.Linear(2, 1)
    >>> optimizer = optim.Adam(model.parameters())
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tree = {"model": model, "optimizer": optimizer, "epoch": 3}
    ...     mg.save(f"{folder}/checkpoint", tree)
    ...     saved = mg.load(f"{folder}/checkpoint")
    >>> saved["epoch"], sorted(saved["model"])
    (3, ['bias', 'weight'])
    >>> model.load_state_dict(saved["model"])
    Mismatch(missing_keys=[], unexpected_keys=[])
    """
    path = as_path("save(path, tree)", path)
    arrays: dict[str, Any] = {}
    try:
        text = json.dumps(described(tree, "", arrays))
    except RecursionError as error:
        raise ValueError("save: the tree contains itself, or is nested too deeply; save its parts") from error
    dtypes = {array.dtype for array in arrays.values()}
    unsafe = [str(dtype) for dtype in dtypes if dtype.name not in SAFE or not dtype.isnative]
    if unsafe and path.suffix == ".safetensors":
        raise TypeError(f"save: safetensors can't hold the dtype {', '.join(unsafe)}; choose a path that ends in .npz")
    library = None if unsafe or path.suffix == ".npz" else safetensors(is_needed=path.suffix == ".safetensors")
    with replacing(path) as written:
        if library is not None:
            library.numpy.save_file(arrays, written, {TEXT: text})
            return
        with zipfile.ZipFile(written, "w") as archive:
            archive.writestr(TEXT, text)
            for name, array in arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, array, allow_pickle=False)


def as_path(call: str, path: Any) -> Path:
    """Return the path of a file, or raise.

    Python would take an integer for the number of a file that is open, and close it.
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"{call}: path must be a string or a Path, got {path!r:.60}")
    return Path(path)


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a path to write to; its file then replaces the old one at once, or not."""
    path = Path(os.path.realpath(path))
    if path.is_dir():
        raise IsADirectoryError(f"save: path must be a file, got the folder {path}; add the name of a file to it")
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"save: the folder of the path must exist, and {path.parent} doesn't; make it with Path.mkdir(parents=True)"
        )
    written = path.with_name(
        f".{path.name}.{os.urandom(4).hex()}"
    )  # in the same folder: only there is replacing it atomic
    try:
        written.touch()
        mode = written.stat().st_mode  # as for any new file; safetensors makes files private
        yield written
        written.chmod(mode)
        with written.open("rb+") as file:
            os.fsync(file.fileno())
        written.replace(path)
    finally:
        written.unlink(missing_ok=True)


def safetensors(is_needed: bool) -> Any:
    """Return the package safetensors, or None if it is missing and not needed."""
    try:
        import safetensors.numpy
    except ImportError as error:
        if is_needed:
            raise ImportError(f"this file format needs the package safetensors: {INSTALL}") from error
        return None
    return safetensors


def described(tree: Tree, name: str, arrays: dict[str, Any]) -> Any:
    """Return a tree as JSON; its arrays go into a dict, which the JSON refers to."""
    if has_state(tree):
        return described(state_of(tree), name, arrays)
    if tree is None or (isinstance(tree, bool | int | float | str) and not isinstance(tree, np.generic)):
        return tree
    if isinstance(tree, Mapping):
        items = tree.items()
        return {"dict": [[described(k, "key", arrays), described(v, child(name, k), arrays)] for k, v in items]}
    if isinstance(tree, list | tuple):
        kind = "list" if isinstance(tree, list) else "tuple"
        return {kind: [described(part, child(name, i), arrays) for i, part in enumerate(tree)]}
    kind = "array" if isinstance(tree, np.ndarray | Tensor) else "scalar"
    # safetensors garbles any other order
    array = np.asarray(tree.data if isinstance(tree, Tensor) else tree, order="C")
    if array.dtype.hasobject or isinstance(tree, np.ma.MaskedArray):
        raise TypeError(
            f"save: {name or 'the tree'} is {tree!r:.60} of type {type(tree).__name__}, which can't be saved; pass "
            f"arrays, numbers, strings, None, objects with state_dict(), or dicts, lists and tuples of these"
        )
    name = "".join(c if c.isprintable() else "_" for c in name)
    while name in RESERVED or name in arrays:
        name += "_"
    arrays[name] = array
    return {kind: name}


@explained
def load(path: str | os.PathLike[str], into: Tree = None) -> Tree:
    """Load a file that `save`, PyTorch or NumPy wrote, without executing anything.

    Parameters
    ----------
    path : path
    into : tree, optional
        A tree like the saved one, or with some of its keys. Its modules, optimizers,
        schedules and Generators load their saved states, and its Tensors their values:
        all of them, or, if one doesn't fit, none.

    Returns
    -------
    tree
        Dicts, lists, tuples, arrays, numbers, strings and None. A module, an optimizer
        or a schedule is replaced by its state, for `load_state_dict`; a Generator by a
        dict for `rng.bit_generator.state`. With `into`, the objects of that tree are in
        the place of their states.

    Raises
    ------
    ValueError
        If the file isn't of such a format, or is damaged; if it doesn't fit `into`,
        which then stays unchanged.
    ImportError
        If it is a safetensors file, and that package isn't installed.

    See Also
    --------
    save : writes such files.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> import microgradnd as mg
    >>> from microgradnd import nn
    >>> model, rng = nn.Linear(2, 1), np.random.default_rng(0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     mg.save(f"{folder}/a.npz", {"model": model, "rng": rng, "epoch": 3})
    ...     first = rng.random()
    ...     saved = mg.load(f"{folder}/a.npz", into={"model": model, "rng": rng})
    >>> rng.random() == first, saved["model"] is model, saved["epoch"]
    (True, True, 3)
    """
    path = as_path("load(path)", path)
    with path.open("rb") as file:
        head = file.read(9)
    library = safetensors(is_needed=True) if head.endswith(b"{") else None
    try:
        text, arrays = read_npz(path) if library is None else read_safetensors(path, library)
        tree = arrays if text is None else rebuilt(json.loads(text), arrays)
    except Exception as error:
        what = f"load: {path} isn't a whole .safetensors or .npz file of arrays"
        raise ValueError(f"{what}: {error or type(error).__name__}") from error
    return tree if into is None else restore(into, tree, f"load: {path}")


def read_npz(path: Any) -> tuple[str | None, dict[str, Any]]:
    """Return the text and the arrays of a file."""
    arrays = {}
    with zipfile.ZipFile(path) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > os.path.getsize(path):
            raise ValueError("it is compressed, and could unpack to any size; write it with np.savez")
        names = archive.namelist()
        if any(name.endswith("data.pkl") for name in names):
            raise ValueError(
                "torch.save wrote it as a pickle; use safetensors.torch.save_file(model.state_dict(), path)"
            )
        for entry in [name for name in names if name != TEXT]:
            with archive.open(entry) as file:
                arrays[entry.removesuffix(".npy")] = np.lib.format.read_array(file, allow_pickle=False)
        return archive.read(TEXT).decode() if TEXT in names else None, arrays


def read_safetensors(path: Any, library: Any) -> tuple[str | None, dict[str, Any]]:
    """Return the text and the arrays of a file."""
    with library.safe_open(path, framework="numpy") as file:
        dtypes = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118 -- it isn't a dict
        if foreign := [f"{name} ({dtype})" for name, dtype in dtypes.items() if dtype == "BF16" or dtype[:2] == "F8"]:
            raise ValueError(f"NumPy has no dtype for {', '.join(foreign)}; save them as float32")
        arrays = {name: file.get_tensor(name) for name in dtypes}
        return (file.metadata() or {}).get(TEXT), arrays


def rebuilt(tree: Any, arrays: dict[str, Any]) -> Tree:
    """Return the tree that a text describes, or raise."""
    if not isinstance(tree, dict | list):
        return tree
    [(kind, value)] = dict(tree).items()
    if kind == "dict":
        return {rebuilt(key, arrays): rebuilt(part, arrays) for key, part in value}
    if kind in ("array", "scalar"):
        return arrays.pop(value)[... if kind == "array" else ()]
    return {"list": list, "tuple": tuple}[kind]([rebuilt(part, arrays) for part in value])
