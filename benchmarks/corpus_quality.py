"""Decontamination, language identification and quality scores on the test material.

    python benchmarks/corpus_quality.py [--json FILE] [PART ...]

PART is decontaminate, language, quality or all (the default). Text comes from `../shared/material`
beside the checkout. Speeds are MB of UTF-8 text a CPU-second of one process, measured after a first
call that compiles; each peer runs in the same process on the same texts:

- decontaminate: a set of 13-grams as strings, probed in Python.
- language: lid.176.ftz on every document, without the script rule.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import re
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import fasttext
import numpy as np
import zstandard

from langraft.core.io import open_binary, write_json
from langraft.corpus.benchmark_items import SUITES, benchmark_items
from langraft.corpus.decontaminate import Decontaminator, Item
from langraft.corpus.language import LanguageIdentifier, found_model
from langraft.corpus.quality.cuts import cut_of, shares
from langraft.corpus.quality.linear import auc, train_linear
from langraft.corpus.quality.ngram import NgramScorer, train_ngram

MATERIAL = Path(__file__).resolve().parent.parent.parent / "shared" / "material"
LEAKED = ("csl", "tnews", "iflytek")
CLEAN = (
    *("zh/laws", "zh/tidb_docs_cn", "zh/java_guide", "zh/oi_wiki", "zh/d2l_zh", "zh/how_to_cook"),
    *("zh/lctt_zh", "zh/ruanyf_weekly", "zh/chinese_poetry", "zh/classical_original"),
    *("zh/noisy_reviews", "zh/noisy_xda_mt", "en/openstax_biology", "en/openstax_sociology"),
    *("en/c4_demo", "en/wiki_demo", "en/pepys_diary", "en/nltk_corpora", "en/rust_book"),
)
_WORD = re.compile(r"[\u3400-\u9fff]|[^\W\u3400-\u9fff_]+")


def documents(name: str) -> list[dict[str, str]]:
    """All records of one corpus."""
    with open_binary(MATERIAL / "corpora" / f"{name}.jsonl.zst") as stream:
        return [json.loads(line) for line in stream]


def texts(name: str) -> list[str]:
    """All texts of one corpus."""
    return [document["text"] for document in documents(name)]


def megabytes(found: Sequence[str]) -> float:
    """The size of some texts."""
    return sum(len(text.encode()) for text in found) / 1e6


def rate(work: Callable[[Sequence[str]], Any], found: Sequence[str]) -> float:
    """MB a CPU-second."""
    started = time.process_time()
    work(found)
    return megabytes(found) / (time.process_time() - started)


class PythonProbe:
    """The peer: 13-grams of characters and words as joined strings in a set."""

    def __init__(self, items: Sequence[Item]) -> None:
        self._known = {gram for item in items for gram in self._grams(item.text)}

    def _grams(self, text: str) -> list[str]:
        words = _WORD.findall(text.lower())
        return ["\0".join(words[place : place + 13]) for place in range(len(words) - 12)]

    def hits(self, found: Sequence[str]) -> list[bool]:
        """Whether each text holds any known gram."""
        return [any(gram in self._known for gram in self._grams(text)) for text in found]


def decontaminate() -> dict[str, Any]:
    """Recall on the leaked texts, hits elsewhere, and speed."""
    with tempfile.TemporaryDirectory() as folder:
        packed = (MATERIAL / "benchmarks" / "benchmarks_dev.tar.zst").read_bytes()
        with zstandard.ZstdDecompressor().stream_reader(packed) as stream:
            unpacked = io.BytesIO(stream.read())
        with tarfile.open(fileobj=unpacked) as archive:
            archive.extractall(folder, filter="data")
        items = list(benchmark_items(dict.fromkeys(SUITES, Path(folder))))
    Decontaminator(items[:9]).hits(["a"])
    started = time.process_time()
    index = Decontaminator(items)
    built = time.process_time() - started
    result: dict[str, Any] = {"items": len(index), "texts": len(items), "index_seconds": built}
    for name in LEAKED:
        leaked = [d for d in documents(f"zh/fewclue_{name}") if "test_public" in d["path"]]
        hits = index.hits([d["text"] for d in leaked])
        right = sum(any(h.suite == f"fewclue_{name}" for h in found) for found in hits)
        result[f"recall_{name}"] = [right, len(leaked)]
        print(f"fewclue_{name}: {right:,} of {len(leaked):,} test texts caught")
    elsewhere: dict[str, list[int]] = {}
    for name in CLEAN:
        found = index.hits(texts(name))
        elsewhere[name] = [sum(map(bool, found)), len(found)]
    result["elsewhere"] = elsewhere
    for name, (hit, many) in elsewhere.items():
        if hit:
            print(f"{name}: {hit:,} of {many:,} documents hold an item")
    sample = [text for name in ("zh/lctt_zh", "en/openstax_biology") for text in texts(name)]
    ours, theirs = rate(index.hits, sample), rate(PythonProbe(items).hits, sample)
    result |= {"mb_per_second": ours, "python_mb_per_second": theirs, "ratio": ours / theirs}
    print(f"{ours:.1f} MB/s, a Python set {theirs:.1f} MB/s: {ours / theirs:.1f} times")
    return result


def language() -> dict[str, Any]:
    """Agreement with each corpus's language, planted mixtures, and speed."""
    identifier = LanguageIdentifier()
    model = fasttext.load_model(str(found_model()))
    identifier.identify(["first", "第一"])

    def alone(found: Sequence[str]) -> list[str]:
        lines = (text[:2_000].replace("\n", " ") for text in found)
        return [model.predict(line)[0][0].removeprefix("__label__") for line in lines]

    result: dict[str, Any] = {"corpora": {}}
    everything: list[str] = []
    for name in CLEAN:
        found = texts(name)
        everything += found
        ours = Counter(one.language for one in identifier.identify(found))
        theirs = Counter(alone(found[:1_000]))
        shown = [ours[name[:2]] / len(found), theirs[name[:2]] / theirs.total()]
        result["corpora"][name] = shown
        print(f"{name}: {shown[0]:.2%} {name[:2]}; lid.176 alone {shown[1]:.2%}")
    draw = random.Random(3)
    chinese = [text[:900] for text in texts("zh/ruanyf_weekly")]
    english = [text[:2_000] for text in texts("en/c4_demo") if len(text) > 1_000]
    draw.shuffle(english)
    both = [f"{one}\n{other}" for one, other in zip(chinese, english, strict=False)]
    marked = sum(one.mixed for one in identifier.identify(both))
    wrong = sum(one.mixed for one in identifier.identify(chinese + english))
    parallel = identifier.identify(texts("parallel/lctt_mixed_zh_en"))
    result["mixed"] = {
        "planted": [marked, len(both)],
        "alone": [wrong, len(chinese) + len(english)],
        "lctt_mixed": [sum(one.mixed for one in parallel), len(parallel)],
    }
    print(f"mixed: {result['mixed']}")
    draw.shuffle(everything)
    sample = everything[:8_000]
    ours_rate = rate(identifier.identify, sample)
    theirs_rate = rate(alone, sample)
    result |= {"mb_per_second": ours_rate, "lid_mb_per_second": theirs_rate}
    print(f"{ours_rate:.1f} MB/s, lid.176 on 2,000 characters each {theirs_rate:.1f} MB/s")
    return result


