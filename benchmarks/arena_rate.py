"""Rating a million votes among a hundred models with a thousand resamples, beside FastChat's code
on the same votes.

    python benchmarks/arena_rate.py --peer .venv-bench/bin/python [--votes 1000000] [--models 100]
        [--rounds 1000] [--peer-rounds 2] [--json out.json]

The peer is fschat 0.2.36 (`elo_analysis.compute_elo`; `compute_elo_mle_with_tie`, where
scikit-learn solves Bradley-Terry). FastChat's main branch has since replaced the second by
L-BFGS-B on counted outcomes, which no release holds: `counted` is that method written anew on the
peer's scipy, with the drawing of its resamples (`drawn`), which is the same as ours. One resample
of the release takes seconds, so `--peer-rounds` of them are timed and their mean is multiplied by
the rounds; the ratio is of that product. A resample that takes longer than `--peer-limit` seconds
is given up: the ratio is then a lower bound. `processor` is seconds of all threads: its ratio holds
on a busy machine too, and leaves out that we use both cores.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from langraft.arena.elo import elo
from langraft.arena.rate import leaderboard, rate
from langraft.arena.votes import Ballots, read_votes

PEER = """
import json, signal, sys, time, types
for name in ("fastchat.model.model_registry", "fastchat.serve.monitor.basic_stats",
             "fastchat.serve.monitor.clean_battle_data"):
    empty = types.ModuleType(name)
    empty.get_model_info = empty.get_log_files = empty.clean_battle_data = None
    sys.modules[name] = empty
model = types.ModuleType("fastchat.model"); model.__path__ = []
sys.modules["fastchat.model"] = model
import numpy as np, pandas as pd
from fastchat.serve.monitor.elo_analysis import compute_elo, compute_elo_mle_with_tie
saved = np.load(sys.argv[1])
names = np.array([f"m{i}" for i in range(saved["models"])])
words = np.array(["model_b", "tie", "model_a"])
frame = pd.DataFrame({"model_a": names[saved["a"]], "model_b": names[saved["b"]],
                      "winner": words[saved["outcome"]]})
rounds, seconds, used = int(sys.argv[2]), {}, {}
class Late(Exception):
    pass
def late(*_):
    raise Late
signal.signal(signal.SIGALRM, late)
for name, function in (("elo", compute_elo), ("bradley-terry", compute_elo_mle_with_tie)):
    if name not in sys.argv[4:]:
        continue
    times = []
    for _ in range(rounds):
        drawn = frame.sample(frac=1.0, replace=True)
        start, cpu = time.perf_counter(), time.process_time()
        signal.alarm(int(sys.argv[3]))
        try:
            function(drawn)
        except Late:
            pass  # its time so far is a lower bound
        signal.alarm(0)
        times.append((time.perf_counter() - start, time.process_time() - cpu))
    seconds[name], used[name] = (sum(column) / rounds for column in zip(*times))
from scipy.optimize import minimize
from scipy.special import expit
def fit(a, b, half, weight):
    def loss(r):
        p = expit(r[a] - r[b])
        value = -(weight * (half * np.log(p) + (1 - half) * np.log(1 - p))).sum()
        pull = weight * (half - p)
        slope = np.bincount(b, pull, len(r)) - np.bincount(a, pull, len(r))
        return value, slope
    options = {"maxiter": 100, "gtol": 1e-6}
    return minimize(loss, np.zeros(len(names)), jac=True, method="L-BFGS-B", options=options).x
if "counted" in sys.argv[4:]:
    rows = np.stack([saved["a"], saved["b"], saved["outcome"]], 1)
    (a, b, outcome), counts = (lambda u, c: (u.T, c))(*np.unique(rows, axis=0, return_counts=True))
    share = counts / counts.sum()
    start, cpu = time.perf_counter(), time.process_time()
    draws = np.random.default_rng(0).multinomial(len(frame), share, size=5 * rounds)
    seconds["drawn"] = (time.perf_counter() - start) / len(draws)
    for draw in draws:
        fit(a, b, outcome / 2, draw / len(frame))
    seconds["counted"] = (time.perf_counter() - start) / len(draws)
    used["counted"] = (time.process_time() - cpu) / len(draws)
