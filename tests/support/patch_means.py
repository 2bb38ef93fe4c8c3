"""A constructed vision transformer in which everything is known: a token's value is its patch's mean, and cls attends by it."""

import torch
from torch import nn


class Attention(nn.Module):
    """One head: every query asks for the first feature, the patch's mean; the attention weight grows with it."""

    def __init__(self, sharpness):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(2, 2) for _ in range(3))
        with torch.no_grad():
            for linear in (self.query, self.key, self.value):
                linear.weight.copy_(torch.eye(2))
                linear.bias.zero_()
            self.query.weight.zero_()
            self.query.bias.copy_(torch.tensor([sharpness, 0.0]))

    def forward(self, tokens):
        q, k, v = (linear(tokens)[:, None] for linear in (self.query, self.key, self.value))
        return nn.functional.scaled_dot_product_attention(q, k, v, scale=1.0)[:, 0]


class Block(nn.Module):
    def __init__(self, sharpness):
        super().__init__()
        self.attention = Attention(sharpness)

    def forward(self, tokens):
        return tokens + self.attention(tokens)


class PatchMeans(nn.Module):
    """Patch embedding by the mean, a cls token, one block, scores read from cls."""

    def __init__(self, patch=(16, 16), sharpness=4.0):
        super().__init__()
        self.embed = nn.Conv2d(3, 2, patch, patch)
        self.cls_token = nn.Parameter(torch.tensor([[[0.0, 1.0]]]))
        self.blocks = nn.ModuleList([Block(sharpness)])
        self.head = nn.Linear(2, 3)
        with torch.no_grad():
            self.embed.weight.zero_()
            self.embed.weight[0] = 1.0 / (3 * patch[0] * patch[1])
            self.embed.bias.zero_()
            self.head.weight.copy_(torch.tensor([[1.0, 0.0], [2.0, 0.5], [-1.0, 1.0]]))
            self.head.bias.zero_()

    def forward(self, pixels):
        patches = self.embed(pixels).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        return self.head(tokens[:, 0])
