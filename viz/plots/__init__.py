"""Plots of training as matplotlib figures: losses, fits, surfaces, gradients.

Owns: the public names, nothing else.
Must not own: pictures of a computation (`../dot.py`), or the training itself.
Read next: `history.py`; `canvas.py`, the common parts of the plots.
"""

from microgradnd.viz.plots.fit import plot_fit
from microgradnd.viz.plots.gradients import gradient_norms, plot_gradients
from microgradnd.viz.plots.history import plot_history
from microgradnd.viz.plots.network import draw_network, draw_weights
from microgradnd.viz.plots.surface import plot_surface

__all__ = [
    "draw_network",
    "draw_weights",
    "gradient_norms",
    "plot_fit",
    "plot_gradients",
    "plot_history",
    "plot_surface",
]
