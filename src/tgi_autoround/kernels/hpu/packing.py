"""Normal form -> what Gaudi's op reads. On the CPU, because Gaudi's lazy mode has no views of other integer types.

The op's int32 words run along out_features, lowest nibble first, in natural order (AWQ's words are shuffled, GPTQ's run
along in_features):

    bits of word c   31..28   27..24   ...   7..4     3..0
    column           8c+7     8c+6     ...   8c+1     8c
"""

import torch
from torch.nn.functional import pad

from tgi_autoround.checkpoint import LayerSpec

COLUMNS_PER_WORD = 8


def pack_nibbles(codes: torch.Tensor) -> torch.Tensor:
    """Return codes below 16 as the op's words: uint8 [R, C] with C % 8 == 0 -> int32 [R, C/8]."""
    # Two codes are one little-endian int16: shifting the pair by a nibble puts the upper code beside the lower one.
    pairs = codes.reshape(-1).view(torch.int16)
    nibbles = (pairs >> 4).bitwise_or_(pairs).view(torch.uint8)[::2]
    return nibbles.contiguous().view(torch.int32).view(codes.shape[0], -1)


def padded_columns(spec: LayerSpec) -> int:
    """Return out_features, filled up to whole words."""
    return -(-spec.out_features // COLUMNS_PER_WORD) * COLUMNS_PER_WORD


def padded_rows(spec: LayerSpec) -> int:
    """Return in_features, filled up to whole groups: a short last group becomes as long as the others."""
    return spec.num_groups * spec.group_size


def fill_up(values: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """Return `values` with zeros below and to the right of them: [R, C] -> [rows, columns]."""
    below, right = rows - values.shape[0], columns - values.shape[1]
    return pad(values, (0, right, 0, below)) if below or right else values
