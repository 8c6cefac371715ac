"""Recurrent layers: states that follow from one another along a sequence.

Owns: `recurrent` and the two linear recurrences that are its derivatives, with their
rules; `RNN`, `GRU`, `LSTM`.
Must not own: attention (`attention.py`).
Read next: `attention.py`.

The inputs of all time steps are multiplied by their weights at once. The loop over time
is one operation, which in each step multiplies a state by its weights. Once all states
are known, the gates of all time steps can be computed again at once, and so can their
slopes: how the next state changes with the gates' inputs. The rest of the derivative is
a *linear* recurrence in these slopes, forward in time for tangents and backward for
cotangents (backpropagation through time). Each of these two recurrences is one
operation too, and their derivatives lead back to both of them. So derivatives of all
orders take a few short loops and a few large products. The loops are calls of `scan`:
a compiled program takes them apart, and plans memory for their steps.

Shapes, for T time steps of N sequences, H features, G gates and P parts of a state (two
in an LSTM, else one): inputs (T, N, G H), states (1 + T, P, N, H) with the initial one
first, weight (G H, H), slopes (T, P, N, G, H).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from microgradnd.anew import Rng
from microgradnd.nn.arguments import operand, rows, transposed
from microgradnd.nn.calls import checked
from microgradnd.nn.dropout import dropout as drop
from microgradnd.nn.init import generator
from microgradnd.nn.linear import linear
from microgradnd.nn.module import Module, Parameter
from microgradnd.registry import JVPS, VJPS, Joint, Results, primitive
from microgradnd.scan import loop, scan
from microgradnd.tensor import Tensor

KINDS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


class Cell(NamedTuple):
    """One time step of a recurrent layer; with leading axes, many steps at once.

    Attributes
    ----------
    gates, parts : int
        The number of gates, and the number of parts of a state.
    step : callable
        `step(inputs, hidden, *state)` returns the parts of the next state. `inputs`
        comes from the layer's inputs and `hidden` from the state, both (..., N, G, H).
    slopes : callable
        `slopes(inputs, hidden, state, next_state)`, for states (..., P, N, H), returns
        the derivatives of the next state: with respect to `inputs` and to `hidden`,
        both (..., P, N, G, H), and directly to the last part of the state,
        (..., P, N, H).
    """

    gates: int
    parts: int
    step: Callable[..., tuple[Any, ...]]
    slopes: Callable[..., tuple[Any, Any, Any]]


def sigmoid(x: Any) -> Any:
    """Return 1 / (1 + exp(-x)) by a single tanh, accurate enough for a gate."""
    return 0.5 * np.tanh(0.5 * x) + 0.5


def simple(activation: Callable[[Any], Any], slope: Callable[[Any], Any]) -> Cell:
    """Return the cell h' = activation(inputs + hidden); slope is a function of h'."""

    def slopes(inputs: Any, hidden: Any, state: Any, new: Any) -> tuple[Any, Any, Any]:
        of_sum = slope(new)[..., None, :]
        return of_sum, of_sum, np.zeros_like(state)

    return Cell(1, 1, lambda inputs, hidden, h: (activation(inputs + hidden)[..., 0, :],), slopes)


def gru_gates(inputs: Any, hidden: Any) -> tuple[Any, Any, Any]:
    gates = sigmoid(inputs[..., :2, :] + hidden[..., :2, :])
    r = gates[..., 0, :]
    return r, gates[..., 1, :], np.tanh(inputs[..., 2, :] + r * hidden[..., 2, :])


def gru_step(inputs: Any, hidden: Any, h: Any) -> tuple[Any, ...]:
    _, z, n = gru_gates(inputs, hidden)
    return (n + z * (h - n),)


def gru_slopes(inputs: Any, hidden: Any, state: Any, new: Any) -> tuple[Any, Any, Any]:
    r, z, n = gru_gates(inputs, hidden)
    of_n = (1 - z) * (1 - n * n)
    of_r, of_z = of_n * hidden[..., 2, :] * r * (1 - r), (state[..., 0, :, :] - n) * z * (1 - z)
    of_inputs, of_hidden = (np.stack([of_r, of_z, last], -2)[..., None, :, :, :] for last in (of_n, of_n * r))
    return of_inputs, of_hidden, z[..., None, :, :]


def lstm_gates(inputs: Any, hidden: Any) -> tuple[Any, Any, Any, Any]:
    i, f, g, o = np.moveaxis(inputs + hidden, -2, 0)
    return sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)


def lstm_step(inputs: Any, hidden: Any, h: Any, c: Any) -> tuple[Any, ...]:
    i, f, g, o = lstm_gates(inputs, hidden)
    c = f * c + i * g
    return o * np.tanh(c), c


def lstm_slopes(inputs: Any, hidden: Any, state: Any, new: Any) -> tuple[Any, Any, Any]:
    i, f, g, o = lstm_gates(inputs, hidden)
    tanh_c = np.tanh(new[..., 1, :, :])
    of_c = [g * i * (1 - i), state[..., 1, :, :] * f * (1 - f), i * (1 - g * g), 0 * o]
    through_c = o * (1 - tanh_c * tanh_c)
    of_h = [*(through_c * slope for slope in of_c[:3]), tanh_c * o * (1 - o)]
    slopes = np.stack([np.stack(of_h, -2), np.stack(of_c, -2)], -4)
    return slopes, slopes, np.stack([through_c * f, f], -3)


CELLS = {
    "RNN_TANH": simple(np.tanh, lambda h: 1 - h * h),
    "RNN_RELU": simple(lambda x: np.maximum(x, 0), np.sign),  # the slope at 0 is 0
    "GRU": Cell(3, 1, gru_step, gru_slopes),
    "LSTM": Cell(4, 2, lstm_step, lstm_slopes),
}


def by_gate(x: Any, features: int) -> Any:
    """Return (..., G H) as (..., G, H)."""
    return x.reshape((*x.shape[:-1], x.shape[-1] // features, features))


def from_states(states: Any, weight: Any, bias: Any = None) -> Any:
    """Return h W' + b for the state h before each time step, by gate: (T, N, G, H)."""
    return by_gate(linear(states[:-1, 0], weight, bias), weight.shape[1])


