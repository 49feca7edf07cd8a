"""The table at the end of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langraft.core.manifest import read_manifest
from langraft.core.messages import console, say, table
from langraft.pipeline.run import Run


def show(this: Run) -> dict[str, Any]:
    """Print what the finished stages measured, and return the same for `--json`."""
    done = {name: found for name in this.stages() if (found := read_manifest(this.out / name))}
    seconds = [(name, f"{manifest['seconds']:.0f}") for name, manifest in done.items()]
    console.print(table("seconds", ("stage", "s"), seconds))
    for name, manifest in done.items():
        for line in tuned_lines(name, manifest["results"]):
            say(line)
    if "eval" not in done:
        return {"run": str(this.out), "stages": list(done)}
    results = done["eval"]["results"]
    columns = [name for name in ("base", "grafted", "adapted", "twin") if name in results["bits"]]
    rows = [
        (f"bits per byte, {source}", *(f"{results['bits'][name][source]:.3f}" for name in columns))
        for source in this.languages
    ]
    for source, ratio in results["tokens_per_character"].items():
        cells = {"base": ratio["base"], "twin": ratio["base"]}
        rows.append(
            (
                f"tokens per character, {source}",
                *(f"{cells.get(name, ratio['adapted']):.3f}" for name in columns),
            )
        )
    console.print(table("before and after", ("on held-out text", *columns), rows))
    for suite in results.get("suites", ()):
        say(suite_line(suite))
    for target in results["targets"]:
        mark = "[green]met[/green]   " if target["met"] else "[red]missed[/red]"
        form = "+.1%" if target.get("percent") else ".2f"
        say(f"{mark} {target['name']}: {target['value']:{form}} (target {target['limit']:{form}})")
    for sample in results["samples"]:
        say(f"\n[bold]{_plain(sample['prompt'])}[/bold]")
        say(f"  base     {_plain(sample['base'])}")
        say(f"  adapted  {_plain(sample['adapted'])}")
    say(f"\nmodel: {results['model']}\ntalk to it: langraft chat {results['model']}")
    return {"run": str(this.out), "stages": list(done), **results}


def tuned_lines(name: str, results: Mapping[str, Any]) -> list[str]:
    """What a stage of instruction tuning or alignment measured, in lines; none for other stages."""
    found: list[str] = []
    loss = results.get("held_out_loss")
    if loss is not None and loss["before"] is not None:
        found.append(f"{name}: held-out loss {loss['before']:.3f} to {loss['after']:.3f}")
    held = results.get("held_out") or {}
    if "length_accuracy" in held:
        found.append(
            f"{name}: {100 * held['accuracy']:.1f} % of {held['pairs']} held-out pairs ranked "
            f"right ('the longer is better': {100 * held['length_accuracy']:.1f} %)"
        )
    elif "likelier" in held:
        found.append(f"{name}: the chosen answer gains more in {100 * held['accuracy']:.1f} %")
    for key, unit in (("reward", ""), ("answer_tokens", ""), ("kl", " nats an answer")):
        if isinstance(value := results.get(key), Mapping):
            found.append(f"{name}: {key} {value['first']:.3f} to {value['last']:.3f}{unit}")
    for sample in results.get("samples", ()) if name != "eval" else ():
        found.append(f"\n[bold]{_plain(sample['prompt'])}[/bold]")
        found += [f"  {side}  {_plain(sample[side])}" for side in ("before", "after")]
    return found


def suite_line(suite: Mapping[str, Any]) -> str:
    """A benchmark in one line: both scores, the difference and how sure it is."""
    base, adapted, change = (suite[key] for key in ("base", "adapted", "difference"))
    return (
        f"{suite['title']}, {suite['card']['shots']}-shot, protocol {suite['card']['protocol']}: "
        f"{100 * base['value']:.1f} to {100 * adapted['value']:.1f} "
        f"({100 * change['value']:+.1f}, p = {change['p']:.2g}, {base['count']:,} questions)"
    )


def _plain(text: str) -> str:
    """One line, with nothing that rich would take for markup."""
    return text.replace("[", "\\[").replace("\n", " ")
