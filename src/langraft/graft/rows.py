"""New rows of the input and output matrices.

A row that starts as the mean of its sub-tokens' rows (FVT, arXiv 2402.09977) needs the sub-tokens
that spell the piece in
mid-text: encoding the bare piece with a SentencePiece tokenizer would put the dummy prefix's row
into every mean.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from langraft.core.errors import BadInput


def padded(rows: int, multiple: int) -> int:
    """`rows` rounded up to a multiple, so that the matrices split evenly over devices."""
    return -(-rows // multiple) * multiple


def subtoken_mean(matrix_VD: Tensor, subtokens: Sequence[Sequence[int]]) -> Tensor:
    """The mean of each piece's sub-token rows, shape (pieces, D), in float32.

    Args:
        matrix_VD: the base model's matrix, shape (V, D).
        subtokens: for each new piece the base ids that spell it.
    """
    if not subtokens:
        return matrix_VD.new_empty((0, matrix_VD.shape[1]), dtype=torch.float32)
    lengths = torch.tensor([len(ids) for ids in subtokens])
    flat = torch.tensor([token for ids in subtokens for token in ids])
    offsets = torch.cat([torch.zeros(1, dtype=torch.long), lengths.cumsum(0)[:-1]])
    return nn.functional.embedding_bag(flat, matrix_VD.float(), offsets, mode="mean")


def add_rows(
    model: PreTrainedModel,
    subtokens: Sequence[Sequence[int]],
    *,
    first: int,
    rows: int,
    untie: bool,
) -> PreTrainedModel:
    """Give `model` an input and an output matrix of `rows` rows, changed in place and returned.

    Rows below `first` stay as they are; row `first + i` becomes the mean of `subtokens[i]`, each
    matrix from its own base
    rows; what is left up to `rows` is padding and becomes the mean of all base rows (never produced
    by the tokenizer).

    Args:
        first: the first id of the extension.
        untie: give a tied model its own output matrix, recorded in the configuration.

    Raises:
        BadInput: `rows` cannot hold base and extension.
    """
    embedding = model.get_input_embeddings()
    old = embedding.weight.shape[0]
    if first > old or first + len(subtokens) > rows:
        raise BadInput(
            f"{len(subtokens)} pieces from id {first} do not fit a model of {old} rows grown to "
            f"{rows}"
        )
    tied = bool(model.config.tie_word_embeddings)
    head = model.get_output_embeddings()
    output_old = head.weight.data.clone() if untie or not tied else None
    embedding.weight = nn.Parameter(_grown(embedding.weight.data, subtokens, first, rows))
    embedding.num_embeddings = rows
    if output_old is None:
        head.weight = embedding.weight
    else:
        head.weight = nn.Parameter(_grown(output_old, subtokens, first, rows))
        model.config.tie_word_embeddings = False
    head.out_features = rows
    model.config.vocab_size = rows
    return model


def _grown(matrix_VD: Tensor, subtokens: Sequence[Sequence[int]], first: int, rows: int) -> Tensor:
    kept = matrix_VD[:first]
    new = subtoken_mean(kept, subtokens).to(matrix_VD.dtype)
    padding = matrix_VD.float().mean(0, keepdim=True).to(matrix_VD.dtype)
    return torch.cat([kept, new, padding.expand(rows - first - len(subtokens), -1)])


def unlikely_row(head_VD: Tensor, states_ND: Tensor) -> Tensor:
    """The row, shape (D,), that no state gives a chance: what padding rows are made of.

    It is the one whose highest log-probability over the states is the lowest.
    """
    logits = (states_ND @ head_VD.to(states_ND.dtype).T).float()
    return head_VD[logits.log_softmax(-1).amax(0).argmin()]
