"""The modules that model NumPy.

Importing this module registers them all.
"""

from __future__ import annotations

from janusjit.analysis.capture import (
    numpy_attributes,
    numpy_create,
    numpy_elementwise,
    numpy_grids,
    numpy_information,
    numpy_join,
    numpy_layouts,
    numpy_library,
    numpy_linalg,
    numpy_reduce,
    numpy_select,
    numpy_shape,
    numpy_statistics,
    numpy_ufunc_methods,
    numpy_windows,
    random_numbers,
)

MODULES = (
    numpy_attributes,
    numpy_create,
    numpy_elementwise,
    numpy_grids,
    numpy_information,
    numpy_join,
    numpy_layouts,
    numpy_library,
    numpy_linalg,
    numpy_reduce,
    numpy_select,
    numpy_shape,
    numpy_statistics,
    numpy_ufunc_methods,
    numpy_windows,
    random_numbers,
)
