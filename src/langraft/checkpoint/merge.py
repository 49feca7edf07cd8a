"""Adapters merged into a base, tensor by tensor: the result is a folder like any other.

LoRA (arXiv 2106.09685): W + alpha / r * B A. rsLoRA (arXiv 2312.03732): alpha / sqrt(r). DoRA
(arXiv 2402.09353): magnitude * (W + scaling * B A) / its length per output.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from langraft.checkpoint.adapter import Adapter, LowRank, read_adapter
from langraft.checkpoint.digest import Records, Witness
from langraft.checkpoint.layout import (
    VOCABULARY_FILES,
    companion_files,
    embedding_names,
    is_tied,
    open_model,
    require_tokenizer_fits,
    tokenizer_ids,
)
from langraft.checkpoint.probe import require_base
from langraft.checkpoint.stream import StoredTensor, spans
from langraft.checkpoint.writing import require_new, write_checkpoint
from langraft.core.errors import BadInput


@dataclasses.dataclass(frozen=True)
class Model:
    """Weights and configuration of a model on its way from one folder to another."""

    folder: Path
    tensors: dict[str, StoredTensor]
    config: dict[str, Any]


def merge_adapters(
    base: Path,
    adapters: Sequence[Path],
    out: Path,
    *,
    tokenizer: Path | None = None,
    any_base: bool = False,
    probe: Callable[[Path], None] | None = None,
) -> dict[str, Any]:
    """Merge adapters into `base`, one after the other, and write the model to `out`.

    Each merge is rounded to the base's dtype, so several in one call give what several calls give.

    Args:
        tokenizer: a folder to take the tokenizer from; else the last adapter that brings one, else
            the base.
        any_base: merge although the base does not look like the one the adapter was trained on; a
            recorded digest is still required to agree.
        probe: called with the finished folder before it gets its name; what it raises removes it.

    Returns:
        The content of `langraft.json`, and under "evidence" what ties each adapter to its base.

    Raises:
        BadInput: an adapter tensor that has no place, sizes that disagree, a wrong base, damaged
            weights, or an existing `out`.
    """
    require_new(out)
    checkpoint = open_model(base)
    applied = _Applied(Model(base, checkpoint.tensors, checkpoint.config))
    for folder in adapters:
        applied.add(read_adapter(folder), any_base=any_base)
    model = applied.model
    source = _tokenizer_of(base, adapters, tokenizer)
    _require_vocabulary(model, checkpoint.tensors, source)
    made: dict[str, Any] = {
        "by": "merge",
        "base": str(base),
        "adapters": [str(a) for a in adapters],
    }

    def finish(folder: Path, _: Records) -> None:
        applied.require_bases()
        if probe is not None:
            probe(folder)

    note = write_checkpoint(
        out,
        list(model.tensors.values()),
        config=model.config,
        files=companion_files(base, source),
        made=made,
        hashed=False,  # would double the time; `checkpoint info` tells it when it is wanted
        finish=finish,
    )
    return {**note, "evidence": applied.evidence, "rows": model.config["vocab_size"]}


class _Applied:
    """A model that takes adapters one after the other, and what ties each to what it was put on."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.evidence: list[str] = []
        self._witnesses: list[tuple[Witness, Adapter]] = []

    def add(self, adapter: Adapter, *, any_base: bool) -> None:
        """Merge one more adapter, unread.

        Raises:
            BadInput: it does not fit, or was trained on another base as far as can be seen by now.
        """
        merged = apply_adapter(self.model, adapter)  # what does not fit is told first
        if adapter.base is None:
            self.evidence.append(require_base(adapter, self.model.tensors, strict=not any_base))
        else:
            witness = Witness(self.model.folder)
            watched = {t.name: t for t in witness.watch(self.model.tensors.values())}
            merged = apply_adapter(dataclasses.replace(self.model, tensors=watched), adapter)
            self._witnesses.append((witness, adapter))
            self.evidence.append("the digest of the base's weights")
        self.model = merged

    def require_bases(self) -> None:
        """Refuse, once everything has been read, weights that an adapter was not trained on.

        Raises:
            BadInput: they are not the ones whose digest it carries.
        """
        for witness, adapter in self._witnesses:
            if (digest := witness.digest()) != adapter.base:
                raise BadInput(
                    f"{adapter.folder}: was trained on weights {adapter.base}, and {witness.where} "
                    f"holds {digest}; merge it into the base it was trained on"
                )