def over_parts(x: Any, axis: int = 0) -> Any:
    """Return the sum over the parts of a state."""
    return np.sum(x, axis=axis) if x.shape[axis] > 1 else x[(slice(None),) * axis + (0,)]


def stacked(parts: Sequence[Any], axis: int = 0) -> Any:
    """Return the parts of a state as one array."""
    return np.stack(parts, axis=axis) if len(parts) > 1 else np.expand_dims(parts[0], axis)


def to_gates(slopes: Any, back: Any) -> Any:
    """Return the cotangents of the gates from those of the states: (T, N, G H)."""
    e = over_parts(slopes * back[1:, :, :, None], axis=1)
    return e.reshape((*e.shape[:2], e.shape[2] * e.shape[3]))


@loop
@primitive
def recurrent(mode: str, inputs: Any, initial: Any, weight: Any, bias: Any = None) -> Any:
    """Return the states of one layer and direction, and h W' + b before each step.

    The second result is for the derivative (`recalled`), and has none of its own.
    """
    cell, weight_t, dtype = CELLS[mode], weight.T, np.result_type(inputs, initial, weight)
    initial = initial if initial.dtype == dtype else initial.astype(dtype)

    def turn(state: Any, x: Any) -> tuple[Any, Any]:
        hidden = np.dot(state[0], weight_t)
        hidden = hidden if bias is None else hidden + bias
        new = cell.step(x, np.reshape(hidden, x.shape), *state)
        return new, (new, hidden)

    _, (states, hidden) = scan(turn, tuple(initial), by_gate(inputs, weight.shape[1]))
    return np.concatenate([initial[None], stacked(states, axis=1)]), hidden


@primitive
def recalled(hidden: Any, h: Any, weight: Any, bias: Any = None) -> Any:
    """Return h W' + b, which has been computed as `hidden`.

    Its derivatives are those of `linear`. So nothing else has to pass a derivative to
    `hidden`, and `recurrent` needs rules for its states alone.
    """
    return hidden


for rules in (VJPS, JVPS):
    rules[recalled] = (
        lambda x, out, hidden, *args: np.zeros_like(hidden),
        *(lambda x, out, hidden, *args, rule=rule: rule(x, out, *args) for rule in rules[linear]),
    )


def recurrent_cotangents(g: Any, out: Any, mode: str, inputs: Any, initial: Any, weight: Any, bias: Any = None) -> Any:
    states, features = out[0], weight.shape[1]
    hidden = by_gate(recalled(out[1], states[:-1, 0], weight, bias), features)
    of_inputs, of_hidden, carried = CELLS[mode].slopes(by_gate(inputs, features), hidden, states[:-1], states[1:])
    back = back_through_time(g[0], of_hidden, carried, weight)
    e = rows(to_gates(of_hidden, back))
    of_bias = None if bias is None else np.sum(e, axis=0)
    return None, to_gates(of_inputs, back), back[0], np.dot(e.T, rows(states[:-1, 0])), of_bias


