"""Room for new rows in the input and output matrices."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from langraft.core.errors import BadInput
from langraft.graft.starts import subtoken_mean


def padded(rows: int, multiple: int) -> int:
    """`rows` rounded up to a multiple, so that the matrices split evenly over devices."""
    return -(-rows // multiple) * multiple


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
    matrix from its own base rows; what is left up to `rows` is padding and becomes the mean of all
    base rows (never produced by the tokenizer).

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
