"""The library is imported before pytest imports its files one by one: a doctest's file
is then the module that it is.

Otherwise `pytest microgradnd/tensor.py` alone would put the module `tensor` over the
function `microgradnd.tensor`.
"""

from microgradnd import nn, optim  # noqa: F401

collect_ignore = ["docs/site"]  # hooks of MkDocs, which is in the extra `docs`