def quality() -> dict[str, Any]:
    """How well perplexity and the classifier part clean prose from machine translation."""
    clean = {name: texts(f"zh/{name}") for name in ("ruanyf_weekly", "lctt_zh")}
    noise = {name: texts(f"zh/noisy_{name}")[:2_500] for name in ("xda_mt", "lifehacker_mt")}
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "zh.arpa"
        reference = [
            text
            for pair in zip(clean["ruanyf_weekly"][::2], clean["lctt_zh"][::14], strict=False)
            for text in pair
        ]
        started = time.process_time()
        counts = train_ngram(reference, path, most_bytes=2_000_000)
        result["training_seconds"] = time.process_time() - started
        result["training_bytes"] = counts["bytes"]
        scorer = NgramScorer(path)
        held = {name: found[1::2] for name, found in clean.items()}
        scores = {name: scorer.scores(found) for name, found in {**held, **noise}.items()}
        result["perplexity_mb_per_second"] = rate(scorer.scores, held["lctt_zh"])
    everything = [score for found in scores.values() for score in found]
    cut = cut_of(everything, shares("ziya2"), higher_is_better=False)
    result["ziya2"] = {
        name: dict(Counter(cut.grade(score) for score in found)) for name, found in scores.items()
    }
    print(f"Ziya2's cut: {result['ziya2']}")
    for good in held:
        for bad in noise:
            both = np.array(scores[good] + scores[bad])
            area = auc(-both, np.arange(len(both)) < len(scores[good]))
            result[f"perplexity_auc_{good}_{bad}"] = area
            print(f"perplexity, {good} against {bad}: AUC {area:.3f}")
    train_linear(clean["lctt_zh"][:50], noise["xda_mt"][:50])
    started = time.process_time()
    trained = train_linear(clean["lctt_zh"], noise["xda_mt"])
    result["linear_seconds"] = time.process_time() - started
    result["linear_auc_held_out"] = trained.auc
    pairs = (("lctt_zh", "xda_mt"), ("ruanyf_weekly", "lifehacker_mt"))
    for (good, bad), (new_good, new_bad) in (pairs, pairs[::-1]):
        scorer_of = train_linear(clean[good], noise[bad]).scorer
        both = np.array(scorer_of.scores(clean[new_good] + noise[new_bad]))
        area = auc(both, np.arange(len(both)) < len(clean[new_good]))
        result[f"linear_auc_{good}_{bad}_on_{new_good}_{new_bad}"] = area
        print(f"linear, trained on {good}/{bad}, on {new_good}/{new_bad}: AUC {area:.3f}")
    result["linear_mb_per_second"] = rate(
        trained.scorer.scores, [t[:2_000] for t in clean["lctt_zh"]]
    )
    print({key: value for key, value in result.items() if "second" in key or "held" in key})
    return result


PARTS = {"decontaminate": decontaminate, "language": language, "quality": quality}


def main() -> None:
    """Run the named parts and print what they measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[*PARTS, "all"], default="all")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    chosen = [part for part in PARTS if "all" in options.parts or part in options.parts]
    result = {part: PARTS[part]() for part in chosen}
    if options.json:
        write_json(options.json, result)


if __name__ == "__main__":
    main()
