"""The layers, activations and losses of `nn`.

Owns: which parameters a layer has, and what they start from.
Must not own: formulas and derivatives (`functional.py`), registration (`module.py`).
Read next: `../optim/optimizer.py`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from microgradnd.failures import explained
from microgradnd.nn import functional as F
from microgradnd.nn.init import generator
from microgradnd.nn.module import Module, Parameter
from microgradnd.operators import NO_KEYWORDS
from microgradnd.tensor import Tensor, apply

X = TypeVar("X", Tensor, npt.NDArray[Any])


class Linear(Module):
    """The affine map x W' + b.

    Parameters
    ----------
    in_features, out_features : int
        The lengths of the last axes of input and output.
    bias : bool
        Whether there is a b.
    dtype : dtype
        Of the parameters, by default float64.
    rng : numpy.random.Generator, optional
        For the initial values, which are uniform on +-1/sqrt(in_features), as in PyTorch; fresh entropy without one.

    Attributes
    ----------
    weight : Tensor of shape (out_features, in_features)
    bias : Tensor of shape (out_features,), or None

    Raises
    ------
    ValueError
        If a number of features isn't a positive integer.
    TypeError
        If `rng` isn't a Generator.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> layer = nn.Linear(3, 2, rng=np.random.default_rng(0))
    >>> layer
    Linear(3, 2, weight=(2, 3), bias=(2,))  # 8 parameters
    >>> layer(np.ones((5, 3))).shape
    (5, 2)
    """

    weight: Tensor
    bias: Tensor | None

    @explained
    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        dtype: npt.DTypeLike = np.float64,
        rng: np.random.Generator | None = None,
    ) -> None:
        for name, number in (("in_features", in_features), ("out_features", out_features)):
            if not isinstance(number, int | np.integer) or number < 1:
                raise ValueError(f"Linear: {name} must be a positive integer, got {number!r}")
        rng = generator(rng)
        self.in_features = in_features
        self.out_features = out_features
        bound = 1 / math.sqrt(in_features)
        self.weight = Parameter(rng.uniform(-bound, bound, (out_features, in_features)), dtype)
        self.bias = Parameter(rng.uniform(-bound, bound, out_features), dtype) if bias else None

    def forward(self, x: Any) -> Tensor:
        """Return x W' + b, for x of shape (..., in_features)."""
        weight = self.weight
        if type(weight) is Tensor:  # as F.linear does, once it has looked for a Tensor among its arguments
            return apply(F.linear, (x, weight, self.bias), NO_KEYWORDS)
        return F.linear(x, weight, self.bias)

    def extra_repr(self) -> str:
        """Return the numbers of features."""
        return f"{self.in_features}, {self.out_features}"


class Sequential(Module):
    """Modules one after the other, each called with the result of the one before.

    A sequence of them: `len`, iteration, `model[-1]`, `model[1:]` (which shares the modules), `model[0] = module` and
    `del model[0]`, after which the others are numbered anew.

    Parameters
    ----------
    *modules : Module
        Registered as "0", "1", ...; or a single dict, which names them.

    Raises
    ------
    TypeError
        If one isn't a module.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> model = nn.Sequential(nn.Linear(1, 64), nn.ReLU(), nn.Linear(64, 1))
    >>> model
    Sequential(
      (0): Linear(1, 64, weight=(64, 1), bias=(64,))
      (1): ReLU()
      (2): Linear(64, 1, weight=(1, 64), bias=(1,))
    )  # 193 parameters
    >>> [name for name, _ in model.named_parameters()]
    ['0.weight', '0.bias', '2.weight', '2.bias']
    >>> model[0].weight.name, len(model)
    ('0.weight', 3)
    >>> nn.Sequential({"hidden": nn.Linear(2, 3), "out": nn.Linear(3, 1)})[-1].weight.name
    'out.weight'
    """

    def __init__(self, *modules: Module | Mapping[str, Module]) -> None:
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            items: list[tuple[str, Any]] = list(modules[0].items())
        else:
            items = [(str(i), module) for i, module in enumerate(modules)]
        for name, module in items:
            setattr(self, name, self._checked(name, module))

    def forward(self, x: Any) -> Tensor | Any:
        """Return the result of the last module."""
        attributes = vars(self)
        for name, kind in self._kinds.items():
            if kind == "module":
                x = attributes[name](x)
        return x

    def __len__(self) -> int:
        return sum(kind == "module" for kind in self._kinds.values())

    def __iter__(self) -> Iterator[Module]:
        return self.children()

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return Sequential(dict(list(self.named_children())[index]))
        return getattr(self, self._name(index))

    def __setitem__(self, index: int, module: Module) -> None:
        if isinstance(index, slice):
            raise TypeError("Sequential: a slice can't be assigned to; assign the modules one by one")
        name = self._name(index)
        setattr(self, name, self._checked(name, module))

    def __delitem__(self, index: int | slice) -> None:
        names = [name for name, _ in self.named_children()]
        for name in names[index] if isinstance(index, slice) else [self._name(index)]:
            delattr(self, name)
        self._number()

    def _name(self, index: int) -> str:
        """Return the name of the module at a place."""
        names = [name for name, _ in self.named_children()]
        try:
            return names[operator.index(index)]
        except TypeError:
            raise TypeError(f"Sequential: an index must be an integer or a slice, got {index!r}") from None
        except IndexError:
            raise IndexError(f"Sequential: index {index} is out of range for {len(names)} modules") from None

    def _checked(self, name: str, module: Any) -> Module:
        """Return a module, or raise if it isn't one."""
        if not isinstance(module, Module):
            what = getattr(module, "__name__", repr(module))
            raise TypeError(
                f"Sequential: item {name} is {what}, not a Module; pass instances such as nn.ReLU(), unpack a list "
                f"with *, and put a function into the forward() of a Module"
            )
        return module

    def _number(self) -> None:
        """Close the gaps in the numbers of the modules, which then say their places again; names stay."""
        children = list(self.named_children())
        if not all(name.isdigit() for name, _ in children):
            return
        for name, _ in children:
            delattr(self, name)
        for new, (old, module) in enumerate(children):
            setattr(self, str(new), module)
            for path, parameter in module.named_parameters():
                before = parameter.name or ""
                end = f"{old}.{path}"
                if before == end or before.endswith(f".{end}"):
                    parameter.name = f"{before.removesuffix(end)}{new}.{path}"


