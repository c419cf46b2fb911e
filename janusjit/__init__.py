"""janusjit: a speculative just-in-time compiler for imperative NumPy training loops.

Owns the public names. Invariant: what is not named here or documented as public may change without notice.
"""

from janusjit import nn, optim
from janusjit.analysis.declared_gradients import checkpoint, custom_vjp
from janusjit.analysis.differentiated import grad, stop_gradient, value_and_grad
from janusjit.analysis.gradient_calls import GradientError
from janusjit.analysis.recorded_tapes import GradientTape
from janusjit.analysis.recording_mode import no_grad
from janusjit.analysis.variables import Variable
from janusjit.api import Jitted, jit, on_event, report, save_events, wait
from janusjit.backend.llvm.workspace import release_memory
from janusjit.compare import compare
from janusjit.errors import (
    CaptureFailure,
    ConfigurationError,
    DegradedWarning,
    GuardError,
    JanusError,
    JanusWarning,
)
from janusjit.gradients import hessian, hvp, jacobian, jvp, vjp
from janusjit.runtime.switch import disable, enable
from janusjit.version import __version__

__all__ = [
    "CaptureFailure",
    "ConfigurationError",
    "DegradedWarning",
    "GradientError",
    "GradientTape",
    "GuardError",
    "JanusError",
    "JanusWarning",
    "Jitted",
    "Variable",
    "__version__",
    "checkpoint",
    "compare",
    "custom_vjp",
    "disable",
    "enable",
    "grad",
    "hessian",
    "hvp",
    "jacobian",
    "jit",
    "jvp",
    "nn",
    "no_grad",
    "on_event",
    "optim",
    "release_memory",
    "report",
    "save_events",
    "stop_gradient",
    "value_and_grad",
    "vjp",
    "wait",
]
