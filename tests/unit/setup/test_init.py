"""From five answers to a recipe: what is found in a folder, what is written, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from langraft.cli import app
from langraft.core.errors import BadInput
from langraft.plan.devices import CPU, DEVICES
from langraft.recipe import load_recipe
from langraft.setup.answers import find_hardware
from langraft.setup.languages import find_language
from langraft.setup.survey import survey

RUSSIAN = "Менеджер пакетов устанавливает программы из хранилища и следит за их версиями. "
UKRAINIAN = "Їжак живе у лісі та їсть ґедзів, а взимку він спить під купою сухого листя. "
ENGLISH = "The package manager installs programs from a repository and keeps their versions. "
BASE = "HuggingFaceTB/SmolLM2-135M"  # in the plan's table, and not at hand
TALK = {"instruction": "Как установить пакет?", "input": "", "output": "Командой apt install."}


def write_texts(path: Path, text: str, size: int, key: str = "text") -> None:
    """About `size` bytes of documents that differ."""
    path.parent.mkdir(parents=True, exist_ok=True)
    one = text * 6
    count = max(size // len(one.encode()), 1)
    lines = [json.dumps({key: f"{n}. {one}"}, ensure_ascii=False) for n in range(count)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    write_texts(folder / "ru" / "one.jsonl", RUSSIAN, 300_000)
    write_texts(folder / "ru" / "deep" / "two.jsonl", RUSSIAN, 100_000)
    write_texts(folder / "en.jsonl", ENGLISH, 120_000)
    return folder


def init(out: Path, *options: object, **changed: str) -> Any:
    told = {"language": "ru", "base": BASE, "hardware": "rtx3090", "goal": "read"}
    flags = [part for name, value in {**told, **changed}.items() for part in (f"--{name}", value)]
    arguments = ["init", *flags, "--out", str(out), *map(str, options), "--json"]
    done = CliRunner().invoke(app, arguments)
    if done.exception is not None:
        raise done.exception
    return json.loads(done.stdout.splitlines()[-1])


def test_a_folder_is_sorted_by_language(data: Path) -> None:
    write_texts(data / "mixed" / "uk.jsonl", UKRAINIAN, 30_000, key="content")
    write_texts(data / "mixed" / "more.jsonl", RUSSIAN, 30_000, key="content")
    (data / "mixed" / "broken.jsonl").write_text("{\n", encoding="utf-8")
    (data / "talks.json").write_text(json.dumps([TALK] * 3), encoding="utf-8")
    found = survey(data, find_language("ru"))
    assert [(b.language, b.text_key, len(b.files)) for b in found.new] == [
        ("ru", "content", 1),
        ("ru", "text", 2),
    ]
    assert [b.language for b in found.old] == ["en"]
    assert [b.language for b in found.others] == ["uk"]
    assert found.talks == (data / "talks.json",)
    assert list(found.unread) == [data / "mixed" / "broken.jsonl"]
    assert found.new_bytes == sum(
        len(json.loads(line)[key].encode())
        for name, key in (("ru/one", "text"), ("ru/deep/two", "text"), ("mixed/more", "content"))
        for line in (data / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    )
    assert found.new[1].scripts == {"Cyrillic": 1.0}
    # a folder all of whose files belong to a source is named, others file by file
    assert found.paths(found.new[1], data.parent) == ["data/ru"]
    assert found.paths(found.new[0], data.parent) == ["data/mixed/more.jsonl"]


def test_what_the_identifier_does_not_know_goes_by_its_script(tmp_path: Path) -> None:
    write_texts(tmp_path / "a.jsonl", "ᏣᎳᎩ ᎦᏬᏂᎯᏍᏗ ᎠᎴ ᎠᏂᏴᏫᏯᎢ ", 60_000)
    (body,) = survey(tmp_path, find_language("chr")).new
    assert body.language == "chr"


@pytest.mark.parametrize("goal", ["try", "read", "chat"])
@pytest.mark.parametrize("hardware", ["cpu", "rtx3090", "8 x h100"])
def test_a_plan_takes_what_is_written(data: Path, goal: str, hardware: str) -> None:
    (data / "talks.json").write_text(json.dumps([TALK] * 20), encoding="utf-8")
    out = data.parent / "mine.yaml"
    told = init(out, "--data", data, goal=goal, hardware=hardware)
    recipe = load_recipe(out)
    assert recipe.name == "mine" and recipe.language and recipe.language.scripts == ("Cyrillic",)
    assert told["stages"] == [s.name for s in recipe.pretrain] + ["sft"] * (goal == "chat")
    assert recipe.corpus and [s.paths for s in recipe.corpus.sources] == [
        ("data/ru",),
        ("data/en.jsonl",),
    ]
    tokens = sum(stage.tokens for stage in recipe.pretrain)
    assert tokens * 3 < told["new_bytes"] and all(s.epochs == 4 for s in recipe.pretrain)
    device = find_hardware(hardware)
    options = ["--device", device.name, "--devices", str(device.devices)]
    done = CliRunner().invoke(app, ["plan", str(out), *options, "--json"])
    assert done.exit_code == 0, done.output
    assert all(stage["fits"] for stage in json.loads(done.stdout.splitlines()[-1])["stages"])


def test_the_comments_say_what_was_seen(data: Path) -> None:
    out = data.parent / "mine.yaml"
    init(out, "--data", data)
    text = out.read_text(encoding="utf-8")
    assert "# ru: 2 files, 0.40 MB of text (Cyrillic 100%)" in text
    assert "langraft plan mine.yaml --device rtx3090" in text
    assert text.count("#") > 12


def test_a_large_base_gets_what_fits(data: Path) -> None:
    """LLaMA-2-7B: all weights on eight H100, an adapter on one, nothing on an RTX 3090."""
    ways = {}
    for name, hardware in (("many", "8 x h100"), ("one", "h100")):
        out = data.parent / f"{name}.yaml"
        init(out, "--data", data, base="meta-llama/Llama-2-7b-hf", hardware=hardware)
        ways[name] = load_recipe(out).pretrain[-1].train
    assert ways == {"many": "full", "one": "lora"}
    out = data.parent / "small.yaml"
    with pytest.raises(BadInput, match=r"even an adapter .* needs .* take \d+ of them"):
        init(out, "--data", data, base="meta-llama/Llama-2-13b-hf", hardware="rtx3090")
    assert not out.exists()


def test_latin_letters_keep_the_vocabulary(tmp_path: Path) -> None:
    vietnamese = "Trình quản lý gói cài đặt các chương trình từ kho và theo dõi phiên bản. "
    write_texts(tmp_path / "data" / "vi.jsonl", vietnamese, 300_000)
    out = tmp_path / "vi.yaml"
    init(out, "--data", tmp_path / "data", language="vi")
    recipe = load_recipe(out)
    assert recipe.tokenizer and recipe.tokenizer.method == "keep"
    assert [stage.name for stage in recipe.pretrain] == ["knowledge"]
    assert recipe.pretrain[0].mix == {"vi": 1.0}
    assert "cannot be measured" in out.read_text(encoding="utf-8")


def test_little_old_text_lowers_its_share(tmp_path: Path) -> None:
    write_texts(tmp_path / "data" / "ru.jsonl", RUSSIAN, 2_000_000)
    write_texts(tmp_path / "data" / "en.jsonl", ENGLISH, 20_000)
    out = tmp_path / "ru.yaml"
    init(out, "--data", tmp_path / "data")
    mix = load_recipe(out).pretrain[-1].mix
    assert 0.02 < mix["en"] < 0.06 and sum(mix.values()) == pytest.approx(1)


def test_a_base_at_hand_is_tried_on_the_text(data: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    base = data.parent / "base"
    base.mkdir()
    tokenizer = Tokenizer(models.BPE(dict(zip(_bytes(), range(256), strict=True)), []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.save(str(base / "tokenizer.json"))
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = {"model_type": "llama", "intermediate_size": 128, "vocab_size": 256, **sizes}
    (base / "config.json").write_text(json.dumps(config), encoding="utf-8")
    out = data.parent / "mine.yaml"
    told = init(out, "--data", data, base=str(base), goal="try", hardware=CPU)
    assert 1.8 < told["tokens_per_character"] < 2  # two bytes a letter, one a space
    assert load_recipe(out).base == "base"  # as seen from the recipe
    assert yaml.safe_load(out.read_text(encoding="utf-8"))["graft"]["distil"]["depth"] == 2


def _bytes() -> list[str]:
    from tokenizers import pre_tokenizers

    return sorted(pre_tokenizers.ByteLevel.alphabet())


def test_nothing_is_overwritten(data: Path) -> None:
    out = data.parent / "mine.yaml"
    out.write_text("name: precious\n", encoding="utf-8")
    with pytest.raises(BadInput, match=r"mine\.yaml: is there already"):
        init(out, "--data", data)
    assert out.read_text(encoding="utf-8") == "name: precious\n"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"language": "klingonese"}, "no such language"),
        ({"language": "th"}, r"none of its 3 files is in th; languages found: "),
        ({"base": "owner/unknown"}, "not in the plan's table"),
        ({"hardware": "h10"}, "hardware 'h10': did you mean h100"),
        ({"hardware": "0 x h100"}, "at least one device"),
        ({"hardware": "2 x cpu"}, "write cpu"),
        ({"goal": "win"}, "try: see the whole way"),
        ({"goal": "chat"}, "goal chat needs conversations"),
    ],
)
def test_bad_answers(data: Path, changed: dict[str, str], message: str) -> None:
    out = data.parent / "mine.yaml"
    with pytest.raises(BadInput, match=message):
        init(out, "--data", data, **changed)
    assert not out.exists()


def test_too_little_text(tmp_path: Path) -> None:
    write_texts(tmp_path / "data" / "ru.jsonl", RUSSIAN, 10_000)
    with pytest.raises(BadInput, match=r"bytes in ru are too little"):
        init(tmp_path / "ru.yaml", "--data", tmp_path / "data")
    with pytest.raises(BadInput, match="no such folder"):
        init(tmp_path / "ru.yaml", "--data", tmp_path / "none")


def test_without_a_terminal_missing_answers_are_named(data: Path) -> None:
    done = CliRunner().invoke(app, ["init", "--language", "ru", "--data", str(data)])
    assert "no terminal to ask at; give --base, --hardware, --goal as well" in str(done.exception)


def test_hardware_names() -> None:
    assert [find_hardware(name).name for name in DEVICES] == list(DEVICES)
    several = find_hardware("4x24:165")
    assert (several.devices, several.device.memory) == (4, 24e9)