class Dropout(Module):
    """Sets elements to 0 with probability p while it trains, and leaves them as they are in evaluation.

    Parameters
    ----------
    p : float
        The probability, from 0 to 1.
    rng : numpy.random.Generator, optional
        What draws; by default one with fresh entropy.

    Raises
    ------
    ValueError
        If p isn't a probability.
    TypeError
        If `rng` isn't a Generator.

    See Also
    --------
    microgradnd.nn.functional.dropout : the function.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> layer = nn.Dropout(0.5, rng=np.random.default_rng(0))
    >>> layer(np.ones(4))
    array([2., 0., 0., 0.])
    >>> layer.eval()(np.ones(4))
    array([1., 1., 1., 1.])
    """

    def __init__(self, p: float = 0.5, *, rng: np.random.Generator | None = None) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"Dropout: p must be a probability, from 0 to 1, got {p!r}")
        self.p = p
        self.rng = generator(rng)

    def forward(self, x: X) -> X:
        """Return x with elements set to 0, or as it is."""
        return F.dropout(x, self.p, self.training, rng=self.rng)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class ReLU(Module):
    """max(x, 0), whose derivative at 0 is 0.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> nn.ReLU()(np.array([-1.0, 2.0]))
    array([0., 2.])
    """

    def forward(self, x: X) -> X:
        """Return max(x, 0)."""
        return x.relu() if type(x) is Tensor else F.relu(x)


class Tanh(Module):
    """The hyperbolic tangent.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> nn.Tanh()(np.array([0.0, 100.0]))
    array([0., 1.])
    """

    def forward(self, x: X) -> X:
        """Return tanh(x)."""
        return F.tanh(x)


class Sigmoid(Module):
    """1 / (1 + exp(-x)).

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> nn.Sigmoid()(np.array([0.0, 100.0]))
    array([0.5, 1. ])
    """

    def forward(self, x: X) -> X:
        """Return 1 / (1 + exp(-x))."""
        return F.sigmoid(x)


class Identity(Module):
    """x itself: a layer that does nothing, where one is expected.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> nn.Identity()(np.array([0.0, 1.0]))
    array([0., 1.])
    """

    def forward(self, x: X) -> X:
        """Return x."""
        return x


class SSELoss(Module):
    """The sum of squared errors; see `functional.sse_loss`.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> float(nn.SSELoss()(np.array([1.0, 2.0]), np.array([1.0, 4.0])))
    4.0
    """

    def forward(self, y_pred: Any, y: Any) -> Tensor | Any:
        """Return sum((y_pred - y)^2)."""
        return F.sse_loss(y_pred, y)


class Reduced(Module):
    """What the losses with a reduction share: the setting."""

    def __init__(self, reduction: F.Reduction = "mean") -> None:
        if not isinstance(reduction, str):
            kind = type(self).__name__
            raise TypeError(
                f"{kind}: reduction must be 'mean', 'sum' or 'none', got {type(reduction).__name__}; make the loss "
                f"first, then call it: nn.{kind}()(prediction, target)"
            )
        F.check_reduction(type(self).__name__, reduction)
        self.reduction = reduction

    def extra_repr(self) -> str:
        """Return the reduction."""
        return f"reduction={self.reduction!r}"


class MSELoss(Reduced):
    """The mean squared error; see `functional.mse_loss`.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> float(nn.MSELoss()(np.array([1.0, 2.0]), np.array([1.0, 4.0])))
    2.0
    """

    def forward(self, y_pred: Any, y: Any) -> Tensor | Any:
        """Return mean((y_pred - y)^2)."""
        return F.mse_loss(y_pred, y, self.reduction)


class CrossEntropyLoss(Reduced):
    """The cross-entropy of integer labels; see `functional.cross_entropy`.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> round(float(nn.CrossEntropyLoss()(np.zeros((4, 10)), np.arange(4))), 3)  # log(10)
    2.303
    """

    def forward(self, logits: Any, labels: Any) -> Tensor | Any:
        """Return mean(-log softmax(logits)[label])."""
        return F.cross_entropy(logits, labels, self.reduction)
