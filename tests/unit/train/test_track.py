"""Trackers beside metrics.jsonl, read back with their own readers."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from langraft.core.errors import BadInput
from langraft.core.metrics import read_metrics
from langraft.train import track
from langraft.train.track import scalars, tracked_log


def test_nested_numbers_get_a_path_and_words_are_left_out() -> None:
    record = {"loss": 2, "bits": {"zh": 1.5, "en": {"a": 1.0}}, "skipped": "loss is nan"}
    assert scalars(record) == {"loss": 2.0, "bits/zh": 1.5, "bits/en/a": 1.0}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_has_every_number_and_what_was_done_again_once(tmp_path: Path) -> None:
    for first, last in ((1, 4), (3, 5)):  # killed after 4, gone on from 2
        log = tracked_log(tmp_path, "metrics.jsonl", "adapt", ["tensorboard"])
        log.rewind(first - 1)
        for step in range(first, last + 1):
            log.write(step, loss=1 / step + last, bits={"zh": float(step)})
        log.close()
    board = EventAccumulator(str(tmp_path / "tensorboard" / "adapt"))
    board.Reload()
    assert [(e.step, round(e.value, 5)) for e in board.Scalars("loss")] == [
        (1, 5.0),
        (2, 4.5),
        (3, 5.33333),
        (4, 5.25),
        (5, 5.2),
    ]
    assert [e.value for e in board.Scalars("bits/zh")] == [1, 2, 3, 4, 5]
    assert [r["step"] for r in read_metrics(tmp_path / "metrics.jsonl")] == [1, 2, 3, 4, 5]


def test_trackio_has_every_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    pytest.importorskip("trackio")
    run = tmp_path / "my-run"
    run.mkdir()
    log = tracked_log(run, "metrics.jsonl", "adapt", ["trackio"])
    log.rewind(0)
    log.write(1, loss=2.5, bits={"zh": 1.0})
    log.close()
    rows = sqlite3.connect(tmp_path / "trackio" / "my-run.db").execute(
        "select run_name, step, metrics from metrics"
    )
    assert [(name, step, bytes(found)) for name, step, found in rows] == [
        ("adapt", 1, b'{"loss":2.5,"bits/zh":1.0}')
    ]


def test_a_tracker_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(track.PACKAGE, "trackio", "no_such_package")
    with pytest.raises(BadInput, match=r"hardware.track: trackio is not installed: pip install"):
        tracked_log(tmp_path, "metrics.jsonl", "adapt", ["trackio"])
