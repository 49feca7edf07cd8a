"""The verb that says what a recipe will cost before it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from langraft.cli.options import Json, RecipePath, Set, answer
from langraft.core.errors import BadInput
from langraft.core.messages import console, say, table, warn
from langraft.plan.scale import DEVICE_HOURS_BETWEEN_FAILURES

app = typer.Typer()
GIB = 2.0**30
CHECKPOINTINGS = ("none", "selective", "full")


@app.command("plan")
def plan_command(
    recipe: RecipePath,
    device: Annotated[str, typer.Option(help="a100-80g, h100, ... or MEMORY_GB:TFLOPS")] = "h100",
    devices: Annotated[int, typer.Option(help="how many")] = 1,
    price: Annotated[float | None, typer.Option(help="of one device for an hour")] = None,
    per_node: Annotated[int, typer.Option(help="devices that share a fast link")] = 8,
    inside: Annotated[str, typer.Option(help="the link inside a node")] = "nvlink4",
    between: Annotated[str, typer.Option(help="the link between nodes")] = "ib-ndr",
    stragglers: Annotated[
        float, typer.Option(help="spread of a device's step time, as a share of it")
    ] = 0.01,
    failures: Annotated[
        float, typer.Option(help="device-hours between failures")
    ] = DEVICE_HOURS_BETWEEN_FAILURES,
    save: Annotated[float, typer.Option(help="seconds that a checkpoint stops training")] = 20.0,
    restart: Annotated[float, typer.Option(help="seconds from a failure to the next step")] = 300.0,
    mean_document: Annotated[float, typer.Option(help="tokens of a usual document")] = 1_000.0,
    sft_tokens: Annotated[
        int, typer.Option(help="tokens of the conversations of sft")
    ] = 50_000_000,
    page: Annotated[Path | None, typer.Option(help="write a page with curves")] = None,
    set_: Set = None,
    json_: Json = False,
) -> None:
    """What each stage of a recipe needs and costs: memory, hours, money, disk.

    Nothing is downloaded or run. Where a stage does not fit the device, the nearest setting that
    does is named.

    Example: `langraft plan recipes/colossal-llama-2-7b.yaml --device a800-80g --devices 64 --price
    1.04`
    """
    from langraft.plan import plan_recipe
    from langraft.plan.devices import find_device, find_link
    from langraft.plan.scale import Cluster
    from langraft.plan.stages import Machine
    from langraft.recipe import load_recipe

    _see_that_they_can_be(price, sft_tokens, mean_document)
    links = find_link(inside, "--inside"), find_link(between, "--between")
    cluster = Cluster(devices, per_node, *links, stragglers, failures, save, restart)
    machine = Machine(find_device(device), cluster, price)
    found = plan_recipe(
        load_recipe(recipe, set_ or []),
        recipe.resolve().parent,
        machine,
        mean_document,
        sft_tokens,
    )
    _show(found)
    if page is not None:
        from langraft.report.plan import write_plan

        write_plan(found, COLUMNS, rows(found), page)
        say(f"page: {page}")
    answer(found, json_)


def _see_that_they_can_be(price: float | None, sft_tokens: int, mean_document: float) -> None:
    if price is not None and price <= 0:
        raise BadInput(f"--price {price:g}: a device-hour costs more than nothing")
    if sft_tokens < 1:
        raise BadInput(f"--sft-tokens {sft_tokens}: conversations have at least one token")
    if mean_document <= 0:
        raise BadInput(f"--mean-document {mean_document:g}: a document has at least one token")


COLUMNS = ("stage", "tokens", "learns", "GiB a device", "FLOP", "time", "money", "sightings")


def rows(found: dict[str, Any]) -> list[tuple[str, ...]]:
    """The table of the stages, as text."""
    return _before(found["graft"]) + [
        (
            stage["name"],
            count(stage["tokens"]),
            count(stage["learning"]),
            f"{stage['memory']['total'] / GIB:.1f}" + ("" if stage["fits"] else " (too much)"),
            f"{stage['flops']:.2g}",
            time_span(stage["hours"]),
            span(stage["money"]) if stage["money"] else "",
            f"{stage['sightings_per_new_row']:,.0f} times"
            if stage["sightings_per_new_row"]
            else "",
        )
        for stage in found["stages"]
    ]


def _before(graft: dict[str, Any] | None) -> list[tuple[str, ...]]:
    """What is learnt before training begins."""
    if graft is None:
        return []
    hours = time_span(graft["hours"])
    return [("graft", count(graft["tokens"]), "rows", "", f"{graft['flops']:.2g}", hours, "", "")]


def count(value: float) -> str:
    """A count as people write it."""
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.0f}"


def span(measure: dict[str, float]) -> str:
    """The usual value and its range: `13 (10 to 17)`."""
    usual, good, poor = (measure[part] for part in ("usual", "good", "poor"))
    return f"{usual:,.3g} ({good:,.3g} to {poor:,.3g})"


def time_span(hours: dict[str, float]) -> str:
    """Hours in the unit that people would use."""
    units = ((48.0, 24.0, "days"), (1.5, 1.0, "h"), (1.5 / 60, 1 / 60, "min"), (0, 1 / 3600, "s"))
    unit, name = next((u, n) for least, u, n in units if hours["usual"] >= least)
    return f"{span({part: value / unit for part, value in hours.items()})} {name}"


def held(found: dict[str, Any]) -> list[tuple[str, ...]]:
    """The models of every stage that learns from feedback, and whether they fit together."""
    lines: list[tuple[str, ...]] = []
    for stage in found["feedback"]:
        for one in stage["models"]:
            sizes = (f"{one['device'] / GIB:.1f}", f"{one['host'] / GIB:.1f}")
            lines.append((stage["name"], one["model"], *sizes))
        verdict = "together: fits" if stage["fits"] else "together: does not fit"
        sizes = (f"{stage['total'] / GIB:.1f}", f"{stage['host'] / found['devices'] / GIB:.1f}")
        lines.append((stage["name"], verdict, *sizes))
    return lines


def _show(found: dict[str, Any]) -> None:
    parameters = found["parameters"]
    say(
        f"[bold]{found['recipe']}[/bold] on {found['devices']:,} x {found['device']['title']}: "
        f"{found['base']}, {count(parameters['base'])} parameters, with "
        f"{parameters['added_rows']:,} new rows {count(parameters['grown'])}"
    )
    if parameters["rows_assumed"]:
        warn(
            f"tokenizer.size is auto: {parameters['added_rows']:,} pieces are assumed; `langraft "
            "tokenizer sweep` measures how many are worth it"
        )
    if found["left_out"]:
        left_out = ", ".join(found["left_out"])
        warn(f"no hours for {left_out}: how long answers get is not known")
    console.print(table("stages", COLUMNS, rows(found)))
    parts = ("weights", "gradients", "moments", "activations", "logits", "margin", "total")
    lines = [
        (stage["name"], *(f"{stage['memory'][part] / GIB:.1f}" for part in parts))
        for stage in found["stages"]
    ]
    console.print(table("GiB on one device at the fullest moment", ("stage", *parts), lines))
    console.print(
        table(
            f"GiB on one device, {found['memory_of']}, by recomputation",
            ("devices", "weights", *CHECKPOINTINGS),
            grid_rows(found["memory_grid"]),
        )
    )
    if found["devices"] > 1:
        _tell_scale(found)
    for stage in found["stages"]:
        _verdict(stage, found)
    if found["feedback"]:
        columns = ("stage", "model", "GiB on one device", "GiB in the host for it")
        console.print(table("models of the stages that learn from feedback", columns, held(found)))
    money = f", {span(found['money'])} in money" if found["money"] else ""
    disk = found["disk"] / GIB
    say(f"whole run: {time_span(found['hours'])}{money}; {disk:,.1f} GiB of disk")
    if not found["money"]:
        say("[dim]--price gives money: what a device costs for an hour[/dim]")


def grid_rows(grid: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """The memory of every way, a line for each number of devices and sharding."""
    lines: dict[tuple[int, int], list[str]] = {}
    for way in grid:
        text = f"{way['total'] / GIB:.1f}" + ("" if way["fits"] else " (too much)")
        lines.setdefault((way["devices"], way["shards"]), []).append(text)
    return [
        (f"{devices:,}", "whole" if shards == 1 else f"over {shards:,}", *cells)
        for (devices, shards), cells in lines.items()
        if shards > 1 or devices == 1 or cells != lines[1, 1]  # whole copies are mostly alike
    ]


def _tell_scale(found: dict[str, Any]) -> None:
    """What many devices lose, and how often to save."""
    worst = min((stage["efficiency"] for stage in found["stages"]), key=lambda lost: lost["all"])
    say(
        f"of {found['devices']:,} devices' speed {worst['all']:.1%} is left: messages leave "
        f"{worst['overlapped']:.1%}, waiting for the slowest {worst['together']:.1%}, failures and "
        f"checkpoints {worst['running']:.1%}; save every {worst['interval'] / 60:.0f} minutes"
    )


def _verdict(stage: dict[str, Any], found: dict[str, Any]) -> None:
    has = stage["memory"]["device"] / GIB
    if stage["fits"]:
        return
    needs = stage["memory"]["total"] / GIB
    text = f"{stage['name']}: needs {needs:,.1f} GiB a device, which has {has:,.1f}. "
    near = stage["nearest"]
    if near:
        text += f"Fits: {near['setting']} ({near['bytes'] / GIB:,.1f} GiB)"
    elif stage["fewest_devices"]:
        text += f"Nothing fits {found['devices']}; {stage['fewest_devices']} devices that share "
        text += "the weights (and checkpointing full) would do"
    else:
        text += "No number of these devices is enough; take larger ones, or train: lora"
    warn(text)
