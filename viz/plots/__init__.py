"""Plots of training as matplotlib figures: losses, fits, surfaces, gradients.

Owns: nothing; each file has its plots.
Must not own: pictures of a computation (`../dot.py`), or the training itself.
Read next: `history.py`; `canvas.py`, the common parts of the plots.
"""
