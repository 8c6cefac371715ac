"""Starts a program again with bounded threads and cores, before libraries load.

Owns: the number of threads, and the environment that libraries see.
Must not own: anything that imports NumPy.
Read next: `run.py`.
"""

import os
import sys

VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "NPROC")


def pin(threads: int, kernels: str = "") -> None:
    """Restart this process with this number of threads and cores, if needed.

    OpenBLAS chooses its kernels by the processor, unless `kernels` names others. A
    setting in the environment is removed, because users don't have it.
    """
    wanted = dict.fromkeys(VARIABLES, str(threads))
    # XLA would run a matrix product on threads of its own
    wanted["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=" + ("true" if threads > 1 else "false")
    wanted["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
    wanted |= {"OPENBLAS_CORETYPE": kernels} if kernels else {}
    others = {name: value for name, value in os.environ.items() if not name.startswith("OPENBLAS_")}
    if others | wanted == dict(os.environ):
        return
    if hasattr(os, "sched_setaffinity"):  # Linux; a library that starts threads anyway has them share these cores
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], others | wanted)
