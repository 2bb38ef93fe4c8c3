"""Four ways people write a tiny vision transformer: fused with joined qkv, softmax with separate q k v, and torch's two own modules."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTH, HEADS, DEPTH, PATCH, SIDE, CLASSES = 32, 4, 3, 8, 32, 5


class JoinedFused(nn.Module):
    """SDPA on one qkv projection, pre-norm."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(b, n, 3, HEADS, -1).permute(2, 0, 3, 1, 4).unbind(0)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, WIDTH))
        return x + self.mlp(self.norm2(x))


class SeparateWritten(nn.Module):
    """softmax(q kᵀ/√d) v written out, separate projections, heads folded into the batch, post-norm."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.q, self.k, self.v, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.drop = nn.Dropout(0.1)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        q, k, v = (f(x).reshape(b, n, HEADS, -1).transpose(1, 2).reshape(b * HEADS, n, -1) for f in (self.q, self.k, self.v))
        scores = torch.bmm(q, k.transpose(1, 2)) / (WIDTH // HEADS) ** 0.5
        out = torch.bmm(self.drop(F.softmax(scores, dim=-1)), v)
        x = self.norm1(x + self.out(out.view(b, HEADS, n, -1).transpose(1, 2).reshape(b, n, WIDTH)))
        return self.norm2(x + self.mlp(x))


class Multihead(nn.Module):
    """nn.MultiheadAttention, sequence first."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attn = nn.MultiheadAttention(WIDTH, HEADS)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x).transpose(0, 1)
        x = x + self.attn(y, y, y, need_weights=False)[0].transpose(0, 1)
        return x + self.mlp(self.norm2(x))


class HandWritten(nn.Module):
    """Patches, CLS token, blocks, head."""

    def __init__(self, blocks: nn.Module) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, WIDTH, PATCH, PATCH)
        self.cls = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.position = nn.Parameter(torch.zeros(1, 1 + (SIDE // PATCH) ** 2, WIDTH))
        self.blocks = blocks
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, CLASSES)

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.embed(pixels).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(len(x), -1, -1), x], dim=1) + self.position
        return self.head(self.norm(self.blocks(x))[:, 0])


class SequenceFirst(HandWritten):
    """The same around blocks that take ``[n, b, width]``."""

    def __init__(self) -> None:
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 2 * WIDTH, dropout=0.1)
        super().__init__(nn.TransformerEncoder(layer, DEPTH, enable_nested_tensor=False))

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.embed(pixels).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(len(x), -1, -1), x], dim=1) + self.position
        return self.head(self.norm(self.blocks(x.transpose(0, 1))[0]))


def stacked(block: type[nn.Module]) -> HandWritten:
    """A model of one kind of block."""
    return HandWritten(nn.Sequential(*(block() for _ in range(DEPTH))))


def encoder() -> HandWritten:
    """torch's own encoder."""
    layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 2 * WIDTH, dropout=0.1, batch_first=True)
    return HandWritten(nn.TransformerEncoder(layer, DEPTH))
