"""Random programs, each run three ways: by this library, by PyTorch, and by NumPy for
finite differences.

Owns: what `make fuzz` runs; how to read what it prints is in `README.md`.
Must not own: tests of single functions (`tests/rows/`), or anything that the library
needs.
Read next: `programs.py`, then `operations.py`.
"""