def recurrent_tangent(tangents: Any, out: Any, *args: Any) -> Results:
    def of_states(g: Any, _: Any, *args: Any) -> Any:
        return recurrent_cotangents((g, None), out, *args)

    return Results((transposed(of_states)(tangents, out[0], *args), np.zeros_like(out[1])))


@loop
@primitive
def through_time(moved: Any, slopes: Any, carried: Any, weight: Any) -> Any:
    """Return the states of a linear recurrence.

    y[0] = moved[0]; y[t + 1] = moved[t + 1] + slopes[t] (y[t] W') + carried[t] y[t],
    with the middle term summed over the gates. If a state has two parts, the first is
    multiplied by the weights, and the second is carried on.
    """

    def turn(state: Any, row: Any) -> tuple[Any, Any]:
        own, slope, kept = row
        hidden = by_gate(np.dot(state[0], weight.T), weight.shape[1])
        new = own + np.sum(slope * hidden, axis=-2) + kept * state[-1]
        return new, new

    _, states = scan(turn, moved[0], (moved[1:], slopes, carried))
    return np.concatenate([moved[:1], states])


@loop
@primitive
def back_through_time(g: Any, slopes: Any, carried: Any, weight: Any) -> Any:
    """Apply the transpose of the linear map moved -> through_time(moved, ...) to g."""

    def turn(state: Any, row: Any) -> tuple[Any, Any]:
        own, slope, kept = row
        e, direct = over_parts(slope * state[:, :, None]), over_parts(kept * state)
        through = np.dot(np.reshape(e, (len(e), len(weight))), weight)
        new = own + stacked([through, direct] if len(own) > 1 else [through + direct])
        return new, new

    _, states = scan(turn, g[-1], (g[:-1][::-1], slopes[::-1], carried[::-1]))
    return np.concatenate([states[::-1], g[-1:]])


def linear_cotangents(transpose: Callable[..., Any]) -> Callable[..., Any]:
    """Return the VJP rule of one linear recurrence, given the other, its transpose.

    Both have the same cotangents of slopes, carried and weight.
    """

    def cotangents(g: Any, out: Any, first: Any, slopes: Any, carried: Any, weight: Any) -> Any:
        other = transpose(g, slopes, carried, weight)
        back, ahead = (out, other) if transpose is through_time else (other, out)
        of_slopes = back[1:, :, :, None] * from_states(ahead, weight)[:, None]
        of_weight = np.dot(rows(to_gates(slopes, back)).T, rows(ahead[:-1, 0]))
        return other, of_slopes, back[1:] * ahead[:-1, -1:], of_weight

    return cotangents


VJPS[recurrent], JVPS[recurrent] = Joint(recurrent_cotangents), Joint(recurrent_tangent)
for function, rule in (
    (through_time, linear_cotangents(back_through_time)),
    (back_through_time, linear_cotangents(through_time)),
):
    VJPS[function], JVPS[function] = Joint(rule), Joint(transposed(rule))


