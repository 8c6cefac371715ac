"""Names that don't exist are errors, although modules suggest one at run time."""

from typing import reveal_type

import microgradnd as mg
from microgradnd import nn, optim, viz
from microgradnd.nn import functional as F

t = mg.tensor([1.0])

mg.sin(t)  # error: attr-defined
mg.Adam  # error: attr-defined
mg.gradd  # error: attr-defined
nn.Conv2D  # error: attr-defined
optim.Rprop  # error: attr-defined
F.mse  # error: attr-defined
viz.show(t)  # error: attr-defined
mg.viz.show(t)  # error: attr-defined
t.clone()  # error: attr-defined
t.require_grad = True  # error: attr-defined
mg.tensor([1.0], require_grad=True)  # error: call-arg
t.backward(retain=True)  # error: arg-type
viz.draw(t, view="sideways")  # error: arg-type
viz.table(t, max_node=3)  # error: call-arg

reveal_type(mg.__version__)  # -> str
reveal_type(mg.viz.table(t))  # -> str
reveal_type(mg.explain(t))  # -> list[str]
mg.testing.check_grads(lambda x: x, 1.0, modes=("rev",))
mg.elementwise(abs, lambda g, out, x: g)
mg.linear(abs, lambda g, out, x: g)
