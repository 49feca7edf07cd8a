"""Cards of a real run: what they say is what the manifests hold, and nothing of this machine."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from huggingface_hub import ModelCard
from small_run import results
from verbs import answer

from langraft.core.io import sha256_file


def test_a_run_leaves_cards_with_its_numbers(done: Path, small: Path) -> None:
    adapted, bits = done / "pretrain-adapt", results(done, "eval")["bits"]
    card = ModelCard.load(adapted / "README.md")
    assert card.data.language == ["zh", "en"] and card.data.license == "unknown"
    row = f"| zh | {bits['base']['zh']:.3f} | {bits['grafted']['zh']:.3f} | "
    assert row + f"{bits['adapted']['zh']:.3f} | " in card.text
    spelt = results(done, "tokenizer")["tokens_per_character"]["zh"]
    assert f"| zh | {spelt['base']:.3f} | {spelt['extended']:.3f} |" in card.text
    assert "0-shot" in card.text or "1-shot" in card.text  # the exam, with its protocol
    for stage in ("corpus", "tokenizer", "graft", "pretrain-adapt"):
        assert sha256_file(done / stage / "manifest.json") in card.text
    assert sha256_file(done / "recipe.yaml") in card.text
    assert "langraft run recipe.yaml --until pretrain-adapt" in card.text
    assert str(small) not in card.text and str(done) not in card.text
    assert ("missed" in card.text) == any(
        not target["met"] for target in results(done, "eval")["targets"]
    )
    graft = ModelCard.load(done / "graft" / "README.md").text
    assert "this model" not in graft.split("**Tokens per character**")[0]
    assert sha256_file(adapted / "manifest.json") not in graft


def test_a_licence_goes_from_base_to_card(done: Path, small: Path, tmp_path: Path) -> None:
    """The same run on a base whose folder has a card, written again."""
    run, base = tmp_path / "run", tmp_path / "base"
    shutil.copytree(done, run)
    shutil.copytree(small / "base", base)
    (base / "README.md").write_text("---\nlicense: cc-by-sa-4.0\n---\n", encoding="utf-8")
    recipe = (run / "recipe.yaml").read_text(encoding="utf-8")
    (run / "recipe.yaml").write_text(recipe.replace(str(small / "base"), str(base)))
    found = answer("export", "card", run / "pretrain-adapt")
    assert ModelCard.load(found["card"]).data.license == "cc-by-sa-4.0"
    # and on to what single verbs make of the result
    longer = tmp_path / "longer"
    answer("context", run / "pretrain-adapt", "--length", 2048, "--out", longer)
    card = ModelCard.load(longer / "README.md")
    assert card.data.license == "cc-by-sa-4.0" and card.data.language == ["zh", "en"]
    assert "langraft context pretrain-adapt" in card.text
    assert json.loads((longer / "config.json").read_text())["rope_parameters"]
