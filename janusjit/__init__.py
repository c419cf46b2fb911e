"""janusjit: a speculative just-in-time compiler for imperative NumPy training loops."""

__version__ = "0.1.0"
