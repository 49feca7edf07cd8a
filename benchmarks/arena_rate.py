"""Rating a million votes among a hundred models with a thousand resamples, beside FastChat's code
on the same votes.

    python benchmarks/arena_rate.py [--votes 1000000] [--models 100] [--rounds 1000]
        [--peer .venv-bench/bin/python] [--json out.json]

The peer is fschat 0.2.36 (`elo_analysis.compute_elo`, and `compute_elo_mle_with_tie` where
scikit-learn solves Bradley-Terry). One resample of it takes seconds, so `--peer-rounds` of them
(2) are timed and their mean is multiplied by the rounds; the ratio is marked as such.
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

from langraft.arena.rate import leaderboard
from langraft.arena.votes import Ballots

PEER = """
import json, sys, time, types
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
rounds, seconds = int(sys.argv[2]), {}
for name, function in (("elo", compute_elo), ("bradley-terry", compute_elo_mle_with_tie)):
    times = []
    for _ in range(rounds):
        drawn = frame.sample(frac=1.0, replace=True)
        start = time.perf_counter(); function(drawn); times.append(time.perf_counter() - start)
    seconds[name] = sum(times) / rounds
whole = compute_elo(frame)
print(json.dumps({"seconds": seconds, "elo": {k: float(v) for k, v in whole.items()}}))
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


def main() -> None:
    """Print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--votes", type=int, default=1_000_000)
    parser.add_argument("--models", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--peer", type=Path, help="a Python with fschat, pandas, scikit-learn")
    parser.add_argument("--peer-rounds", type=int, default=2)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    votes = simulated(args.votes, args.models, 0)
    small = simulated(1000, args.models, 1)
    result: dict[str, dict[str, float]] = {}
    for system in ("elo", "bradley-terry", "davidson"):
        leaderboard(small, system, 16, 0)  # kernels compiled
        start = time.perf_counter()
        leaderboard(votes, system, args.rounds, 0)
        result[system] = {"seconds": time.perf_counter() - start}
    if args.peer:
        with tempfile.TemporaryDirectory() as folder:
            saved = Path(folder) / "votes.npz"
            np.savez(saved, a=votes.a, b=votes.b, outcome=votes.outcome, models=args.models)
            command = [
                str(args.peer),
                "-W",
                "ignore",
                "-c",
                PEER,
                str(saved),
                str(args.peer_rounds),
            ]
            said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        peer = json.loads(said.splitlines()[-1])
        for system, seconds in peer["seconds"].items():
            result[system]["peer_seconds_a_round"] = seconds
            result[system]["ratio"] = seconds * args.rounds / result[system]["seconds"]
        from langraft.arena.elo import elo

        ours = dict(zip(votes.models, elo(votes), strict=True))
        result["elo"]["largest_difference"] = max(
            math.fabs(ours[name] - rating) for name, rating in peer["elo"].items()
        )
    print(f"{args.votes:,} votes, {args.models} models, {args.rounds:,} resamples")
    for system, row in result.items():
        print(system.ljust(14), "  ".join(f"{key} {value:.4g}" for key, value in row.items()))
    if args.json:
        args.json.write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    sys.exit(main())
