"""Pictures of computations: the tape, drawn.

Owns: the public names, nothing else.
Must not own: any code.
Read next: `model.py`, the contents of a picture; `graph.py`, which makes them from the
tape; `labels.py`, the words; `dot.py`, the look; `render.py`, which makes files;
`exchange.py`, other formats; `explore.py`, pages to step through; `plots/`, pictures of
training.

Only NumPy is imported until you ask for a picture.
"""

from typing import TYPE_CHECKING

from microgradnd.viz.animate import animate
from microgradnd.viz.compare import compare
from microgradnd.viz.exchange import mermaid, to_json
from microgradnd.viz.explore import explore
from microgradnd.viz.films import animate_training
from microgradnd.viz.monitor import Monitor, plot_monitor
from microgradnd.viz.plots.fit import plot_fit
from microgradnd.viz.plots.gradients import gradient_norms, plot_gradients
from microgradnd.viz.plots.history import plot_history
from microgradnd.viz.plots.network import draw_network, draw_weights
from microgradnd.viz.plots.surface import plot_surface
from microgradnd.viz.profile import profile
from microgradnd.viz.render import draw, path, save
from microgradnd.viz.table import table

__all__ = [
    "Monitor",
    "animate",
    "animate_training",
    "compare",
    "draw",
    "draw_network",
    "draw_weights",
    "explore",
    "gradient_norms",
    "mermaid",
    "path",
    "plot_fit",
    "plot_gradients",
    "plot_history",
    "plot_monitor",
    "plot_surface",
    "profile",
    "save",
    "table",
    "to_json",
]

if not TYPE_CHECKING:

    def __getattr__(name):
        from microgradnd.advice import missing_attribute

        raise AttributeError(missing_attribute("viz", name, __all__))
