"""The verbs of the arena."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

from langraft.cli.options import Json, answer
from langraft.core.messages import console, say, table

app = typer.Typer(help="Battles between models, judged and rated.", no_args_is_help=True)

Models = Annotated[
    list[str],
    typer.Argument(help="NAME=MODEL: a folder, a .gguf file, or an API as http://host/v1#model"),
]
Votes = Annotated[Path, typer.Argument(help="votes as JSON lines, or an arena's database")]
System = Annotated[str, typer.Option(help="elo, bradley-terry or davidson")]
Rounds = Annotated[int, typer.Option(min=10, max=100_000, help="bootstrap resamples")]
KeyFile = Annotated[Path | None, typer.Option(help="a file with the API's key")]
MaxTokens = Annotated[int, typer.Option(min=1, help="longest answer")]
Temperature = Annotated[float, typer.Option(min=0, max=2)]


@app.command("serve")
def arena_serve(
    models: Models,
    votes: Annotated[Path, typer.Option(help="where battles are kept")] = Path("arena.sqlite"),
    questions: Annotated[Path | None, typer.Option(help="a question file [ours]")] = None,
    host: str = "127.0.0.1",
    port: int = 8100,
    temperature: Temperature = 0.7,
    max_tokens: MaxTokens = 512,
    key_file: KeyFile = None,
    seed: int = 0,
) -> None:
    """Open a page where people compare two nameless answers and vote.

    Example: `langraft arena serve base=smollm2-135m zh=runs/quickstart-zh/pretrain-adapt`
    """
    import uvicorn

    from langraft.arena.players import Settings
    from langraft.arena.questions import read_questions
    from langraft.arena.server import arena_app
    from langraft.arena.store import Store
    from langraft.core.errors import BadInput

    found = players(models, key_file)
    if len(found) < 2:
        raise BadInput("an arena needs at least two models")
    bank = read_questions(questions)
    store = Store(votes, list(found), seed)
    settings = Settings(temperature=temperature, max_tokens=max_tokens, seed=seed)
    say(f"battle at http://{host}:{port}   votes: {votes}   rate them: langraft arena rate {votes}")
    page = arena_app(store, found, bank, settings, seed)
    uvicorn.run(page, host=host, port=port, log_level="warning")
    store.close()


@app.command("judge")
def arena_judge(
    models: Models,
    judge: Annotated[str, typer.Option(help="the judging model, written as the models are")],
    out: Annotated[Path, typer.Option(help="folder for answers, judgements and votes")],
    questions: Annotated[Path | None, typer.Option(help="a question file [ours]")] = None,
    references: Annotated[Path | None, typer.Option(help="MT-bench reference answers")] = None,
    template: Annotated[
        str, typer.Option(help="verdict-en, verdict-zh, score-en or score-zh")
    ] = "verdict-zh",
    human: Annotated[Path | None, typer.Option(help="people's votes to agree with")] = None,
    workers: Annotated[int, typer.Option(min=1, help="requests under way at once")] = 4,
    limit: Annotated[int | None, typer.Option(min=1, help="only the first questions")] = None,
    temperature: Temperature = 0.7,
    max_tokens: MaxTokens = 512,
    price_in: Annotated[float, typer.Option(help="the judge's price a million tokens read")] = 0.0,
    price_out: Annotated[float, typer.Option(help="and a million written")] = 0.0,
    key_file: KeyFile = None,
    json_: Json = False,
) -> None:
    """Let a model judge: every pair on every question, in both orders; a tie where they disagree.

    The same command goes on where an earlier one stopped.

    Example: `langraft arena judge a=http://127.0.0.1:8000/v1 b=http://127.0.0.1:8001/v1
    --judge http://127.0.0.1:8002/v1 --questions question.jsonl --out battle`
    """
    from langraft.arena.judge import (
        Jury,
        answers_of,
        judge_battles,
        judge_scores,
        kappa,
        save_votes,
    )
    from langraft.arena.players import Settings
    from langraft.arena.questions import read_questions, read_references
    from langraft.arena.verdicts import template as form_of

    form = form_of(template)
    bank = read_questions(questions)[:limit]
    if references is not None:
        given = read_references(references)
        bank = [dataclasses.replace(q, references=given.get(q.id, q.references)) for q in bank]
    jury = Jury(next(iter(players([judge], key_file).values())), form, workers)
    settings = Settings(temperature=temperature, max_tokens=max_tokens)
    answers = {
        name: answers_of(player, bank, settings, out, workers)
        for name, player in players(models, key_file).items()
    }
    result: dict[str, Any] = {"questions": len(bank), "template": template}
    if form.kind == "score":
        grades = judge_scores(jury, bank, answers, out)
        result["scores"] = {name: mean_score(found.values()) for name, found in grades.items()}
        rows = [(n, s["mean"], s["graded"], s["invalid"]) for n, s in result["scores"].items()]
        console.print(table("grades", ("model", "mean", "graded", "invalid"), rows))
    else:
        battles = judge_battles(jury, bank, answers, out)
        count = save_votes(battles, bank, answers, jury.judge.name, out)
        swayed = sum(len(set(b["verdicts"])) > 1 for b in battles)
        result |= {"battles": len(battles), "valid": count, "orders_disagree": swayed}
        if human is not None:
            result["agreement"] = kappa(votes_of(out / "votes.jsonl"), votes_of(human))
        say(f"{count} votes in {out / 'votes.jsonl'}; the two orders disagreed on {swayed}")
    usage = jury.judge.usage
    cost = (usage.prompt * price_in + usage.completion * price_out) / 1e6
    result |= {"judge_tokens": dataclasses.asdict(usage), "cost": cost}
    say(f"the judge read {usage.prompt:,} tokens and wrote {usage.completion:,}: {cost:.4f}")
    answer(result, json_)


@app.command("rate")
def arena_rate(
    votes: Votes, system: System = "bradley-terry", rounds: Rounds = 1000, json_: Json = False
) -> None:
    """Ratings with 95 % intervals from votes.

    Example: `langraft arena rate arena.sqlite --system elo`
    """
    from langraft.arena.rate import rate

    found = rate(votes_of(votes), system, rounds)
    keys = ("rank", "rating", "interval", "battles", "won", "tied", "lost")
    cells = [
        (
            *(row["model"], row["rank"]),
            *(f"{row['rating']:.0f}", f"{row['low']:.0f} to {row['high']:.0f}"),
            *(row["battles"], row["wins"], row["ties"], row["losses"]),
        )
        for row in found["leaderboard"]
    ]
    console.print(table(f"{system}, {found['votes']:,} votes", ("model", *keys), cells))
    answer(found, json_)


@app.command("report")
def arena_report(
    votes: Votes,
    out: Annotated[Path, typer.Option(help="the page to write")] = Path("arena.html"),
    system: System = "bradley-terry",
    rounds: Rounds = 1000,
    json_: Json = False,
) -> None:
    """Write a page with ratings, who beats whom, categories and some of the battles.

    Example: `langraft arena report arena.sqlite --out arena.html`
    """
    from langraft.arena.rate import FEWEST_VOTES, rate
    from langraft.report.arena import write_arena_page

    found = votes_of(votes)
    ratings = rate(found, system, rounds)
    write_arena_page(ratings, [dataclasses.asdict(v) for v in found], FEWEST_VOTES, out)
    say(f"page: {out}")
    answer({"page": str(out), "votes": ratings["votes"]}, json_)


@app.command("export")
def arena_export(
    database: Path, out: Annotated[Path, typer.Option(help="the JSON-lines file")]
) -> None:
    """Write an arena's votes as JSON lines in FastChat's layout.

    Example: `langraft arena export arena.sqlite --out votes.jsonl`
    """
    from langraft.arena.votes import write_votes

    say(f"{write_votes(out, votes_of(database)):,} votes: {out}")


@app.command("import")
def arena_import(database: Path, votes: Path) -> None:
    """Add votes from a JSON-lines file to an arena's database; known ones are left out.

    Example: `langraft arena import arena.sqlite votes.jsonl`
    """
    from langraft.arena.store import Store
    from langraft.arena.votes import read_votes

    found = read_votes(votes)
    store = Store(database, [])
    say(f"{store.take_in(found):,} of {len(found):,} votes were new: {database}")
    store.close()


def votes_of(path: Path) -> list[Any]:
    """The votes of a JSON-lines file or of an arena's database, told apart by their first bytes."""
    from langraft.arena.store import Store
    from langraft.arena.votes import read_votes
    from langraft.core.errors import BadInput

    if not path.is_file():
        raise BadInput(f"{path}: no such file")
    with path.open("rb") as stream:
        database = stream.read(15) == b"SQLite format 3"
    if not database:
        return read_votes(path)
    store = Store(path, [])
    found = store.votes()
    store.close()
    if not found:
        raise BadInput(f"{path}: no battle has been decided yet")
    return found


def mean_score(grades: Any) -> dict[str, Any]:
    """The mean of the grades that are there, how many they are, and how many are not."""
    there = [grade for grade in grades if grade is not None]
    mean = sum(there) / len(there) if there else None
    return {"mean": mean, "graded": len(there), "invalid": len(list(grades)) - len(there)}


def players(specs: list[str], key_file: Path | None) -> dict[str, Any]:
    """The models that `specs` name, by name."""
    from langraft.arena.players import endpoint
    from langraft.core.errors import BadInput

    key = key_file.read_text().strip() if key_file else ""
    found: dict[str, Any] = {}
    for spec in specs:
        player = endpoint(spec, key)
        if player.name in found:
            raise BadInput(f"two models are called {player.name!r}; name them: NAME={spec}")
        found[player.name] = player
    return found
