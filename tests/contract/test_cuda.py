"""The same capture and the same maps on a GPU, where there is one."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

import vitscope as vs
from support.zoo import CASES, SIDE, Case
from vitscope.capture import Pass, run
from vitscope.core.targets import Target
from vitscope.scoring import Made
from vitscope.trace import Needs

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")

#: fp32 kernels of a GPU add up in another order than a CPU's.
FP32 = 1e-4
METHODS = ("attention", "rollout", "gradient_rollout", "relevance", "grad_cam", "legrad", "occlusion")


def captured(case: Case, device: str, target: Target | None = None) -> Pass:
    built = case.build()
    module = copy.deepcopy(built.module).to(device)

    def pick(made: Made) -> Target:
        return target or Target(tuple(made.scores.argmax(dim=-1).tolist()))

    return run(module, lambda x: built.forward(module, x), built.pixels.to(device), needs=Needs(gradients=True), pick_target=pick)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_attention_and_gradients_equal_the_cpus(case):
    here = captured(case, "cpu")
    there = captured(case, "cuda", here.target)
    for one, other in zip(here.calls, there.calls, strict=True):
        assert other.out.is_cuda
        assert (other.rows().cpu() - one.rows()).abs().max() <= FP32, one.path
        largest = one.grad_rows().abs().max()
        assert (other.grad_rows().cpu() - one.grad_rows()).abs().max() <= FP32 * largest, one.path


@pytest.mark.parametrize("name", METHODS)
def test_maps_equal_the_cpus(name):
    case = next(case for case in CASES if case.name == "vit" and case.library == "hf")
    settings = {"input_size": SIDE, "mean": (0.5,) * 3, "std": (0.5,) * 3}
    photo = np.random.default_rng(0).integers(0, 256, (40, 52, 3), dtype=np.uint8)
    maps = []
    for device in ("cpu", "cuda"):
        module = copy.deepcopy(case.build().module).to(device)
        maps.append(getattr(vs, name)(vs.load(module, **settings).trace(photo)).grid)
    assert np.abs(maps[0] - maps[1]).max() <= FP32 * np.abs(maps[0]).max()
