"""The verbs of the tokenizer on published tokenizers: what continuous integration proves."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from small_run import results, run
from tokenizer_bases import QUICKSTART, documents, held_out, lines
from verbs import answer, langraft

OLD = 16_000
STAGE = "pretrain-adapt"
LLAMA2, CHINESE = "llama2/tokenizer.model", "chinese-llama-2-55296/tokenizer.model"


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of Chinese to learn from and held out, and OLD lines of English."""
    folder = tmp_path_factory.mktemp("texts")
    for name, found in (("zh", documents("zh")[1:300]), ("held", held_out()[:30])):
        written = "".join(json.dumps({"text": t}, ensure_ascii=False) + "\n" for t in found)
        (folder / f"{name}.jsonl").write_text(written, encoding="utf-8")
    english = lines("en", OLD)
    assert len(english) == OLD
    (folder / "en.txt").write_text("\n".join(english))
    return folder


@pytest.mark.parametrize("base", [LLAMA2, "smollm2-135m"])
def test_an_extension_is_proven(base: str, texts: Path, material: Path, tmp_path: Path) -> None:
    tokenizers = material / "tokenizers"
    path = tokenizers / base if base == LLAMA2 else base
    out, golden = tmp_path / "out", tokenizers / "ggml-vocab/ggml-vocab-llama-spm.gguf.inp"
    learnt = ("--text", texts / "zh.jsonl", "--out", out)
    total = 33_000 if base == LLAMA2 else 50_000
    made = answer("tokenizer", "extend", path, *learnt, "--vocabulary", total)
    assert made["base_pieces"] + made["added_pieces"] == total
    published = ("--golden", golden) if base == LLAMA2 else ()
    given = ("--old", texts / "en.txt", "--new", texts / "held.jsonl", *published)
    found = answer("tokenizer", "check", path, out, *given)
    proofs = {proof["name"]: proof for proof in found["proofs"]}
    assert all(proof["passed"] for proof in proofs.values())
    old = proofs["old text is encoded as before"]
    left_out = int(old["detail"].split()[0]) if old["detail"] else 0
    assert old["checked"] + left_out == OLD
    assert left_out < 30
    assert proofs["transformers gives the same ids"]["checked"] > 500
    assert proofs["llama.cpp gives the same ids"]["checked"] > 500
    assert ("published encodings hold" in proofs) == (base == LLAMA2)
    assert found["usage"]["never"] < 0.2 * made["added_pieces"]


def test_the_published_tokenizer_fails_with_its_counter_examples(
    material: Path, texts: Path
) -> None:
    before, after = (material / "tokenizers" / path for path in (LLAMA2, CHINESE))
    given = ("--old", texts / "en.txt", "--new", texts / "held.jsonl", "--json")
    found = langraft("tokenizer", "check", before, after, *given)
    assert found.returncode == 1
    assert "every added piece can be produced: no; counter-example" in found.stderr
    proofs = json.loads(found.stdout.splitlines()[-1])["proofs"]
    failed = {proof["name"] for proof in proofs if not proof["passed"]}
    assert failed == {
        "every added piece can be produced",
        "merging by rank gives the same ids",
        "transformers gives the same ids",
    }


def test_a_sweep_and_a_comparison_draw_pages(material: Path, texts: Path, tmp_path: Path) -> None:
    base = material / "tokenizers" / LLAMA2
    config = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    (tmp_path / "config.json").write_text(json.dumps(config | {"intermediate_size": 128}))
    page = tmp_path / "sweep.html"
    given = ("--text", texts / "zh.jsonl", "--held", texts / "held.jsonl", "--budget", 200_000)
    swept = answer(
        *("tokenizer", "sweep", base, *given, "--config", tmp_path / "config.json"),
        *("--html", page),
    )
    assert swept["rows"][0]["size"] == 0
    assert swept["reason"].partition(": ")[2][1:] in page.read_text().replace("&#39;", "'")
    page = tmp_path / "compare.html"
    held = ("--text", texts / "held.jsonl", "--html", page)
    rows = answer("tokenizer", "compare", base, material / "tokenizers" / CHINESE, *held)
    first, second = (row["tokens_per_character"] for row in rows["tokenizers"])
    assert first > 1.3 * second
    assert f"<b>{second:.3f}</b>" in page.read_text()
    printed = langraft("tokenizer", "compare", base, "--text", texts / "held.jsonl")
    assert not re.search(r"\d\.\d{4}", printed.stdout + printed.stderr)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--size", "10", "--script", "Hann"), "did you mean 'Han'"),
        (("--vocabulary", "31000"), "vocabulary: 31,000 is not above the 32,000 pieces"),
        (("--size", "many"), "--size many: give a number"),
        (("--size", "0"), "size: 0 is too small"),
        (("--size", "auto"), "--held: name text"),
    ],
)
def test_wrong_settings(
    arguments: tuple[str, ...], message: str, material: Path, texts: Path, tmp_path: Path
) -> None:
    base = material / "tokenizers" / LLAMA2
    given = ("--text", texts / "zh.jsonl", "--out", tmp_path / "out")
    found = langraft("tokenizer", "extend", base, *given, *arguments)
    assert found.returncode == 2
    assert message in found.stderr
    assert "Traceback" not in found.stderr


def test_wrong_files(material: Path, tmp_path: Path) -> None:
    base = material / "tokenizers" / LLAMA2
    empty = tmp_path / "empty.txt"
    empty.write_text("")
    out = ("--size", 10, "--out", tmp_path / "out")
    found = langraft("tokenizer", "extend", base, "--text", empty, *out)
    assert found.returncode == 2
    assert "empty.txt" in found.stderr
    found = langraft("tokenizer", "compare", QUICKSTART / "zh.jsonl.zst", "--text", empty)
    assert found.returncode == 2
    assert "no tokenizer file" in found.stderr


def test_a_recipe_lets_the_sweep_choose(small: Path, root: Path, tmp_path: Path) -> None:
    auto = ("--set", "tokenizer.size=auto", "--set", "pretrain.0.tokens=400_000_000")
    found = run(small, root, tmp_path / "out", *auto, "--until", "tokenizer")
    assert found.returncode == 0, found.stderr
    grown = results(tmp_path / "out", "tokenizer")
    assert grown["added_pieces"] == grown["sweep"]["size"] >= 1000
    assert grown["sweep"]["reason"].startswith(f"{grown['added_pieces']:,} pieces")
    assert all(proof["passed"] for proof in grown["proofs"])


def test_a_stage_trains_on_text_spelt_with_dropout(
    small: Path, root: Path, done: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(done, out)
    plain = {path: len(np.load(path)) for path in out.glob("shards/*/*/00000/tokens.npy")}
    found = run(small, root, out, "--set", "pretrain.0.bpe_dropout=0.3", "--until", STAGE)
    assert found.returncode == 0, found.stderr
    dropped = set(out.glob("shards/*/*/00000/tokens.npy")) - set(plain)
    assert {path.parent.parent.name for path in dropped} == {"zh", "en"}
    for path in dropped:
        (before,) = (n for p, n in plain.items() if p.parent.parent.name == path.parent.parent.name)
        more = len(np.load(path)) / before
        assert 1.02 < more < 1.5 if path.parent.parent.name == "zh" else more < 1.001
