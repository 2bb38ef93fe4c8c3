"""One interceptor for attention, its gradients, and the proofs a capture owes.

``find_blocks`` once per model, ``run`` for each pass, ``choose_drop`` once where tokens will be dropped, ``prove`` at first use.
"""

from vitscope.capture.blocks import Blocks
from vitscope.capture.drop import choose_drop
from vitscope.capture.intercept import Recorder, intercept
from vitscope.capture.kernel import KERNELS, Arguments, Kernel
from vitscope.capture.live import Pass
from vitscope.capture.probe import Contains, probe
from vitscope.capture.prove import Proof, prove, prove_calls
from vitscope.capture.run import Drop, find_blocks, run

__all__ = [
    "KERNELS",
    "Arguments",
    "Blocks",
    "Contains",
    "Drop",
    "Kernel",
    "Pass",
    "Proof",
    "Recorder",
    "choose_drop",
    "find_blocks",
    "intercept",
    "probe",
    "prove",
    "prove_calls",
    "run",
]
