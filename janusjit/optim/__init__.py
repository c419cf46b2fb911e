"""Optimisers: ordinary classes over nested parameters.

Owns `SGD`, `Adam`, `AdamW`, `RMSprop` and `Adagrad`. Invariant: parameters are changed in place; what an optimiser
remembers is in plain attributes and arrays of its own; formulae and defaults are those of ``torch.optim``.
"""

from janusjit.optim.adaptive import Adagrad, Adam, AdamW, RMSprop
from janusjit.optim.descent import SGD

__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "RMSprop"]
