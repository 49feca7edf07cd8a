"""The head of the page, the waterfall of the corpus, the curves of the vocabulary."""

from __future__ import annotations

import copy
from pathlib import Path

from sample_run import RESULTS, build_run

from langraft.report import write_report
from langraft.report.account import verdict, waterfall
from langraft.report.run import read_run


def steps_of(*left: int) -> list[dict[str, object]]:
    names = ("read", "rules", "exact", "holdout")
    return [
        {
            "step": name,
            "documents": count,
            "bytes": 10 * count,
            "dropped": {"too_short": before - count} if before > count else {},
            "changed": {},
        }
        for name, count, before in zip(names, left, (left[0], *left), strict=False)
    ]


def test_the_verdict_counts_the_targets(tmp_path: Path) -> None:
    results = copy.deepcopy(RESULTS)
    run = read_run(build_run(tmp_path / "all", results))
    assert verdict(run) == "Every target was met."
    results["eval"]["targets"][1]["met"] = False
    missed = build_run(tmp_path / "one", results)
    assert verdict(read_run(missed)) == "1 of 3 targets missed: Chinese bits per byte."
    assert '<p class="verdict bad">1 of 3' in write_report(missed).read_text(encoding="utf-8")
    del results["eval"]
    assert verdict(read_run(build_run(tmp_path / "early", results))) == ""


def test_the_waterfall_adds_up_the_sources(tmp_path: Path) -> None:
    results = copy.deepcopy(RESULTS)
    sources = results["corpus"]["sources"]
    sources["zh"]["steps"], sources["en"]["steps"] = steps_of(100, 80, 79, 79), steps_of(50, 50, 50)
    run = build_run(tmp_path / "run", results)
    found = waterfall(read_run(run))
    assert [(s.name, s.documents, s.lost) for s in found] == [
        ("read", 150, 0),
        ("rules", 130, 20),
        ("exact", 129, 1),
    ]
    assert found[1].reasons == "too short 20" and found[1].share == 86.67
    page = write_report(run).read_text(encoding="utf-8")
    assert "dropped: too short 20" in page and "130 documents, 1.3 kB, 20 dropped" in page
    assert waterfall(read_run(build_run(tmp_path / "old"))) == []  # older manifests say no steps


def test_the_vocabulary_curve_of_a_sweep(tmp_path: Path) -> None:
    results = copy.deepcopy(RESULTS)
    rates = {0: 1.5, 1000: 0.9, 2000: 0.8}
    results["tokenizer"]["sweep"] = {
        "size": 2000,
        "reason": "",
        "rows": [
            {
                "size": n,
                "new_rate": r,
                "old_rate": 0.2,
                "rarest": n / 10,
                "flops_saved": 1 - r / 1.5,
            }
            for n, r in rates.items()
        ],
    }
    page = write_report(build_run(tmp_path / "run", results)).read_text(encoding="utf-8")
    assert "How many pieces are worth adding" in page
    assert "new language: 0.800 at 2k" in page


def test_the_environment_is_named(tmp_path: Path) -> None:
    page = write_report(build_run(tmp_path / "run")).read_text(encoding="utf-8")
    part = page[page.index("<h2>Environment</h2>") :]
    assert "AMD EPYC 7B13, 2 cores" in part and "2.13.0+cpu" in part.split("</section>")[0]