class Recurrent(Module):
    """The base class of `RNN`, `GRU` and `LSTM`, which only add their cells."""

    _shown = "{input_size}, {hidden_size}"
    mode: str
    weight_hh_l0: Tensor

    @checked
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        dtype: DTypeLike = np.float64,
        rng: Rng = None,
    ) -> None:
        name = type(self).__name__
        if dropout and num_layers == 1:
            warnings.warn(f"{name}: dropout acts between layers, so num_layers=1 has no dropout", stacklevel=3)
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.batch_first, self.dropout, self.bidirectional = batch_first, dropout, bidirectional
        self.rng = generator(rng)
        directions = self._directions()
        length, bound = CELLS[self.mode].gates * hidden_size, 1 / math.sqrt(hidden_size)
        for layer in range(num_layers):
            size = hidden_size * len(directions) if layer else input_size
            for direction in directions:
                shapes = (length, size), (length, hidden_size), (length,), (length,)
                for kind, shape in zip(KINDS, shapes, strict=True):
                    values = self.rng.uniform(-bound, bound, shape) if bias or len(shape) == 2 else None
                    setattr(self, f"{kind}_l{layer}{direction}", None if values is None else Parameter(values, dtype))

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Any]:
        """Return the last layer's states at all times, and all layers' last states.

        Parameters
        ----------
        input : array_like of shape (time, batch, input_size)
            With `batch_first`, (batch, time, input_size). A single sequence has no
            batch axis.
        hx : array_like of shape (layers, batch, hidden_size), optional
            The states before the first time step, by default 0; for an LSTM, a pair
            (h, c) of them. Each direction of a layer counts as a layer.

        Returns
        -------
        output : Tensor of shape (time, batch, directions * hidden_size)
            Its axes are in the order of the input's axes.
        last : Tensor of the shape of hx, or a pair of them

        Raises
        ------
        ValueError
            If a shape doesn't fit, or there is no time step.
        TypeError
            If hx isn't a pair for an LSTM.
        """
        name = type(self).__name__
        x = operand(name, input, "input", "biuf")
        is_single, is_swapped = x.ndim == 2, x.ndim == 3 and self.batch_first
        if x.ndim not in (2, 3) or x.shape[-1] != self.input_size or not x.shape[is_swapped]:
            axes = "(batch, time" if self.batch_first else "(time, batch"
            raise ValueError(
                f"{name}: input must have shape {axes}, {self.input_size}), or (time, {self.input_size}) for a single "
                f"sequence, with at least one time step, got {x.shape}"
            )
        x = np.swapaxes(x, 0, 1) if is_swapped else x[:, None] if is_single else x
        initial = self._initial(hx, x, is_single)
        passes: list[Any] = []
        for layer in range(self.num_layers):
            if layer:
                x = drop(x, self.dropout, self.training, rng=self.rng)
            outputs = []
            for direction in self._directions():
                weight_ih, weight_hh, bias_ih, bias_hh = (getattr(self, f"{k}_l{layer}{direction}") for k in KINDS)
                inputs = linear(np.flip(x, 0) if direction else x, weight_ih, bias_ih)
                states, _ = recurrent(self.mode, inputs, initial[len(passes)], weight_hh, bias_hh)
                outputs.append(np.flip(states[1:, 0], 0) if direction else states[1:, 0])
                passes.append(states)
            x = np.concatenate(outputs, axis=-1) if self.bidirectional else outputs[0]
        last = [
            np.concatenate([states[-1:, part] for states in passes]) if len(passes) > 1 else passes[0][-1:, part]
            for part in range(CELLS[self.mode].parts)
        ]
        if is_single:
            x, last = x[:, 0], [part[:, 0] for part in last]
        return np.swapaxes(x, 0, 1) if is_swapped else x, last[0] if len(last) == 1 else tuple(last)

    def _directions(self) -> tuple[str, ...]:
        """Return the suffixes of parameter names, one for each direction."""
        return ("", "_reverse") if self.bidirectional else ("",)

    def _initial(self, hx: Any, x: Any, is_single: bool) -> Any:
        """Return the initial state of each pass, of shape (P, N, H)."""
        name, parts = type(self).__name__, CELLS[self.mode].parts
        layers, batch = self.num_layers * len(self._directions()), x.shape[1]
        if hx is None:
            dtype = np.result_type(x.dtype, self.weight_hh_l0.dtype)
            if isinstance(batch, int):
                return np.zeros((layers, parts, batch, self.hidden_size), dtype)
            # the batch's size is open, in a compiled function
            return np.broadcast_to(np.zeros_like(x[0, :, :1], dtype), (layers, parts, batch, self.hidden_size))
        if parts > 1 and not (isinstance(hx, tuple | list) and len(hx) == parts):
            raise TypeError(f"{name}: hx must be a pair (h, c) of initial states, got {type(hx).__name__}")
        shape = (layers, self.hidden_size) if is_single else (layers, batch, self.hidden_size)
        given = [operand(name, part, "hx", "biuf") for part in (hx if parts > 1 else (hx,))]
        if wrong := [part.shape for part in given if part.shape != shape]:
            raise ValueError(f"{name}: hx, an initial state, must have shape {shape}, got {wrong[0]}")
        return np.stack([part[:, None] if is_single else part for part in given], axis=1)


