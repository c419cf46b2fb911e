"""Timings of the example programs and of micro cases, in plain NumPy and under `@jit`: ``python -m benchmarks``."""
