"""The curves: bits per byte against tokens trained on, and what the optimisers saw."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langraft.report.charts import Chart, Guide, Line, Mark, Point, line_chart, smooth, thin
from langraft.report.events import events
from langraft.report.run import Run, finite
from langraft.report.scores import (
    MODELS,
    all_bits,
    forgetting_limit,
    languages,
    mean,
    new_language,
    sources_of,
)
from langraft.report.words import language, percent

MOST_MARKS = 8  # more would cover one another; the table has them all


def curves(run: Run) -> list[Chart]:
    """Bits per byte of every language against tokens trained on, the new language first."""
    offsets = _offsets(run)
    codes = list(dict.fromkeys(languages(run).values()))
    found = [_bits_chart(run, code, offsets) for code in codes]
    return [chart for chart in found if chart is not None]


def pareto(run: Run) -> list[Chart]:
    """What every evaluation gained in the new language against what it cost in the old ones."""
    points = gains(run)
    if len(points) < 2:
        return []
    limit = forgetting_limit(run)
    guides = [Guide("untouched base", 0.0, "base")]
    if limit is not None:
        guides.append(Guide(f"forgetting limit ({percent(limit)})", limit, "limit"))
    started = bool(all_bits(run).get("grafted"))
    lines = [Line("each evaluation", points, "old", dots=True, hollow_first=started)]
    note = "To the right the new language is better, upwards the old ones are worse."
    axis = f"gain in {language(str(new_language(run)))}, % fewer bits per byte"
    title = "Old languages: relative rise against the new one's gain"
    return [line_chart(title, axis, lines, guides, (), note)]


def gains(run: Run) -> list[Point]:
    """(gain in the new language in per cent, relative rise in the old ones), both against the
    untouched base: of the grafted model, then of every evaluation.
    """
    bits = all_bits(run)
    base = bits.get("base", {})
    new = sources_of(run, str(new_language(run)), base)
    old = [name for name in base if name not in new]
    before = mean(base, new), mean(base, old)
    evaluated = [found for _, found in _series(run, _offsets(run), "bits")]
    points = []
    for found in [bits.get("grafted", {}), *evaluated]:
        after = mean(found, new), mean(found, old)
        if None not in (*before, *after):
            gain, rise = (a / b - 1 for a, b in zip(after, before, strict=True))  # type: ignore[operator]
            points.append((-100 * gain, rise))
    return points


def losses(run: Run) -> list[Chart]:
    """What the optimisers saw: the training loss against tokens, the grafting's own losses against
    steps.
    """
    found = [
        _graft_chart(run, "input rows", "Input rows: distillation error"),
        _graft_chart(run, "output rows", "Output rows: regression loss"),
        _loss_chart(run, _offsets(run)),
    ]
    return [chart for chart in found if chart is not None]


def _offsets(run: Run, prefix: str = "pretrain-") -> dict[str, float]:
    """Tokens trained on before each pretraining stage began, and under "" the tokens of the whole
    run.
    """
    offsets, total = {}, 0.0
    for stage in run.training_stages(prefix):
        offsets[stage] = total
        logged = [
            r["tokens"] for r in run.metrics if r["stage"] == stage and finite(r.get("tokens"))
        ]
        total += max([run.results(stage).get("tokens", 0), *logged])
    return offsets | {"": total}


def _series(run: Run, offsets: Mapping[str, float], key: str) -> list[tuple[float, Any]]:
    """(tokens since the first stage began, value) of every pretraining record that holds `key`."""
    found = [
        (offsets[r["stage"]] + r["tokens"], r[key])
        for r in run.metrics
        if r["stage"] in offsets and key in r and finite(r.get("tokens"))
    ]
    return sorted(found, key=lambda pair: pair[0])


def _marks(offsets: Mapping[str, float]) -> list[Mark]:
    stages = [(stage.removeprefix("pretrain-"), at) for stage, at in offsets.items() if stage]
    return [Mark(name, at) for name, at in stages] if len(stages) > 1 else []


def _event_marks(run: Run, offsets: Mapping[str, float]) -> list[Mark]:
    """Where the guard or the meter stepped in: the first of every run of like events."""
    at = {
        (r["stage"], r["step"]): offsets[r["stage"]] + r["tokens"]
        for r in run.metrics
        if r["stage"] in offsets and finite(r.get("tokens")) and "step" in r
    }
    marks: list[Mark] = []
    last: tuple[str, str] = ("", "")
    for event in events(run):
        place = at.get((f"pretrain-{event.stage}", event.step))
        if place is not None and (event.stage, event.what) != last:
            marks.append(Mark(event.short, place))
        last = event.stage, event.what
    return marks[:MOST_MARKS]


def _bits_chart(run: Run, code: str, offsets: Mapping[str, float]) -> Chart | None:
    bits, evaluated = all_bits(run), _series(run, offsets, "bits")
    sources = sources_of(run, code, bits.get("base", {}))
    sources = [name for name in sources if all(name in found for _, found in evaluated)]
    base, start = mean(bits.get("base", {}), sources), mean(bits.get("grafted", {}), sources)
    points = [(at, value) for at, found in evaluated if (value := mean(found, sources)) is not None]
    if start is not None and not (points and points[0][0] == 0):
        points.insert(0, (0.0, start))
    end = mean(bits.get("adapted", {}), sources)
    if end is not None and points and points[-1][0] < offsets[""]:
        points.append((offsets[""], end))
    if base is None or len(points) < 2:
        return None
    is_new, guides = code == new_language(run), [Guide("untouched base", base, "base")]
    limit = forgetting_limit(run)
    if not is_new and limit is not None:
        guides.append(Guide(f"forgetting limit ({percent(limit)})", base * (1 + limit), "limit"))
    tone = "new" if is_new else "old"
    lines = [Line("this model", points, tone, dots=True, hollow_first=start is not None)]
    lines += _twin_line(run, sources, base)
    marks = [*_marks(offsets), *_event_marks(run, offsets)]
    title, note = f"{language(code)}: bits per byte", "The hollow dot is the zero-step score."
    return line_chart(title, "tokens trained on", lines, guides, marks, note)


def _twin_line(run: Run, sources: list[str], base: float) -> list[Line]:
    """The base trained alike without new pieces, from its untouched score on; empty without one."""
    evaluated = _series(run, _offsets(run, "twin-"), "bits")
    points = [(at, value) for at, found in evaluated if (value := mean(found, sources)) is not None]
    return [Line(MODELS["twin"], [(0.0, base), *points], "twin", dots=True)] if points else []


def _loss_chart(run: Run, offsets: Mapping[str, float]) -> Chart | None:
    points = [(at, value) for at, value in _series(run, offsets, "loss") if finite(value)]
    if len(points) < 2:
        return None
    lines = [
        Line("each step", thin(points), "faint"),
        Line("moving mean", thin(smooth(points)), "ink"),
    ]
    note = "Per token of the new tokenizer: shows that it learns, compares with no other tokenizer."
    marks = [*_marks(offsets), *_event_marks(run, offsets)]
    return line_chart("Training loss per token", "tokens trained on", lines, (), marks, note)


def _graft_chart(run: Run, fit: str, title: str) -> Chart | None:
    points: list[Point] = [
        (r["step"], r["loss"])
        for r in run.metrics
        if r["stage"] == f"graft, {fit}" and finite(r["loss"])
    ]
    if len(points) < 2:
        return None
    lines = [
        Line("each step", thin(points), "faint"),
        Line("moving mean", thin(smooth(points)), "graft"),
    ]
    return line_chart(title, "steps", lines)
