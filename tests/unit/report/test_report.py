from __future__ import annotations

import copy
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from sample_run import RESULTS, build_run

from langraft.core.errors import BadInput
from langraft.report import scores, write_report
from langraft.report.curves import curves
from langraft.report.run import read_run

VOID = {"meta", "br", "hr", "img", "input", "link", "i/"}


class Tree(HTMLParser):
    """Collects the page's elements and checks that every one is closed where it should be."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.text += data


def page_of(folder: Path) -> tuple[str, Tree]:
    page = write_report(folder).read_text(encoding="utf-8")
    return page, Tree(page)


def test_the_numbers_of_every_stage_are_on_the_page(tmp_path: Path) -> None:
    text = page_of(build_run(tmp_path / "quickstart-zh"))[1].text
    assert "Teaching smollm2-135m Chinese" in text
    assert "1,600 pieces joined a vocabulary of 49,152; 81,920 tokens were trained on" in text
    for bits in ("1.941", "2.272", "1.830", "1.790", "1.187", "1.189", "1.203", "1.221"):
        assert bits in text
    assert "\N{MINUS SIGN}5.7\N{NARROW NO-BREAK SPACE}%" in text  # 1.8304 / 1.9412 - 1
    assert "+1.3\N{NARROW NO-BREAK SPACE}%" in text  # 1.2031 / 1.1873 - 1
    assert "2.07\N{MULTIPLICATION SIGN} fewer" in text  # 1.4893 / 0.7212
    assert "trained on 3,492" in text and "dropped: too-short 211" in text and "malformed 3" in text
    assert "old text is encoded as before holds, 10,000 checked" in text
    assert "text round-trips does not hold, 4,211 checked" in text
    assert (
        "full: 61,440 tokens at 269 tokens/s, loss 5.03 to 4.27; Chinese 75.0%, English 25.0%"
        in text
    )
    assert "langraft chat runs/quickstart-zh/pretrain-replay/model" in text
    assert "将五花肉切成小块" in text and "AMD EPYC 7B13" in text and "cd" * 32 in text


def test_commands_are_shown_only_where_they_work(tmp_path: Path) -> None:
    folder = build_run(tmp_path / "run")
    again, go_on = "do it all again in another folder", "go on where this run stopped"
    assert (
        again not in page_of(folder)[1].text
    )  # the recipe's paths lead nowhere from the run folder
    recipe = folder / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("[data/", "[/data/"))
    assert again in page_of(folder)[1].text
    shutil.rmtree(folder / "eval")
    assert go_on in page_of(folder)[1].text


def test_the_twin_has_its_own_line(tmp_path: Path) -> None:
    folder = build_run(tmp_path / "run")
    assert "trained alike" not in str(curves(read_run(folder))[0].legend)
    with (folder / "metrics.jsonl").open("a") as stream:
        for stage, tokens, bits in (("twin-rows", 20480, 1.9), ("twin-replay", 61440, 1.79)):
            record = {"stage": stage, "step": 9, "tokens": tokens, "bits": {"zh": bits, "en": 1.22}}
            stream.write(json.dumps(record) + "\n")
    chinese = curves(read_run(folder))[0]
    assert ("twin", "trained alike, not extended") in chinese.legend
    for tip in ("extended: 1.941 at 0", "extended: 1.900 at 20.5k", "extended: 1.790 at 81.9k"):
        assert tip in str(chinese.svg)


def test_relative_targets_are_written_as_percent(tmp_path: Path) -> None:
    results = copy.deepcopy(RESULTS)
    results["eval"]["targets"] = [
        {"name": "change", "value": -0.0571, "limit": -0.05, "met": True, "percent": True}
    ]
    text = page_of(build_run(tmp_path / "run", results))[1].text.replace("\u202f", " ")
    assert "change: \u22125.7 % met, asked \u22125.0 %" in text


def test_targets_say_met_or_missed(tmp_path: Path) -> None:
    results = copy.deepcopy(RESULTS)
    results["eval"]["targets"][1]["met"] = False
    page, tree = page_of(build_run(tmp_path / "run", results))
    assert "tokens per Chinese character, times fewer: 2.065 met, asked at least 1.8" in tree.text
    assert "Chinese bits per byte: -0.0571 missed, asked at most -0.05" in tree.text
    assert (
        page.count('<li class="missed"><span class="badge">✗') == 2
    )  # this target and the failed proof


def test_what_a_model_wrote_is_escaped(tmp_path: Path) -> None:
    results = copy.deepcopy(RESULTS)
    attack = "<script>alert(1)</script><img src=http://evil.example/x onerror=alert(2)>\"'&"
    results["eval"]["samples"].append({"prompt": attack, "base": attack, "adapted": attack})
    results["corpus"]["sources"]["zh"]["dropped"]['"><script>x</script>'] = 9
    results["tokenizer"]["proofs"][0]["name"] = "<script>"
    results["eval"]["targets"][0]["name"] = "</style><script>"
    _, tree = page_of(build_run(tmp_path / "run", results))
    assert not [
        tag for tag, _ in tree.elements if tag in {"script", "img", "iframe", "link", "object"}
    ]
    assert tree.text.count(attack) == 3
    assert '"><script>x</script> 9' in tree.text


def test_nothing_is_loaded_from_anywhere(tmp_path: Path) -> None:
    page, tree = page_of(build_run(tmp_path / "run"))
    for tag, attributes in tree.elements:
        assert not {"src", "href", "srcset", "data", "action"} & set(attributes), (tag, attributes)
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
    assert not re.search(r"url\(|@import|https?://", page)
    assert "default-src 'none'" in page
    assert len(page) < 200_000


def test_the_page_is_well_formed(tmp_path: Path) -> None:
    page, tree = page_of(build_run(tmp_path / "run"))
    assert tree.open == []
    assert page.startswith("<!doctype html>")
    assert sum(tag == "svg" for tag, _ in tree.elements) == 6
    assert "nan" not in page.lower().replace("provenance", "")


def test_the_same_folder_gives_the_same_bytes(tmp_path: Path) -> None:
    folder = build_run(tmp_path / "run")
    first = write_report(folder).read_bytes()
    assert write_report(folder).read_bytes() == first
    assert sorted(path.name for path in folder.iterdir() if path.is_file()) == [
        "metrics.jsonl",
        "recipe.yaml",
        "report.html",
    ]


STAGES = list(RESULTS)


@pytest.mark.parametrize("reached", range(len(STAGES)))
def test_a_run_that_stopped_early_shows_what_there_is(tmp_path: Path, reached: int) -> None:
    done = {stage: RESULTS[stage] for stage in STAGES[:reached]}
    _, tree = page_of(build_run(tmp_path / "run", done))
    assert tree.open == []
    assert f"has not reached its end: {', '.join(STAGES[reached:])} still to do" in tree.text
    assert "langraft chat" not in tree.text
    assert ("old text is encoded as before" in tree.text) == (reached >= 2)
    assert ("2.272" in tree.text) == (reached >= 3)


def test_stages_stand_in_the_order_of_the_recipe(tmp_path: Path) -> None:
    assert list(read_run(build_run(tmp_path / "run")).manifests) == STAGES


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="not a run folder"):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_a_recipe_that_is_not_yaml_is_named(tmp_path: Path) -> None:
    folder = build_run(tmp_path / "run")
    (folder / "recipe.yaml").write_text("name: [")
    with pytest.raises(BadInput, match=r"recipe\.yaml: not a YAML file"):
        write_report(folder)


def test_stages_without_a_recipe_are_enough(tmp_path: Path) -> None:
    folder = build_run(tmp_path / "run")
    (folder / "recipe.yaml").unlink()
    (folder / "metrics.jsonl").unlink()
    shutil.rmtree(folder / "eval")
    assert "49,152" in page_of(folder)[1].text


def test_tokens_add_up_over_the_stages(tmp_path: Path) -> None:
    run = read_run(build_run(tmp_path / "run"))
    chinese, english = curves(run)
    assert chinese.title == "Chinese: bits per byte"
    for tip in ("2.272 at 0", "2.131 at 20.5k", "1.952 at 41k", "1.830 at 81.9k"):
        assert tip in str(chinese.svg)
    assert "untouched base: 1.941" in str(chinese.svg)
    assert "1.223" in str(english.svg)  # 1.1873 * 1.03, the forgetting limit


@pytest.mark.parametrize(
    ("rise", "start", "width", "breached"),
    [
        (0.0, 33.33, 0.0, False),
        (0.03, 33.33, 33.33, False),
        (0.031, 33.33, 34.44, True),
        (-0.5, 0.0, 33.33, False),
        (9.0, 33.33, 66.67, True),
    ],
)
def test_the_forgetting_meter(rise: float, start: float, width: float, breached: bool) -> None:
    meter = scores.forgetting_meter(rise, 0.03)
    assert (meter.start, meter.width, meter.breached) == (
        pytest.approx(start, abs=0.01),
        pytest.approx(width, abs=0.01),
        breached,
    )


def test_a_breach_is_shown_as_one(tmp_path: Path) -> None:
    results = copy.deepcopy(RESULTS)
    results["eval"]["bits"]["adapted"]["en"] = 1.30
    text = page_of(build_run(tmp_path / "run", results))[1].text
    assert "+9.5\N{NARROW NO-BREAK SPACE}%, over the limit of +3.0" in text


def test_a_broken_manifest_is_named(tmp_path: Path) -> None:
    folder = build_run(tmp_path / "run")
    (folder / "graft" / "manifest.json").write_text(json.dumps({})[:-1])
    with pytest.raises(BadInput, match=r"graft/manifest\.json: not valid JSON"):
        write_report(folder)


def test_torch_is_never_imported() -> None:
    code = "import langraft.report, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
