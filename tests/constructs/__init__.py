"""Eighty constructs of imperative training code, each a program run in plain Python and under `@jit`."""
