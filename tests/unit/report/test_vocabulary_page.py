"""The pages of a sweep and of a comparison: what they say, and that nothing leaves them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from langraft.report.vocabulary import write_comparison, write_sweep


def _row(size: int, rate: float) -> dict[str, Any]:
    return {
        "size": size,
        "new_rate": rate,
        "old_rate": 0.25,
        "rarest": 40_000 / size if size else 0.0,
        "flops": 1e18 * rate,
        "flops_saved": 1 - rate,
    }


def test_a_sweep_names_its_recommendation(tmp_path: Path) -> None:
    rows = [_row(0, 1.0), _row(1000, 0.6), _row(2000, 0.5)]
    page = tmp_path / "sweep.html"
    found = {"rows": rows, "size": 2000, "reason": "2,000 pieces: <half> the tokens"}
    write_sweep(found, ("pieces", "rate"), [("base", "1.0"), ("1,000", "0.6")], page)
    html = page.read_text()
    assert "<h1>Add 2,000 pieces</h1>" in html
    assert "&lt;half&gt; the tokens" in html
    assert html.count("<svg") == 3
    assert "<td>1,000</td>" in html  # the first cell of a row
    assert not re.search(r"(src|href)=|https?://(?!www\.w3\.org)", html)
    write_sweep(found | {"size": 0}, ("pieces",), [("base",)], page)
    assert "<h1>Keep the base vocabulary</h1>" in page.read_text()


def test_a_comparison_draws_one_bar_a_tokenizer(tmp_path: Path) -> None:
    found = [
        {"size": 32_000, "tokens_per_character": 1.2},
        {"size": 55_296, "tokens_per_character": 0.6},
    ]
    rows = [("LLaMA-2", "32,000"), ("extended", "55,296")]
    page = tmp_path / "compare.html"
    write_comparison(("tokenizer", "vocabulary"), rows, found, page)
    html = page.read_text()
    assert re.findall(r'class="fill" style="width:([\d.]+)%', html) == ["100.0", "50.0"]
    assert re.findall(r"<b>([\d.]+)</b>", html) == ["1.200", "0.600"]
    assert "LLaMA-2" in html
