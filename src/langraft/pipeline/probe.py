"""A fixed set of questions, answered on the way through a stage."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from transformers import PreTrainedModel

from langraft.data.conversations import USER, Message
from langraft.data.encode import Renderer
from langraft.data.rules import Reply, same_language
from langraft.train.experience import samples_of
from langraft.train.sampling import OwnSampler
from langraft.train.scoring import sample_logprobs
from langraft.train.stage import Place

DRAWN = 4  # answers to each question that the divergence is measured on
TOKENS = 64


class Probe:
    """What becomes of a model's answers while it learns.

    The divergence from the model that the stage began with needs no second model: that one's own
    answers, drawn before, are scored by the model as it is now. The mean of log p_start - log p_now
    over them estimates KL(start || now) without bias.

    Attributes:
        texts: the greedy answers that were measured last.
    """

    def __init__(
        self, model: PreTrainedModel, renderer: Renderer, prompts: Sequence[str], place: Place
    ) -> None:
        """`model` is the one that the stage begins with."""
        self._renderer, self._place, self._prompts = renderer, place, list(prompts)
        self.texts: list[str] = []
        if not prompts:
            return
        self._asked = [renderer.prompt([Message(USER, prompt)]) for prompt in prompts]
        given = [ids for ids in self._asked for _ in range(DRAWN)]
        drawn = self._sampler(model, 1.0)(given, range(len(given)))
        self._drawn = samples_of(given, drawn)
        self._start = self._logprobs(model)

    def measure(self, model: PreTrainedModel) -> dict[str, float]:
        """Of greedy answers: mean tokens, the share in the question's language, how many the model
        ended; and the divergence in nats an answer. Nothing, where nothing is asked.

        Every rank must come here.
        """
        if not self._prompts:
            return {}
        found = self._sampler(model, 0.0)(self._asked, [0] * len(self._asked))
        self.texts = texts = self._renderer.tokenizer.batch_decode(found, skip_special_tokens=True)
        language = [same_language(Reply(*s)) for s in zip(self._prompts, texts, strict=True)]
        values = {
            "kl": float((self._start - self._logprobs(model)).mean()),
            "answer_tokens": float(np.mean([len(ids) for ids in found])),
            "same_language": float(np.mean(language)),
            "ended": float(np.mean([ids[-1] == self._renderer.end_id for ids in found])),
        }
        return {name: round(value, 5) for name, value in values.items()}

    def _sampler(self, model: PreTrainedModel, heat: float) -> OwnSampler:
        place, end = self._place, self._renderer.end_id
        return OwnSampler(model, place.device, end, TOKENS, heat, ranks=place.ranks)

    def _logprobs(self, model: PreTrainedModel) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        place = self._place
        return sample_logprobs(model, self._drawn, place.device, "divergence", place.ranks)[0]
