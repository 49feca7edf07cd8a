"""The plan beside published numbers: `python benchmarks/plan_published.py [--json FILE]`."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

from langraft.plan.published import CHECKS


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    found = [check() for check in CHECKS]
    print("| published | plan | published number | ratio | why |")
    print("|---|---|---|---|---|")
    for one in found:
        numbers = f"{one.ours:,.2f} {one.unit} | {one.theirs:,.2f} | {one.ratio:.2f}"
        print(f"| {one.run} | {numbers} | {one.why} |")
    if chosen.json:
        rows = [dataclasses.asdict(one) | {"ratio": one.ratio} for one in found]
        chosen.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
