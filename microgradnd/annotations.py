"""What type checkers know about the library beyond its signatures.

Owns: type variables, and the types of methods and calls that functions make.
Must not own: anything that runs, or the options of one function (their `Literal`s stand
next to it).
Read next: `arraylike.py`, whose methods have these types.

To a type checker, a Tensor holds `Numbers` of an unknown kind. NumPy's stubs decide
what NumPy's functions return. For an array of floats they say that `np.mean(t)` is a
`np.floating`, which has no `backward()`. For an unknown kind they leave the type open,
so you can use the result as the Tensor that it is.
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
    """A method that calls a NumPy function: it returns another Tensor."""

    def __get__(self, tensor: Like, owner: Any = None) -> Callable[..., Like]: ...
    def __call__(self, tensor: Like, *args: Any, **kwargs: Any) -> Like: ...


class Forward(Protocol[P, R_co]):
    """A module with a forward()."""

    def forward(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...


class Call:
    """The call of a module, with the parameters and the result of its forward()."""

    def __get__(self, module: Forward[P, R_co], owner: Any = None) -> Callable[P, R_co]:
        raise NotImplementedError