class RNN(Recurrent):
    """Elman's recurrent network.

    Each time step computes h' = tanh(x W_ih' + b_ih + h W_hh' + b_hh), or relu instead
    of tanh.

    Parameters
    ----------
    input_size, hidden_size : int
        The numbers of features of the input and of a state.
    num_layers : int
        The number of layers; each takes the states of the one before.
    nonlinearity : {"tanh", "relu"}
    bias : bool
        Whether to have biases.
    batch_first : bool
        Whether input and output have the shape (batch, time, features) rather than
        (time, batch, features).
    dropout : float
        The probability with which elements between two layers are set to 0 in training.
    bidirectional : bool
        Whether each layer also goes through the sequence in reverse.
    dtype : dtype
        The dtype of the parameters, by default float64.
    rng : numpy.random.Generator, optional
        The generator for initial values, uniform on +-1/sqrt(hidden_size) as in
        PyTorch, and for dropout.

    Attributes
    ----------
    weight_ih_l0 : Tensor of shape (hidden_size, input_size)
        The weight of the first layer. The next layer has `weight_ih_l1`, and the other
        direction `weight_ih_l0_reverse`.
    weight_hh_l0 : Tensor of shape (hidden_size, hidden_size)
    bias_ih_l0, bias_hh_l0 : Tensor of shape (hidden_size,), or None

    Raises
    ------
    ValueError
        If a size isn't a positive integer, `dropout` isn't a probability, or the
        nonlinearity is unknown.

    See Also
    --------
    GRU, LSTM : have gates, and remember for longer.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> layer = nn.RNN(3, 4, rng=np.random.default_rng(0))
    >>> output, last = layer(np.ones((5, 2, 3)))
    >>> output.shape, last.shape
    ((5, 2, 4), (1, 2, 4))
    """

    @checked
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: Literal["tanh", "relu"] = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        dtype: DTypeLike = np.float64,
        rng: Rng = None,
    ) -> None:
        self.mode = f"RNN_{nonlinearity.upper()}"
        options: Any = {"dtype": dtype, "rng": rng}
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, **options)


class GRU(Recurrent):
    """Gated recurrent units.

    The gate z decides how much of a state stays, and the gate r how much of it the
    candidate n sees: r = sigmoid(W_ir x + b_ir + W_hr h + b_hr), z in the same way with
    its own weights, n = tanh(W_in x + b_in + r (W_hn h + b_hn)), h' = (1 - z) n + z h.

    The parameters are those of `RNN` without `nonlinearity`.

    Attributes
    ----------
    weight_ih_l0 : Tensor of shape (3 hidden_size, input_size)
        The rows for r, z and n, in this order.
    weight_hh_l0 : Tensor of shape (3 hidden_size, hidden_size)
    bias_ih_l0, bias_hh_l0 : Tensor of shape (3 hidden_size,), or None

    See Also
    --------
    RNN : describes the parameters.

    Notes
    -----
    Cho et al. (2014), "Learning phrase representations using RNN encoder-decoder for
    statistical machine translation". As in PyTorch, r multiplies W_hn h + b_hn, not h.

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> layer = nn.GRU(3, 4, batch_first=True, bidirectional=True)
    >>> output, last = layer(np.ones((2, 5, 3)))
    >>> output.shape, last.shape
    ((2, 5, 8), (2, 2, 4))
    """

    mode = "GRU"


class LSTM(Recurrent):
    """Long short-term memory.

    The gate f keeps the cell c, the gate i writes to it, and the gate o reads it:
    i = sigmoid(W_ii x + b_ii + W_hi h + b_hi), f and o in the same way with their own
    weights, g = tanh(W_ig x + b_ig + W_hg h + b_hg), c' = f c + i g, h' = o tanh(c').

    The parameters are those of `RNN` without `nonlinearity`. A state is a pair (h, c).

    Attributes
    ----------
    weight_ih_l0 : Tensor of shape (4 hidden_size, input_size)
        The rows for i, f, g and o, in this order.
    weight_hh_l0 : Tensor of shape (4 hidden_size, hidden_size)
    bias_ih_l0, bias_hh_l0 : Tensor of shape (4 hidden_size,), or None

    See Also
    --------
    RNN : describes the parameters.

    Notes
    -----
    Hochreiter & Schmidhuber (1997), "Long short-term memory", with the gate f of Gers
    et al. (2000).

    Examples
    --------
    >>> import numpy as np
    >>> from microgradnd import nn
    >>> layer = nn.LSTM(3, 4, num_layers=2, rng=np.random.default_rng(0))
    >>> output, (h, c) = layer(np.ones((5, 2, 3)))
    >>> output.shape, h.shape, c.shape
    ((5, 2, 4), (2, 2, 4), (2, 2, 4))
    """

    mode = "LSTM"