def apply_adapter(model: Model, adapter: Adapter) -> Model:
    """The model with `adapter` merged in, unread.

    A tied model whose matrices were trained apart becomes untied, and its configuration says so.

    Raises:
        BadInput: an adapter tensor fits nothing in the model, or sizes disagree.
    """
    names = embedding_names(model.tensors, model.folder)
    tied = is_tied(model.tensors, model.config, names[1])
    tensors = dict(model.tensors)
    if tied:  # one matrix for now: what a file may hold for the output is not what the model uses
        tensors[names[1]] = dataclasses.replace(tensors[names[0]], name=names[1])
    for name, tensor in adapter.replaced.items():
        tensors[name] = _replaced(adapter, name, tensors, tensor, grows=name in names)
    for module, part in adapter.low_rank.items():
        _change(adapter, module, part, tensors)
    for module, (ids, rows) in adapter.tokens.items():
        for target in names if tied and f"{module}.weight" == names[0] else (f"{module}.weight",):
            tensors[target] = _with_rows(adapter, target, tensors, ids, rows)
    if tied and not _apart(adapter, names):
        del tensors[names[1]]
        tied_now = True
    else:
        tied_now = False
    height = {name: tensors[name].height for name in names if name in tensors}
    if len(set(height.values())) != 1:
        raise BadInput(
            f"{adapter.folder}: after merging, {names[0]!r} would have {height[names[0]]} rows and "
            f"{names[1]!r} {height[names[1]]}; the adapter carries only one of them, so it was "
            "trained on a base with more rows than this one"
        )
    config = {**model.config, "vocab_size": height[names[0]], "tie_word_embeddings": tied_now}
    return Model(model.folder, tensors, config)


def _apart(adapter: Adapter, names: tuple[str, str]) -> bool:
    """Whether an adapter trained a tied model's two matrices apart."""
    modules = [name.removesuffix(".weight") for name in names]
    touched = [
        name in adapter.replaced or module in adapter.low_rank
        for name, module in zip(names, modules, strict=True)
    ]
    if not any(touched) or adapter.keep_tied:
        return False
    if not any(module in adapter.low_rank for module in modules) and all(touched):
        first, second = (adapter.replaced[name] for name in names)
        return first.shape != second.shape or any(
            not torch.equal(first.rows(a, b), second.rows(a, b))
            for a, b in spans(first.height, first.elements)
        )
    return True


def _base_tensor(adapter: Adapter, name: str, tensors: Mapping[str, StoredTensor]) -> StoredTensor:
    if name not in tensors:
        raise BadInput(
            f"{adapter.folder}: changes {name!r}, which the base does not have; the adapter "
            "belongs to another model"
        )
    return tensors[name]


def _replaced(
    adapter: Adapter,
    name: str,
    tensors: Mapping[str, StoredTensor],
    tensor: StoredTensor,
    *,
    grows: bool,
) -> StoredTensor:
    old = _base_tensor(adapter, name, tensors)
    fits = tensor.shape[1:] == old.shape[1:] and (grows or tensor.shape == old.shape)
    if not fits or tensor.height < old.height:
        raise BadInput(
            f"{adapter.folder}: its {name!r} has shape {list(tensor.shape)} and the base's "
            f"{list(old.shape)}; the adapter belongs to another model"
        )
    return StoredTensor(name, old.dtype, tensor.shape, tensor.rows)


def _with_rows(
    adapter: Adapter,
    name: str,
    tensors: Mapping[str, StoredTensor],
    ids: list[int],
    rows: StoredTensor,
) -> StoredTensor:
    old = _base_tensor(adapter, name, tensors)
    if rows.shape[1:] != old.shape[1:] or max(ids, default=-1) >= old.height:
        raise BadInput(
            f"{adapter.folder}: trained token rows {list(rows.shape)} up to id {max(ids)} do not "
            f"fit {name!r} of shape {list(old.shape)}; the adapter belongs to another model"
        )
    new = {index: place for place, index in enumerate(ids)}

    def read(start: int, stop: int) -> Tensor:
        block = old.rows(start, stop).clone()
        for index in range(start, stop):
            if index in new:
                block[index - start] = rows.rows(new[index], new[index] + 1)[0].to(block.dtype)
        return block

    return dataclasses.replace(old, rows=read)