whole = compute_elo(frame) if "elo" in sys.argv[4:] else {}
elo = {model: float(rating) for model, rating in whole.items()}
print(json.dumps({"seconds": seconds, "processor": used, "elo": elo}))
"""


def simulated(votes: int, models: int, seed: int) -> Ballots:
    """Votes with a fifth of ties among models of normal strength."""
    rng = np.random.default_rng(seed)
    strength = rng.normal(0, 0.8, models)
    a = rng.integers(0, models, votes).astype(np.int32)
    b = ((a + rng.integers(1, models, votes)) % models).astype(np.int32)
    wins = rng.random(votes) < 1 / (1 + np.exp(strength[b] - strength[a]))
    outcome = np.where(rng.random(votes) < 0.2, 1, np.where(wins, 2, 0)).astype(np.int8)
    return Ballots(tuple(f"m{i}" for i in range(models)), a, b, outcome)


def ours(
    votes: Ballots, small: Ballots, systems: list[str], rounds: int
) -> dict[str, dict[str, float]]:
    """Seconds of every system, kernels compiled on the small votes first."""
    result: dict[str, dict[str, float]] = {}
    for system in systems:
        leaderboard(small, system, 16, 0)
        start, used = time.perf_counter(), time.process_time()
        leaderboard(votes, system, rounds, 0)
        result[system] = {
            "seconds": time.perf_counter() - start,
            "processor": time.process_time() - used,
        }
        print(system, f"{result[system]['seconds']:.2f} s", file=sys.stderr)
    return result


def from_a_file(votes: Ballots, rounds: int) -> float:
    """Seconds of what `langraft arena rate` does with a file of these votes, reading included."""
    words = ("model_b", "tie", "model_a")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "votes.jsonl"
        with path.open("w") as stream:
            for i in range(len(votes)):
                row = {"model_a": votes.models[votes.a[i]], "model_b": votes.models[votes.b[i]]}
                row |= {"winner": words[votes.outcome[i]], "judge": f"voter {i % 5000}"}
                row |= {"anony": True, "language": "Chinese", "tstamp": 1.6e9 + i}
                stream.write(json.dumps(row) + "\n")
        start = time.perf_counter()
        rate(read_votes(path), "bradley-terry", rounds)
        return time.perf_counter() - start


def compare(result: dict[str, dict[str, float]], votes: Ballots, args: argparse.Namespace) -> None:
    """Add the peer's seconds and the ratios."""
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder) / "votes.npz"
        np.savez(saved, a=votes.a, b=votes.b, outcome=votes.outcome, models=args.models)
        command = [str(args.peer), "-W", "ignore", "-c", PEER, str(saved)]
        command += [str(args.peer_rounds), str(args.peer_limit), *args.peers]
        run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if run.returncode:
        sys.exit(f"{args.peer} cannot run FastChat's code, see above (`make bench-setup`)")
    peer = json.loads(run.stdout.splitlines()[-1])
    if "drawn" in peer["seconds"]:
        result["bradley-terry"]["peer_seconds_a_round_drawn"] = peer["seconds"].pop("drawn")
    for name, seconds in peer["seconds"].items():
        system, key = ("bradley-terry", "_counted") if name == "counted" else (name, "")
        result[system][f"peer_seconds_a_round{key}"] = seconds
        result[system][f"ratio{key}"] = seconds * args.rounds / result[system]["seconds"]
        processor = peer["processor"][name] * args.rounds
        result[system][f"ratio_processor{key}"] = processor / result[system]["processor"]
    if peer["elo"]:
        own = dict(zip(votes.models, elo(votes), strict=True))
        result["elo"]["largest_difference"] = max(
            math.fabs(own[name] - rating) for name, rating in peer["elo"].items()
        )


def main() -> None:
    """Print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--votes", type=int, default=1_000_000)
    parser.add_argument("--models", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--peer", type=Path, help="a Python with fschat, pandas, scikit-learn")
    parser.add_argument("--peer-rounds", type=int, default=2)
    parser.add_argument("--peer-limit", type=int, default=40, help="seconds a resample")
    parser.add_argument("--systems", nargs="+", default=["elo", "bradley-terry", "davidson"])
    parser.add_argument("--peers", nargs="+", default=["elo", "bradley-terry", "counted"])
    parser.add_argument("--no-file", action="store_true", help="leave reading out")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    votes = simulated(args.votes, args.models, 0)
    result = ours(votes, simulated(1000, args.models, 1), args.systems, args.rounds)
    if not args.no_file:
        read = from_a_file(votes, args.rounds)
        result.setdefault("bradley-terry", {})["seconds_from_a_file"] = read
        print(f"from a file {read:.1f} s", file=sys.stderr)
    if args.peer:
        compare(result, votes, args)
    print(f"{args.votes:,} votes, {args.models} models, {args.rounds:,} resamples")
    for system, row in result.items():
        print(system.ljust(14), "  ".join(f"{key} {value:.4g}" for key, value in row.items()))
    if args.json:
        args.json.write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    sys.exit(main())
