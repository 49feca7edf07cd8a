"""The verbs of the arena."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from langraft.cli.options import Json, answer
from langraft.core.messages import console, say, table, warn

app = typer.Typer(help="Battles between models, judged and rated.", no_args_is_help=True)

Models = Annotated[
    list[str],
    typer.Argument(help="NAME=MODEL: a folder, a .gguf file, or an API as http://host/v1#model"),
]
Votes = Annotated[Path, typer.Argument(help="votes as JSON lines, or an arena's database")]
System = Annotated[str, typer.Option(help="elo, bradley-terry or davidson")]
Rounds = Annotated[int, typer.Option(min=10, max=100_000, help="bootstrap resamples")]
KeyFile = Annotated[Path | None, typer.Option(help="a file with the key of the models' APIs")]
Patience = Annotated[
    float, typer.Option(min=1, help="seconds without a word after which a model counts as stalled")
]
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
    patience: Patience = 60.0,
    per_minute: Annotated[
        int, typer.Option(min=1, help="battles and questions of one address in a minute")
    ] = 120,
    key_file: KeyFile = None,
    seed: int = 0,
) -> None:
    """Open a page where people compare two nameless answers and vote.

    Example: `langraft arena serve base=smollm2-135m zh=runs/quickstart-zh/pretrain-adapt`
    """
    from langraft.core.errors import BadInput

    if find_spec("fastapi") is None or find_spec("uvicorn") is None:
        raise BadInput("the page needs fastapi and uvicorn: pip install 'langraft[serve]'")
    from langraft.arena.players import Settings
    from langraft.arena.questions import read_questions
    from langraft.arena.server import arena_app
    from langraft.arena.store import Store
    from langraft.serve.http import bind, configured

    bank = read_questions(questions)
    with players(models, key_file, patience) as found, bind(host, port) as listener:
        if len(found) < 2:
            raise BadInput("an arena needs at least two models")
        with contextlib.closing(Store(votes, list(found), seed)) as store:
            if lost := store.void_unfinished():
                say(f"{lost} battles were cut off when the server stopped; they do not count")
            started(found)
            settings = Settings(temperature=temperature, max_tokens=max_tokens)
            page = arena_app(store, found, bank, settings, seed, per_minute)
            place = f"http://{host}:{listener.getsockname()[1]}"
            kept = escape(str(votes))
            say(f"battle at {place}   votes: {kept}   rate them: langraft arena rate {kept}")
            configured(page).run(sockets=[listener])


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
    judge_tokens: Annotated[int, typer.Option(min=1, help="the judge's longest reply")] = 1024,
    patience: Patience = 60.0,
    price_in: Annotated[float, typer.Option(help="the judge's price a million tokens read")] = 0.0,
    price_out: Annotated[float, typer.Option(help="and a million written")] = 0.0,
    key_file: KeyFile = None,
    judge_key_file: Annotated[Path | None, typer.Option(help="the key of the judge's API")] = None,
    json_: Json = False,
) -> None:
    """Let a model judge: every pair on every question, in both orders; a tie where they disagree.

    The same command goes on where an earlier one stopped.

    Example: `langraft arena judge base=smollm2-135m zh=runs/quickstart-zh/pretrain-adapt
    --judge http://127.0.0.1:8002/v1 --questions question.jsonl --out battle`
    """
    from langraft.arena.judge import Jury, answers_of, spent
    from langraft.arena.players import Settings
    from langraft.arena.questions import read_questions, with_references
    from langraft.arena.verdicts import template as form_of
    from langraft.core.errors import BadInput

    form, bank = form_of(template), with_references(read_questions(questions), references)[:limit]
    people = votes_of(human) if human else None
    settings = Settings(temperature=temperature, max_tokens=max_tokens)
    answers = {}
    with players(models, key_file, patience) as found:
        if form.kind == "verdict" and len(found) < 2:
            raise BadInput("verdicts compare two models; for one, take --template score-zh")
        for name, player in found.items():
            answers[name] = answers_of(player, bank, settings, out, workers=workers)
            player.close()  # its memory is for the next one
    result: dict[str, Any] = {"questions": len(bank), "template": template}
    with players([judge], judge_key_file, patience) as found:
        (judging,) = found.values()
        jury = Jury(judging, form, workers, max_tokens=judge_tokens)
        result |= (graded if form.kind == "score" else fought)(jury, bank, answers, out)
    if people is not None and form.kind == "verdict":
        result["agreement"] = agreement(out, people)
    usage = spent(out, judging.name)
    cost = (usage.prompt * price_in + usage.completion * price_out) / 1e6
    result |= {"judge_tokens": dataclasses.asdict(usage), "cost": cost}
    priced = f": {cost:.4f}" if price_in or price_out else ""
    say(f"the judge read {usage.prompt:,} tokens and wrote {usage.completion:,}{priced}")
    answer(result, json_)


def fought(jury: Any, bank: Any, answers: Any, out: Path) -> dict[str, Any]:
    """Battles judged, told and written as votes."""
    from langraft.arena.judge import judge_battles, save_votes

    battles = judge_battles(jury, bank, answers, out)
    count = save_votes(battles, bank, answers, jury.judge.name, out)
    swayed = sum(len(set(battle["verdicts"])) > 1 for battle in battles)
    say(
        f"{count} of {len(battles)} battles decided: {out / 'votes.jsonl'}; "
        f"the two orders disagreed on {swayed}"
    )
    if 2 * count < len(battles):
        warn(
            f"{jury.judge.name} gave no verdict on {len(battles) - count} battles; a model that "
            "cannot follow the template is no judge (its replies are in judgements.jsonl)"
        )
    return {"battles": len(battles), "valid": count, "orders_disagree": swayed}


def graded(jury: Any, bank: Any, answers: Any, out: Path) -> dict[str, Any]:
    """Answers graded, told as a table."""
    from langraft.arena.judge import judge_scores

    scores = {
        name: mean_score(list(found.values()))
        for name, found in judge_scores(jury, bank, answers, out).items()
    }
    rows = [
        (escape(n), "" if s["mean"] is None else f"{s['mean']:.2f}", s["graded"], s["invalid"])
        for n, s in scores.items()
    ]
    console.print(table("grades from 1 to 10", ("model", "mean", "graded", "invalid"), rows))
    return {"scores": scores}


def agreement(out: Path, people: list[Any]) -> dict[str, float] | None:
    """How far the judge's votes in `out` agree with people's; None without common battles."""
    from langraft.arena.judge import VOTES, kappa

    judged = votes_of(out / VOTES) if (out / VOTES).stat().st_size else []
    found = kappa(judged, people)
    if found is None:
        warn("people and the judge decided no battle in common, so there is no agreement to tell")
    else:
        say(
            f"on {found['battles']} battles that people decided too, {found['agreement']:.0%} "
            f"of the verdicts are equal; kappa {found['kappa']:.2f}"
        )
    return found


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
            *(escape(row["model"]), row["rank"]),
            *(
                f"{row['rating']:.0f}{' ?' if row['open'] else ''}",
                f"{row['low']:.0f} to {row['high']:.0f}",
            ),
            *(row["battles"], row["wins"], row["ties"], row["losses"]),
        )
        for row in found["leaderboard"]
    ]
    console.print(table(f"{system}, {found['votes']:,} votes", ("model", *keys), cells))
    if any(row["open"] for row in found["leaderboard"]):
        say("? never won, or never lost, against the others: a bound, not an estimate")
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


def mean_score(grades: list[float | None]) -> dict[str, Any]:
    """The mean of the grades that are there, how many they are, and how many are not."""
    there = [grade for grade in grades if grade is not None]
    mean = sum(there) / len(there) if there else None
    return {"mean": mean, "graded": len(there), "invalid": len(grades) - len(there)}


@contextlib.contextmanager
def players(specs: list[str], key_file: Path | None, patience: float) -> Iterator[dict[str, Any]]:
    """The models that `specs` name, by name; what they hold is let go of at the end."""
    from langraft.arena.local import player as player_of
    from langraft.core.errors import BadInput

    if key_file is not None and not key_file.is_file():
        raise BadInput(f"{key_file}: no such file; it should hold the API's key")
    key = key_file.read_text().strip() if key_file else ""
    found: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:
        for spec in specs:
            one = player_of(spec, key, patience)
            stack.callback(one.close)
            if one.name in found:
                raise BadInput(f"two models are called {one.name!r}; name them: NAME={spec}")
            found[one.name] = one
        yield found


def started(found: dict[str, Any]) -> None:
    """Start the models of this machine, one after another: each may use all of it."""
    from langraft.arena.local import Local

    for one in found.values():
        if isinstance(one, Local):
            one.start()
