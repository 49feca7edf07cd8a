"""One round's answers with all that is learnt from them, as flat arrays on disk: a pool of a
hundred thousand answers is read as it is needed, not held.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from langraft.core.io import PARTIAL, disk_errors, remove
from langraft.data.encode import Encoded
from langraft.data.samples import Samples, batch_of, lay

Singles = NDArray[np.float32]
FLAT = ("old", "reference", "advantages", "returns", "values")
BY_ANSWER = ("rewards", "language", "ended")


@dataclasses.dataclass(frozen=True)
class RolloutBatch:
    """N answers as packed sequences, T tokens in all, L of them answers' tokens.

    Attributes:
        old, reference, advantages, returns, values: by answer token, shape (L,).
        rewards, language, ended: by answer, shape (N,).
    """

    input_ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    position_ids: NDArray[np.int64]
    boundaries: NDArray[np.int32]
    old: Singles
    reference: Singles
    advantages: Singles
    returns: Singles
    values: Singles
    rewards: Singles
    language: Singles
    ended: Singles

    @property
    def counted(self) -> int:
        """Answer tokens."""
        return len(self.old)

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence."""
        return int(np.diff(self.boundaries).max())


@dataclasses.dataclass(frozen=True)
class Experience:
    """One round's answers.

    Attributes:
        starts: where each answer's tokens begin in the flat arrays, and their end.
        old, reference: log-probabilities when the answer was given, by the model that gave it and
            by the one that the stage began with; by answer token, as `advantages`, `returns` and
            `values` are.
        rewards: by answer.
        language, ended: by answer: the share in the question's language, and whether the model
            ended it itself.
        kl: the coefficient for the next round, shape ().
    """

    samples: Samples
    starts: NDArray[np.int64]
    old: Singles
    reference: Singles
    advantages: Singles
    returns: Singles
    values: Singles
    rewards: Singles
    language: Singles
    ended: Singles
    kl: NDArray[np.float64]

    def batch(self, numbers: Sequence[int]) -> RolloutBatch:
        """Some answers as one batch."""
        laid = batch_of([self.samples[n] for n in numbers])
        places = np.concatenate([np.arange(self.starts[n], self.starts[n + 1]) for n in numbers])
        return RolloutBatch(
            laid.input_ids,
            laid.labels,
            laid.position_ids,
            laid.boundaries,
            **{name: getattr(self, name)[places] for name in FLAT},
            **{name: getattr(self, name)[list(numbers)] for name in BY_ANSWER},
        )

    def save(self, folder: Path) -> None:
        """Write every array into `folder`, whole or not at all."""
        arrays = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        samples = arrays.pop("samples")
        for field in dataclasses.fields(Samples):
            arrays[f"samples_{field.name}"] = getattr(samples, field.name)
        partial = folder.with_name(folder.name + PARTIAL)
        with disk_errors(folder):
            remove(partial)
            partial.mkdir(parents=True)
            for name, array in arrays.items():
                np.save(partial / f"{name}.npy", array)
            partial.rename(folder)

    @classmethod
    def load(cls, folder: Path) -> Experience:
        """Memory-map what `save` wrote."""

        def array(name: str) -> NDArray[np.generic]:
            return np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)

        samples = Samples(*(array(f"samples_{f.name}") for f in dataclasses.fields(Samples)))  # type: ignore[arg-type]
        names = [f.name for f in dataclasses.fields(cls) if f.name != "samples"]
        return cls(samples, **{name: array(name) for name in names})  # type: ignore[arg-type]


def samples_of(prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]) -> Samples:
    """Prompts with their answers, of which only the answers are learnt."""
    return lay(
        [
            Encoded(
                np.array([*prompt, *answer], np.int64),
                np.arange(len(prompt) + len(answer)) >= len(prompt),
            )
            for prompt, answer in zip(prompts, answers, strict=True)
        ]
    )
