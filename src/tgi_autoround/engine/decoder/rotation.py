"""Rotary embedding in place."""

from dataclasses import dataclass

import torch

from tgi_autoround.engine.decoder.weights import Rotary


@dataclass(frozen=True, slots=True)
class SignedTables:
    """float32 [positions, 1, 2, rotated features / 2] each, for the first and the second half of the features.

    cosines: of both halves. sines: what each half is multiplied by before it is added to the other one, so the
    second half's are negative.
    """

    cosines: torch.Tensor
    sines: torch.Tensor

    @classmethod
    def of(cls, rotary: Rotary, positions: int) -> "SignedTables":
        """Return the tables of all positions below `positions`."""
        cosines, sines = rotary.tables(positions)
        return cls(torch.stack((cosines, cosines), dim=1)[:, None], torch.stack((sines, -sines), dim=1)[:, None])

    def at(self, positions: torch.Tensor) -> "SignedTables":
        """Return the rows of `positions`, int64 [tokens]."""
        return SignedTables(self.cosines[positions], self.sines[positions])


def rotate(heads: torch.Tensor, tables: SignedTables) -> None:
    """Rotate [tokens, heads, head_dim] in place by one row of the tables for each token."""
    rotated = 2 * tables.cosines.shape[-1]
    halves = heads[..., :rotated].view(*heads.shape[:-1], 2, rotated // 2)
    turned = halves * tables.sines
    halves.mul_(tables.cosines)
    halves[..., 0, :].add_(turned[..., 1, :])
    halves[..., 1, :].add_(turned[..., 0, :])
