"""Cards as the hub's own library reads them."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import ModelCard, metadata_load

from langraft.export.card import Facts, Licence, card_text, licence_in, metadata_of, write_card
from langraft.pipeline.cards import base_id, licence_of, plain_facts

LLAMA = "---\nlicense: other\nlicense_name: llama2\nlicense_link: LICENSE.txt\nlanguage: en\n---\n"
FACTS = Facts(
    title="small | model",
    base="base",
    base_id="owner/base",
    relation="finetune",
    languages=["zh", "en"],
    licence=Licence({"license": "apache-2.0"}, "owner/base's card"),
    measured={"Bits": [("text", "base", "this model"), ("zh|new", "2.3", "2.0")]},
    commands=["langraft run recipe.yaml"],
)


def test_the_hubs_parser_reads_the_metadata(tmp_path: Path) -> None:
    path = write_card(tmp_path, FACTS)
    card = ModelCard.load(path)
    assert card.data.to_dict() == {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "language": ["zh", "en"],
        "license": "apache-2.0",
        "base_model": "owner/base",
        "base_model_relation": "finetune",
        "tags": ["langraft"],
    }
    assert metadata_of(path) == metadata_load(path)
    assert "| zh\\|new | 2.3 | 2.0 |" in card.text  # a bar in a cell is no column
    assert card.text.count("Nothing") == 0


def test_what_is_not_known_is_said() -> None:
    text = card_text(Facts("x", "", "", "finetune", [], Licence()))
    data = ModelCard(text).data.to_dict()
    assert data["license"] == "unknown" and "base_model" not in data and "language" not in data
    for words in (
        "a base that the folder does not name",
        "Unknown: neither the base's folder nor its card says it",
        "Nothing was measured",
        "Nothing is recorded",
    ):
        assert words in text


def test_a_licence_is_carried_over_with_its_name_and_link(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(LLAMA + "# Llama\n", encoding="utf-8")
    found = licence_of(str(tmp_path))
    assert found.keys == {
        "license": "other",
        "license_name": "llama2",
        "license_link": "LICENSE.txt",
    }
    assert found.words.startswith("`llama2` (LICENSE.txt), carried over from the card of")
    facts = plain_facts(tmp_path, str(tmp_path), "made")
    assert facts.languages == ["en"] and facts.commands == ["made"] and facts.base_id == ""


@pytest.mark.parametrize(
    "content",
    ["", "# no metadata\n", "---\nlicense: unknown\n---\n", "---\n- a\n---\n", "---\na: [\n---\n"],
)
def test_cards_that_say_nothing(tmp_path: Path, content: str) -> None:
    path = tmp_path / "README.md"
    path.write_text(content, encoding="utf-8")
    assert licence_in(path, "x") == Licence()


def test_bases_by_name_folder_and_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert licence_of("smollm2-135m").keys == {"license": "apache-2.0"}
    assert base_id("smollm2-135m") == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert base_id("meta-llama/Llama-2-7b-hf") == "meta-llama/Llama-2-7b-hf"
    assert base_id(str(tmp_path)) == base_id("./a/b") == base_id("") == ""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "small").mkdir(parents=True)
    assert base_id("runs/small") == ""  # a folder, though it looks like an id
    assert licence_of("owner/never-fetched") == Licence()
