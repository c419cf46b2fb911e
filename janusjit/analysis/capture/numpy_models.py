"""The modules that model NumPy.

Importing this module registers them all.
"""

from __future__ import annotations
