"""The version, in one place that every layer may read."""

__version__ = "0.1.0"
"""Semantic version of the package, the same as in ``pyproject.toml``."""
