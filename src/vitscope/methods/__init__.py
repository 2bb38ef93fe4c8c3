"""Methods: from a trace to a map on tokens. ``METHODS`` lists them by their public names."""

from vitscope.methods.attention import attention
from vitscope.methods.grad_cam import grad_cam
from vitscope.methods.gradient_rollout import gradient_rollout
from vitscope.methods.integrated_gradients import integrated_gradients
from vitscope.methods.legrad import legrad
from vitscope.methods.occlusion import occlusion
from vitscope.methods.registry import METHODS, Method, develop, explain, needs_of
from vitscope.methods.relevance import relevance
from vitscope.methods.rollout import rollout

__all__ = [
    "METHODS",
    "Method",
    "attention",
    "develop",
    "explain",
    "grad_cam",
    "gradient_rollout",
    "integrated_gradients",
    "legrad",
    "needs_of",
    "occlusion",
    "relevance",
    "rollout",
]
