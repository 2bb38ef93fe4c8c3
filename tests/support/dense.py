"""Dense global matrices of windows and stages, by loops over cells: what the tests of hierarchical models compare with.

Everything is float64 and row by row; a grid's token (y, x) is number ``y · width + x``. Columns on padding are left out.
"""

import torch


def seat(grid, window, shift, number, slot, *, padded_late=False):
    """Token at (window number, slot), −1 for padding: padded, shifted (or the other way round), windows and slots counted row by row."""
    padded = [-(-side // w) * w for side, w in zip(grid, window, strict=True)]
    across = padded[1] // window[1]
    row = number // across * window[0] + slot // window[1]
    column = number % across * window[1] + slot % window[1]
    if padded_late:
        inside = row < grid[0] and column < grid[1]
        return (row + shift[0]) % grid[0] * grid[1] + (column + shift[1]) % grid[1] if inside else -1
    row, column = (row + shift[0]) % padded[0], (column + shift[1]) % padded[1]
    return row * grid[1] + column if row < grid[0] and column < grid[1] else -1


def scattered(rows, tokens, at):
    """One block's global matrix ``[n, n]`` from window rows ``[w, nq, nk]``; ``at(window, slot)`` gives a token or −1."""
    matrix = torch.zeros(tokens, tokens, dtype=torch.float64)
    for window in range(len(rows)):
        for i in range(rows.shape[1]):
            for j in range(rows.shape[2]):
                a, b = at(window, i), at(window, j)
                if a >= 0 and b >= 0:
                    matrix[a, b] += rows[window, i, j]
    return matrix


def boxes(grid, coarse, low, high, step):
    """``[coarse, fine]``: equal parts to the cells from ``step·i + low`` to ``step·i + high`` that there are."""
    matrix = torch.zeros(coarse[0] * coarse[1], grid[0] * grid[1], dtype=torch.float64)
    for i in range(coarse[0]):
        for j in range(coarse[1]):
            for y in range(max(0, step * i + low), min(grid[0], step * i + high + 1)):
                for x in range(max(0, step * j + low), min(grid[1], step * j + high + 1)):
                    matrix[i * coarse[1] + j, y * grid[1] + x] = 1
    return matrix / matrix.sum(dim=1, keepdim=True)


def halved(grid):
    """A grid after 2×2 merging, and the matrix ``[parents, children]``."""
    half = (-(-grid[0] // 2), -(-grid[1] // 2))
    return half, boxes(grid, half, 0, 1, 2)


def rolled(matrix):
    """A block in a rollout: half attention, half residual."""
    return 0.5 * matrix + 0.5 * torch.eye(len(matrix), dtype=torch.float64)


def added(matrix):
    """A block in relevance: what is there, and what attention adds."""
    return matrix + torch.eye(len(matrix), dtype=torch.float64)


def mean_heads(call):
    """Window rows ``[w, nq, nk]`` of the first picture's mean head (calls of one picture only)."""
    return call.rows().mean(dim=1).double()


def weighted(call):
    """The same of relevance: ``mean_h (∂s/∂A ⊙ A)⁺``."""
    return (call.rows() * call.grad_rows()).clamp(min=0).mean(dim=1).double()