def _change(adapter: Adapter, module: str, part: LowRank, tensors: dict[str, StoredTensor]) -> None:
    name = f"{module}.weight"
    old = _base_tensor(adapter, name, tensors)
    outputs, inputs = part.b.shape[0], part.a.shape[1]
    shapes = {False: (outputs, inputs), True: (inputs, outputs)}
    across = part.embedding or (
        adapter.transposed if inputs == outputs else old.shape == shapes[True]
    )
    magnitude_fits = part.magnitude is None or part.magnitude.elements == outputs
    if old.shape != shapes[across] or not magnitude_fits:
        raise BadInput(
            f"{adapter.folder}: its change of {name!r} is {outputs} x {inputs} and the base's "
            f"tensor {list(old.shape)}; the adapter belongs to another model"
        )
    tensors[name] = dataclasses.replace(old, rows=low_rank_rows(old, part, across=across))
    if part.bias is not None:
        bias = _base_tensor(adapter, f"{module}.bias", tensors)
        shift = part.bias
        if shift.shape != bias.shape:
            raise BadInput(f"{adapter.folder}: lora_B.bias of {module!r} has another length")
        tensors[bias.name] = dataclasses.replace(
            bias,
            rows=lambda a, b: _sum(bias.rows(a, b), shift.rows(a, b), part.scaling, bias.dtype),
        )


def _sum(left: Tensor, right: Tensor, scale: float, dtype: torch.dtype) -> Tensor:
    wide = _wide(dtype)
    return left.to(wide).add(right.to(wide), alpha=scale).to(dtype)


def _wide(dtype: torch.dtype) -> torch.dtype:
    """The dtype in which sums are formed."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def low_rank_rows(
    old: StoredTensor, part: LowRank, *, across: bool
) -> Callable[[int, int], Tensor]:
    """Rows of the changed matrix, in its stored dtype; each sum is formed in float32 or wider and
    rounded once.

    Args:
        across: the matrix is stored (in, out), so the change is transposed.
    """
    # torch adds a product of bfloat16 matrices in float32 and rounds once, at half the cost
    alike = {old.dtype, part.a.dtype, part.b.dtype} == {torch.bfloat16} and part.magnitude is None
    wide = torch.bfloat16 if alike else _wide(old.dtype)
    held: dict[str, Tensor] = {}  # what all blocks need, dropped after the last

    def hold() -> None:
        held["a"] = part.a.whole().to(wide)
        if across:
            held["b"] = part.b.whole().to(wide)
        if part.magnitude is not None:
            held["magnitude"] = part.magnitude.whole().to(wide).reshape(-1)
        if across and part.magnitude is not None:
            square = sum(
                changed(start, stop).square().sum(0)
                for start, stop in spans(old.height, old.elements)
            )
            held["lengths"] = torch.as_tensor(square).sqrt()

    def changed(start: int, stop: int) -> Tensor:
        block = old.rows(start, stop).to(wide)
        if across:
            return block.addmm_(held["a"].T[start:stop], held["b"].T, alpha=part.scaling)
        return block.addmm_(part.b.rows(start, stop).to(wide), held["a"], alpha=part.scaling)

    def rows(start: int, stop: int) -> Tensor:
        if not held:
            hold()
        block = changed(start, stop)
        if part.magnitude is not None and across:
            block *= held["magnitude"] / held["lengths"]
        elif part.magnitude is not None:
            lengths = torch.linalg.vector_norm(block, dim=1)
            block *= (held["magnitude"][start:stop] / lengths)[:, None]
        if stop == old.height:
            held.clear()
        return block.to(old.dtype)

    return rows


def _tokenizer_of(base: Path, adapters: Sequence[Path], named: Path | None) -> Path:
    if named is not None:
        if tokenizer_ids(named) is None:
            raise BadInput(f"{named}: no tokenizer (looked for {', '.join(VOCABULARY_FILES)})")
        return named
    bring = [folder for folder in adapters if tokenizer_ids(folder) is not None]
    return bring[-1] if bring else base


def _require_vocabulary(model: Model, before: Mapping[str, StoredTensor], tokenizer: Path) -> None:
    name = embedding_names(model.tensors, model.folder)[0]
    rows, old = model.tensors[name].height, before[name].height
    require_tokenizer_fits(tokenizer, rows, Path("the merged model"))
    ids = tokenizer_ids(tokenizer)
    if ids is not None and rows > old >= ids:
        raise BadInput(
            f"{tokenizer}: its tokenizer has {ids} ids, but the adapter brings {rows} rows for a "
            f"base of {old}; name the extended tokenizer with --tokenizer"
        )
