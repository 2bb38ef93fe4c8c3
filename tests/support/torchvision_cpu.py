"""Lets a CUDA build of torchvision import beside a CPU build of torch: declares the two operators its import looks for.

For tests and benches only. `make test` copies this file into the environment as `_torchvision_cpu.py`, with a one-line `.pth` that
imports it, so that subprocesses have it too. Nothing is imported until somebody imports torchvision.
"""

import importlib.abc
import importlib.machinery
import sys


class _DeclareOperators(importlib.abc.MetaPathFinder):
    """Declares torchvision::nms and ::qnms just before torchvision's own import, then steps aside."""

    def find_spec(self, name, path=None, target=None):
        if name == "torchvision":
            sys.meta_path.remove(self)
            import torch

            try:
                library = torch.library.Library("torchvision", "FRAGMENT")
                library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
                library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
                sys._vitscope_torchvision_library = library  # kept alive for the process
            except RuntimeError:
                pass  # a torchvision that brings its own operators
        return


sys.meta_path.insert(0, _DeclareOperators())
