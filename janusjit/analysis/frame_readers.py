"""Functions whose code looks at their own frame.

Owns `frame_reader`. Invariant: a function in which ``eval``, ``exec``, ``locals``, ``vars`` or ``dir`` is called to
look at the variables of its caller is found by the name it is called by.
"""

from __future__ import annotations

import functools

from janusjit.analysis.core import Call, FunctionCore, LoadGlobal, Local
from janusjit.analysis.walk import walk

#: built-in functions, by how many arguments they no longer look at the frame they are called from
_FRAME_READERS = {"eval": 2, "exec": 2, "locals": 1, "vars": 1, "dir": 1}


@functools.lru_cache(maxsize=1024)
def frame_reader(core: FunctionCore) -> str | None:
    """Return the call by which a function looks at its own variables, or None if it has none.

    Parameters
    ----------
    core : FunctionCore
        The function.

    Returns
    -------
    str or None
        For example ``"eval()"``.
    """
    loaded: dict[str, str] = {}
    for instruction in walk(core.body):
        if isinstance(instruction, LoadGlobal):
            loaded[instruction.target] = instruction.name
        elif isinstance(instruction, Call) and isinstance(instruction.function, Local):
            name = loaded.get(instruction.function.name, "")
            enough = _FRAME_READERS.get(name)
            given = len(instruction.positional) + len(instruction.keywords)
            if enough is not None and (given < enough or any(instruction.starred)):
                return f"{name}()"
    return None
