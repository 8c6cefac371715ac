"""Types of Tensors: operators, methods, attributes, and NumPy's functions."""

from typing import reveal_type

import numpy as np

import microgradnd as mg

t = mg.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
array = np.ones((2, 2))

reveal_type(t)  # -> Tensor

# Operators
reveal_type(t + 1)  # -> Tensor
reveal_type(1 - t)  # -> Tensor
reveal_type(t * array)  # -> Tensor
reveal_type(t @ t)  # -> Tensor
reveal_type(2.0 / t)  # -> Tensor
reveal_type(t**2)  # -> Tensor
reveal_type(-t)  # -> Tensor
reveal_type(abs(t))  # -> Tensor
reveal_type(np.float64(2.0) * t)  # -> Tensor
reveal_type(t < 1.0)  # -> NDArray
reveal_type(t == 1.0)  # -> NDArray

# Indexing and iteration
reveal_type(t[0])  # -> Tensor
reveal_type(t[:, None, 1])  # -> Tensor
reveal_type(list(t))  # -> list[Tensor]

# Methods
reveal_type(t.sum())  # -> Tensor
reveal_type(t.mean(axis=0))  # -> Tensor
reveal_type(t.reshape(4, 1))  # -> Tensor
reveal_type(t.transpose())  # -> Tensor
reveal_type(t.astype(np.float32))  # -> Tensor
reveal_type(t.clip(0.0, 1.0).copy())  # -> Tensor
reveal_type(t.detach())  # -> Tensor
reveal_type(t.argmax())  # -> NDArray
reveal_type(t.nonzero())  # -> tuple[NDArray, ...]

# Attributes
reveal_type(t.T)  # -> Tensor
reveal_type(t.real)  # -> Tensor
reveal_type(t.shape)  # -> tuple[int, ...]
reveal_type(t.data)  # -> NDArray
reveal_type(t.numpy())  # -> NDArray
reveal_type(t.grad)  # -> NDArray | Any
reveal_type(t.requires_grad)  # -> bool
reveal_type(t.name)  # -> str | None

# NumPy's functions: its own stubs decide. They see a Tensor as an array of unknown
# numbers, so most give Any, and the result may be used as the Tensor that it is.
reveal_type(np.sum(t))  # -> Any
reveal_type(np.mean(t))  # -> Any
reveal_type(np.sin(t))  # -> Any
reveal_type(np.dot(t, t))  # -> Any
reveal_type(np.max(t, axis=0))  # -> Any
reveal_type(array @ t)  # -> Any
reveal_type(array + t)  # -> Any
np.mean((array @ t - array) ** 2).backward()
loss: mg.Tensor = np.sum(np.exp(t))

# Steps of training
t += 1.0
t -= array
with mg.no_grad():
    t -= 0.1 * t.grad
t.grad = None
t.sum().backward()


def squared(x: mg.Tensor) -> mg.Tensor:
    y: mg.Tensor = np.square(x)
    return y + x * x


reveal_type(squared(t))  # -> Tensor
