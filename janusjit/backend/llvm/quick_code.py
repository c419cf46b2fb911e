"""Which kernels of a module are translated quickly, without optimisation.

Owns `QuickCode`. Invariant: a kernel is only translated quickly if all its calls are known, and what they all take
longer for it is a small share of what the whole call takes. Why: a kernel of thirty lines takes LLVM milliseconds if
its instructions are to be chosen well, a quarter of that if not; and many programs have two or three kernels that take
nearly all of the time, and twenty for a few numbers each.
"""

from __future__ import annotations

import math

from llvmlite import ir

#: how many times as long a kernel's elements take that is translated quickly (measured, up to three times), and how
#: many nanoseconds longer its call takes, or that of a function that only makes a call
ELEMENTS, KERNEL_CALL, ONLY_CALL = 5.0, 10.0, 4.0
#: which share of a call's time all kernels together that are translated quickly may take longer
SHARE = 0.003


class QuickCode:
    """What the calls of a module's functions take.

    Only functions that a call is noted of are considered, and of those all calls have to be.
    """

    def __init__(self) -> None:
        self._longer: dict[ir.Function, float] = {}

    def note(self, function: ir.Function, nanoseconds: float | None, call: float = KERNEL_CALL) -> None:
        """Take note of a call.

        Parameters
        ----------
        function : llvmlite.ir.Function
            What is called.
        nanoseconds : float or None
            What the call is expected to take, if it happens once in a call of the entry function at most; else None.
        call : float
            How many nanoseconds longer a call takes for the call itself.
        """
        longer = math.inf if nanoseconds is None else (ELEMENTS - 1) * nanoseconds + call
        self._longer[function] = self._longer.get(function, 0.0) + longer

    def choose(self, nanoseconds: float) -> None:
        """Mark functions that are to be translated quickly; a call is expected to take so long at least."""
        left = SHARE * nanoseconds
        for function, longer in sorted(self._longer.items(), key=lambda entry: entry[1]):
            left -= longer
            if left < 0:
                break
            function.attributes.add("noinline")
            function.attributes.add("optnone")
