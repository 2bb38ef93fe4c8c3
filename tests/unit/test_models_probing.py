"""What depends on what: changes are told from rounding."""

import torch

from vitscope.grids import Stage
from vitscope.models.probing import changing


def test_rounding_that_depends_on_the_place_in_the_batch_is_no_change():
    """As where several threads share a batch: the last bits differ from place to place, whatever the tokens are."""
    stage = Stage((2, 2), torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]]))
    tokens = torch.randn(1, 4, 3, generator=torch.Generator().manual_seed(0))

    def last_bits(shape):
        places = torch.arange(shape[0] * shape[1] * shape[2]).view(shape) % 7
        return places * 1e-7

    def held(probes):
        return 1 + last_bits(probes.shape)

    def faint(probes):  # one token in a hundred-thousandth, beside what stays
        return torch.cat([held(probes[:, :3]), held(probes[:, 3:]) + 1e-5 * probes[:, 3:]], dim=1)

    def plain(probes):
        return probes + last_bits(probes.shape)

    assert all(not kind.any() for kind in changing(tokens, stage, held).values())
    rows, columns = (changing(tokens, stage, faint)[kind].any(dim=-1) for kind in ("row", "column"))
    assert rows.tolist() == columns.tolist() == [[False] * 4, [False, False, False, True]]
    assert changing(tokens, stage, plain)["row"].any(dim=-1).tolist() == [[True, True, False, False], [False, False, True, True]]
