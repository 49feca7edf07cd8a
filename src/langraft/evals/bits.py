"""Bits per UTF-8 byte of held-out text, with a sliding window that scores every byte exactly
once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from langraft.core.errors import BadInput

Encode = Callable[[list[str]], list[list[int]]]
BATCH_TOKENS = 4_096
VOCABULARY_CHUNK = 512


@dataclasses.dataclass(frozen=True)
class Bits:
    """What a model spends on a text: `nats` over `tokens` tokens of `bytes` UTF-8 bytes."""

    nats: float
    tokens: int
    bytes: int

    @property
    def per_byte(self) -> float:
        """Bits per UTF-8 byte: nats / ln 2 / bytes."""
        return self.nats / math.log(2) / self.bytes

    @property
    def perplexity(self) -> float:
        """exp(nats a token): comparable only between models of one tokenizer."""
        return math.exp(self.nats / self.tokens)


@dataclasses.dataclass(frozen=True)
class Window:
    """`ids` are fed to the model; the last `scored` of them are charged."""

    ids: list[int]
    scored: int


def windows(ids: Sequence[int], start: int, size: int) -> Iterator[Window]:
    """Cut one document into overlapping windows in which each token is scored once.

    Every window but the first repeats a quarter of the window before it as context.

    Args:
        ids: the document without special tokens.
        start: the id its first token is predicted from.
        size: tokens a window, `start` or context included.

    Raises:
        BadInput: a window of one token has no room for a context.
    """
    if size < 2:
        raise BadInput(f"window: {size} is too small; the smallest is 2")
    context = max(1, size // 4)
    framed = [start, *ids]
    done = 1
    while done < len(framed):
        begin = 0 if done == 1 else done - context
        end = min(begin + size, len(framed))
        yield Window(framed[begin:end], end - done)
        done = end


@contextlib.contextmanager
def plain_attention(model: PreTrainedModel) -> Iterator[None]:
    """Score with ordinary causal attention, whatever the model was set to for training."""
    before = model.config._attn_implementation
    training = model.training
    model.set_attn_implementation("sdpa")
    model.eval()
    try:
        yield
    finally:
        model.set_attn_implementation(before)
        model.train(training)


@torch.no_grad()
def token_logprobs(model: PreTrainedModel, head_VD: Tensor, ids_BT: Tensor) -> Tensor:
    """log p(next token) at every position but the last, shape (B, T - 1), float32; logits exist in
    chunks only.

    `head_VD` is the output matrix in the dtype of the products.
    """
    hidden = model.base_model(input_ids=ids_BT, use_cache=False).last_hidden_state[:, :-1]
    targets = ids_BT[:, 1:].reshape(-1, 1)
    flat = hidden.reshape(-1, hidden.shape[-1]).to(head_VD.dtype)
    found = []
    for rows in range(0, len(flat), VOCABULARY_CHUNK):
        logits = (flat[rows : rows + VOCABULARY_CHUNK] @ head_VD.T).float()
        chosen = logits.gather(-1, targets[rows : rows + VOCABULARY_CHUNK])[:, 0]
        found.append(chosen - logits.logsumexp(-1))
    return torch.cat(found).view(ids_BT.shape[0], -1)


def bits_per_byte(
    model: PreTrainedModel,
    encode: Encode,
    texts: Sequence[str],
    *,
    start: int,
    window: int = 512,
    autocast: bool = False,
    tick: Callable[[], None] = lambda: None,
) -> Bits:
    """What `model` spends on `texts`, every byte scored once.

    Args:
        encode: texts to ids without special tokens.
        start: the id that precedes each document (its boundary token).
        window: tokens the model sees at a time.
        autocast: compute in bfloat16.
        tick: called after every batch, for a progress bar.

    Raises:
        BadInput: there is no text.
    """
    size = sum(len(text.encode()) for text in texts)
    if not size:
        raise BadInput("bits per byte: there is no held-out text to score")
    pending = [(0, w) for ids in encode(list(texts)) for w in windows(ids, start, window)]
    nats, tokens = 0.0, 0
    for _, spent, scored in _spent(model, pending, start, autocast, tick):
        nats += spent
        tokens += scored
    return Bits(nats, tokens, size)


def bits_of_each(
    model: PreTrainedModel,
    encode: Encode,
    texts: Sequence[str],
    *,
    start: int,
    window: int = 512,
    autocast: bool = False,
) -> list[Bits]:
    """What `model` spends on each of `texts`; windows of several texts go to it together.

    The arguments are those of `bits_per_byte`. A text without tokens has spent nothing.
    """
    encoded = encode(list(texts))
    pending = [(n, w) for n, ids in enumerate(encoded) for w in windows(ids, start, window)]
    nats, tokens = [0.0] * len(texts), [0] * len(texts)
    for number, spent, scored in _spent(model, pending, start, autocast, lambda: None):
        nats[number] += spent
        tokens[number] += scored
    sizes = [len(text.encode()) for text in texts]
    return [Bits(*found) for found in zip(nats, tokens, sizes, strict=True)]


def _spent(
    model: PreTrainedModel,
    pending: list[tuple[int, Window]],
    start: int,
    autocast: bool,
    tick: Callable[[], None],
) -> Iterator[tuple[int, float, int]]:
    """Number, nats and scored tokens of every window, the longest first."""
    pending = sorted(pending, key=lambda numbered: -len(numbered[1].ids))
    device = next(model.parameters()).device
    head = model.get_output_embeddings().weight.detach()
    head = head.to(torch.bfloat16) if autocast else head
    with plain_attention(model):
        while pending:
            count = max(1, BATCH_TOKENS // len(pending[0][1].ids))
            batch, pending = pending[:count], pending[count:]
            longest = len(batch[0][1].ids)
            # Causal attention never looks right, so padding on the right changes nothing and needs
            # no mask.
            ids = torch.tensor(
                [w.ids + [start] * (longest - len(w.ids)) for _, w in batch], device=device
            )
            with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
                logprobs = token_logprobs(model, head, ids).cpu()
            for row, (number, w) in zip(logprobs, batch, strict=True):
                last = len(w.ids) - 1
                yield number, -float(row[last - w.scored : last].double().sum()), w.scored
            tick()


def excerpts(texts: Sequence[str], limit: int, pieces: int = 24) -> list[str]:
    """The starts of the first documents, `limit` UTF-8 bytes in all, so that about `pieces`
    documents are heard.

    Whole characters are kept; a text is cut at `limit / pieces` bytes.
    """
    each, found, left = max(1, limit // pieces), [], limit
    for text in texts:
        piece = text.encode()[: min(each, left)].decode(errors="ignore")
        if piece:
            found.append(piece)
            left -= len(piece.encode())
        if left <= 4:
            break
    return found
