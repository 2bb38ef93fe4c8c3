"""A package brings its own fused kernel and a model by ``module:function``: from the entry point to a proved map."""

import sys
from importlib.metadata import EntryPoint

import numpy as np
import pytest
import torch

import vitscope as vs
from vitscope.capture import kernel
from vitscope.cli import main
from vitscope.errors import CaptureError, ModelError

PACKAGE = '''
import torch
from torch import nn
from torch.nn import functional as F

from vitscope.capture import Arguments, Kernel


@torch.library.custom_op("likeformers::fmha_tokens_first", mutates_args=())
def fmha_tokens_first(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, bias: torch.Tensor, scale: float) -> torch.Tensor:
    """Attention over [b, n, h, d], with a bias."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scale).transpose(1, 2).contiguous()


@fmha_tokens_first.register_fake
def _(q, k, v, bias, scale):
    return torch.empty_like(q)


def setup(ctx, inputs, output):
    *tensors, ctx.scale = inputs
    ctx.save_for_backward(*tensors)


def backward(ctx, grad):
    with torch.enable_grad():
        q, k, v, bias = (x.detach().requires_grad_() for x in ctx.saved_tensors)
        a = torch.softmax(q.transpose(1, 2) @ k.transpose(1, 2).transpose(-1, -2) * ctx.scale + bias, dim=-1)
        out = (a @ v.transpose(1, 2)).transpose(1, 2)
        return (*torch.autograd.grad(out, (q, k, v, bias), grad), None)


fmha_tokens_first.register_autograd(backward, setup_context=setup)


class Block(nn.Module):
    def __init__(self, width, n):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.bias = nn.Parameter(torch.randn(1, 2, n, n))
        self.mlp = nn.Linear(width, width)

    def forward(self, x):
        q, k, v = self.qkv(self.norm(x)).unflatten(-1, (3, 2, -1)).unbind(2)
        x = x + torch.ops.likeformers.fmha_tokens_first(q, k, v, self.bias, 0.3).flatten(2)
        return x + self.mlp(x).relu()


class Net(nn.Module):
    def __init__(self, width=16, n=16):
        super().__init__()
        self.cut = nn.Conv2d(3, width, 8, 8)
        self.blocks = nn.ModuleList(Block(width, n) for _ in range(2))
        self.head = nn.Linear(width, 4)

    def forward(self, x):
        x = self.cut(x).flatten(2).transpose(1, 2)
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean(dim=1))


def build():
    torch.manual_seed(0)
    return Net().eval(), {"input_size": 32, "mean": 0.5, "std": 0.5, "labels": ["a", "b", "c", "d"]}


def bare():
    return build()[0]


def _read(args, kwargs):
    q, k, v, bias, scale = args
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return Arguments(q, k, v, bias, 0.0, is_causal=False, scale=scale, grouped=False)


def _wrong(args, kwargs):
    from dataclasses import replace

    return replace(_read(args, kwargs), scale=1.0)


def _swap(x):
    return x.transpose(1, 2)


KERNEL, WRONG, NONE = Kernel(_read, _swap, _swap), Kernel(_wrong, _swap, _swap), 3
'''


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    home = tmp_path_factory.mktemp("site")
    (home / "likeformers.py").write_text(PACKAGE, encoding="utf-8")
    sys.path.insert(0, str(home))
    yield home
    sys.path.remove(str(home))


@pytest.fixture
def installed(package, monkeypatch):
    def points(value):
        kernel._points.cache_clear()
        kernel._brought.cache_clear()
        found = [EntryPoint("fmha_tokens_first", value, kernel.GROUP)] if value else []
        monkeypatch.setattr(kernel, "entry_points", lambda group: found)

    yield points
    kernel._points.cache_clear()
    kernel._brought.cache_clear()


def test_without_the_entry_point_the_line_names_it(installed):
    installed("")
    with pytest.raises(CaptureError, match=r"KERNELS\['\S*fmha_tokens_first'\], or an entry point .* vitscope\.kernels"):
        vs.load("likeformers:build").prove()


def test_with_it_maps_are_made_and_equal_the_written_out_matrices(installed):
    installed("likeformers:KERNEL")
    model = vs.load("likeformers:build")
    assert model.labels == ("a", "b", "c", "d")
    photo = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    trace = model.trace(photo)
    found, x = [], trace.pixels.clone().requires_grad_()
    module = model.module
    z = module.cut(x).flatten(2).transpose(1, 2)
    for block in module.blocks:
        q, k, v = block.qkv(block.norm(z)).unflatten(-1, (3, 2, -1)).unbind(2)
        a = torch.softmax(q.transpose(1, 2) @ k.transpose(1, 2).transpose(-1, -2) * 0.3 + block.bias, dim=-1)
        found.append(a)
        z = z + (a @ v.transpose(1, 2)).transpose(1, 2).flatten(2)
        z = z + block.mlp(z).relu()
    grads = torch.autograd.grad(module.head(z.mean(dim=1))[0, 1], found)
    r = torch.eye(16)
    for a, g in zip(found, grads, strict=True):
        r = r + (a * g).clamp(min=0).mean(dim=1)[0] @ r
    mine = vs.relevance(trace, target="b").values[0]
    assert np.abs(mine - r.mean(dim=0).detach().numpy()).max() < 1e-5
    assert np.abs(vs.attention(trace, layer=0, query=(1, 2)).values[0] - found[0][0, :, 6].mean(dim=0).detach().numpy()).max() < 1e-6


def test_inspect_prove_runs_the_contract_on_it(installed, capsys):
    installed("likeformers:KERNEL")
    main(["inspect", "likeformers:build", "--prove"])
    said = capsys.readouterr().out
    assert all(f"  {name:<15}  holds" in said for name in ("reconstruction", "effect", "answer", "batch", "left", "weights"))
    main(["inspect", "likeformers:bare", "--input-size", "32", "--prove", "--quiet"])


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("likeformers:WRONG", "proof of reconstruction failed"),
        ("likeformers:NONE", "vitscope.kernels: fmha_tokens_first: likeformers:NONE is a int; expected a vitscope.capture.Kernel"),
        ("likeformers:missing", "likeformers:missing cannot be imported"),
    ],
)
def test_a_kernel_read_wrongly_or_not_there_is_one_line(installed, capsys, value, said):
    installed(value)
    with pytest.raises(SystemExit) as stopped:
        main(["inspect", "likeformers:build", "--prove"])
    line = capsys.readouterr().err
    assert stopped.value.code == 1
    assert said in line
    assert line.count("\n") == 1


@pytest.mark.parametrize(
    ("ref", "said"),
    [
        ("likeformers:nothing", r"likeformers:nothing: gives no model \(AttributeError"),
        ("likeformers:PACKAGE", "gives no model"),
        ("likeformers:setup", r"gives no model \(TypeError"),
        ("nowhere_at_all:build", "unknown scheme 'nowhere_at_all'"),
        ("math:tau", "gives no model"),
    ],
)
def test_wrong_functions_are_one_line(installed, ref, said):
    installed("likeformers:KERNEL")
    with pytest.raises(ModelError, match=said):
        vs.load(ref)


def test_a_function_in_the_folder_one_works_in(installed, tmp_path, monkeypatch):
    installed("likeformers:KERNEL")
    (tmp_path / "my_own_net.py").write_text("from likeformers import build\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    assert vs.load("my_own_net:build").input_size == (32, 32)
    assert sys.path == before
