"""What type checkers know of the library beyond its signatures.

Owns: type variables, and the types of methods and calls that are made by functions.
Must not own: anything that runs, or options of one function (their `Literal`s stand
next to it).
Read next: `arraylike.py`, whose methods have these types.

To a type checker a Tensor holds `Numbers` of an unknown kind. NumPy's own stubs decide
what its functions return, and for an array of floats they say that `np.mean(t)` is a
`np.floating`, which has no `backward()`. Where they can't tell the kind, they leave the
type open, so that the result may be used as the Tensor that it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar

if TYPE_CHECKING:
    from typing_extensions import TypeVar as TypeVarWithDefault

    Numbers = TypeVarWithDefault("Numbers", default=Any)
else:
    Numbers = TypeVar("Numbers")

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
Like = TypeVar("Like")  # a Tensor, or a class that it inherits from


class Method(Protocol):
    """A method that is NumPy's function: it gives another Tensor."""

    def __get__(self, tensor: Like, owner: Any = None) -> Callable[..., Like]: ...
    def __call__(self, tensor: Like, *args: Any, **kwargs: Any) -> Like: ...


class Forward(Protocol[P, R_co]):
    """A module with a forward()."""

    def forward(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...


class Call:
    """The call of a module, which takes and returns what its forward() does."""

    def __get__(self, module: Forward[P, R_co], owner: Any = None) -> Callable[P, R_co]:
        raise NotImplementedError
