"""THE optimiser step and the loop around it. Every stage that trains by gradient goes through
here.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from langraft.core.errors import RunFailed
from langraft.core.messages import bar, say, warn
from langraft.core.metrics import MetricsLog
from langraft.train.checkpoints import Checkpoints, drop_checkpoint
from langraft.train.loop import Alone, Carried, Loop, StepWork, Stop
from langraft.train.optim import Optimiser
from langraft.train.ranks import ALONE, Ranks, Watch, lost_peer

__all__ = ["Alone", "Carried", "Loop", "StepWork", "drop_checkpoint", "run_loop"]

RECENT = 10  # losses that the last loss is the mean of


def run_loop(
    loop: Loop,
    work: Callable[[int], StepWork],
    learner: Optimiser,
    folder: Path,
    log: MetricsLog,
    evaluate: Callable[[int, int], None] = lambda step, tokens: None,
    ranks: Ranks = ALONE,
    carried: Carried | None = None,
) -> dict[str, Any]:
    """Train for `loop.steps`, going on from the newest checkpoint in `folder` if there is one, with
    the same bytes as a result.

    Args:
        work: lays out the step at a position of the data; positions count up with the steps and
            jump ahead when the guard returns to a checkpoint.

    Returns:
        first and last loss per token (nats), steps, tokens and tokens per second of this process,
        and the guard's events.

    Raises:
        RunFailed: the loss or the gradient norm is not finite and no guard can help, or the disk is
            full; the last checkpoint stays.
        SystemExit: SIGTERM came; a checkpoint is written first, and the exit code is 0.
    """
    run = _Run(loop, work, learner, folder, log, evaluate, ranks, carried or Alone())
    with Watch(ranks, folder, loop.hang_seconds) as watch, Stop() as stop:
        try:
            found = run.go(watch, stop)
            run.checkpoints.close()
            return found
        except RuntimeError as error:
            if not lost_peer(error, ranks):
                raise
            time.sleep(1)  # so that a process that is being killed is seen as dead
            raise RunFailed(
                f"{loop.name}: rank {ranks.rank} lost another rank in step {run.at.step + 1}: "
                f"{watch.behind()}. Start the same command again: it goes on from the last "
                "checkpoint"
            ) from error
        finally:
            if ranks.world == 1:  # with others a write may wait for one that is no longer there
                run.checkpoints.close()


@dataclasses.dataclass
class _Progress:
    """Where the loop is; what a checkpoint keeps of it."""

    step: int = 0
    jumped: int = 0
    tokens: int = 0
    first_loss: float | None = None
    recent: list[float] = dataclasses.field(default_factory=list)
    events: list[dict[str, Any]] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class _Seen:
    """What one step's gradients look like, the same numbers on every rank."""

    tokens: int
    flops: float
    loss: float
    norm: Tensor
    grad_norm: float
    save: bool
    stop: bool
    by: Mapping[str, float]


class _Run:
    def __init__(
        self,
        loop: Loop,
        work: Callable[[int], StepWork],
        learner: Optimiser,
        folder: Path,
        log: MetricsLog,
        evaluate: Callable[[int, int], None],
        ranks: Ranks,
        carried: Carried,
    ) -> None:
        self.loop, self.work, self.learner, self.log = loop, work, learner, log
        self.evaluate, self.ranks, self.carried = evaluate, ranks, carried
        self.folder = folder
        self.guard = loop.guard
        self.checkpoints = Checkpoints(learner, folder, ranks, loop.keep)
        self.at = _Progress()
        self.returned = 0  # returns since the last step that was taken
        self.saved = self.busy = 0.0
        self.before = 0

    def go(self, watch: Watch, stop: Stop) -> dict[str, Any]:
        """The loop itself."""
        self._restore()
        if self.ranks.lead:
            self.log.rewind(self.at.step)
        if self.at.step:
            say(f"[cyan]going on[/cyan] at step {self.at.step} of {self.loop.steps}")
        self.before, self.saved = self.at.tokens, time.monotonic()
        with bar() as progress:
            task = progress.add_task(
                self.loop.name,
                total=self.loop.steps,
                completed=self.at.step,
                note="",
                visible=self.ranks.lead,
            )
            while self.at.step < self.loop.steps:
                begun = time.monotonic()
                seen = self._step(stop, begun)
                if seen is not None:
                    self._after(seen, stop)
                watch.beat(self.at.step)
                progress.update(
                    task, completed=self.at.step, total=self.loop.steps, note=self._note()
                )
        return self._results()

    def _step(self, stop: Stop, begun: float) -> _Seen | None:
        """Lay out, look at, and take or skip one step; None when the guard went back instead."""
        at, loop = self.at, self.loop
        torch.manual_seed(((loop.seed * 1_000_003 + at.step) * 65_537 + self.ranks.rank) % 2**63)
        share = loop.share(at.step)
        this = self.work(at.step + at.jumped)
        seen = self._gradients(this, stop)
        verdict, reason = "take", ""
        if self.guard is not None:
            verdict, reason = self.guard.judge(seen.loss, seen.grad_norm)
        elif not (math.isfinite(seen.loss) and math.isfinite(seen.grad_norm)):
            self._fail(seen, "lower lr, or look at the data of this step")
        if verdict == "return":
            self.learner.drop()
            self._go_back(reason, math.isfinite(seen.loss + seen.grad_norm))
            return None
        if verdict == "take":
            self.checkpoints.release()
            self.learner.update(share, loop.clip, seen.norm)
            self.returned = 0
        else:
            self.learner.drop()
        at.step += 1
        at.tokens += seen.tokens
        self.busy += time.monotonic() - begun
        self._record(this, seen, share, reason)
        return seen

    def _gradients(self, this: StepWork, stop: Stop) -> _Seen:
        """Sums of loss over micro-batches and ranks, divided once."""
        ranks, device = self.ranks, next(iter(self.learner.parameters.values())).device
        own = torch.tensor([this.count, this.tokens, this.flops], dtype=torch.float64)
        count, tokens, flops = ranks.total(own.to(device) if ranks.world > 1 else own)
        total: Tensor | float = 0.0
        for number, micro_batch in enumerate(this.micro_batches, 1):
            self.carried.prepare(number == len(this.micro_batches))
            loss = micro_batch() / count
            # sharded gradients are averaged over the ranks; a sum is wanted
            (loss * ranks.world if ranks.mesh is not None else loss).backward()
            total = total + loss.detach().double()
        norm = self.learner.norm()
        overdue = time.monotonic() - self.saved > self.loop.checkpoint_seconds
        flags = [float(ranks.lead and overdue), float(stop.asked)]
        numbers = torch.cat(
            [
                torch.as_tensor(total, dtype=torch.float64).reshape(1).to(norm.device),
                norm.detach().double().reshape(1) / ranks.world,
                torch.tensor(flags, dtype=torch.float64, device=norm.device),
                *([this.sums.reshape(-1).to(norm.device)] if this.sums is not None else []),
            ]
        )
        nats, grad_norm, save, stopping, *sums = ranks.total(numbers)
        names = (*this.parts, *this.measures) if sums else ()
        pairs = zip(names, sums[: len(names)], sums[len(names) :], strict=True)
        by = {name: total / seen for name, total, seen in pairs if seen}
        return _Seen(int(tokens), flops, nats, norm, grad_norm, save > 0, stopping > 0, by)

    def _record(self, this: StepWork, seen: _Seen, share: float, reason: str) -> None:
        """One line of the metrics, and the event of a step that was not taken."""
        at = self.at
        if reason:
            self._event(at.step, "skipped", reason)
        else:
            at.first_loss = seen.loss if at.first_loss is None else at.first_loss
            at.recent = [*at.recent, seen.loss][-RECENT:]
        speed = (at.tokens - self.before) / self.busy
        numbers: dict[str, float] = {
            "loss": seen.loss,
            "grad_norm": seen.grad_norm,
            "share": share * self.learner.factor,
            "tokens_per_second": speed,
            "seconds_left": (self.loop.steps - at.step) * seen.tokens / speed,
        }
        if self.loop.peak_flops and seen.flops:
            numbers["mfu"] = seen.flops / seen.tokens * speed / self.loop.peak_flops
        if torch.cuda.is_available():
            numbers["memory_gb"] = torch.cuda.max_memory_allocated() / 1e9
        values: dict[str, Any] = {k: round(v, 7) for k, v in numbers.items()}
        values |= {n: round(seen.by[n], 7) for n in this.measures if n in seen.by}
        if len(this.parts) > 1:
            values["loss_by"] = {n: round(seen.by[n], 5) for n in this.parts if n in seen.by}
        if reason:
            values["skipped"] = reason
        if self.ranks.lead:
            self.log.write(at.step, tokens=at.tokens, **values)

    def _after(self, seen: _Seen, stop: Stop) -> None:
        """Evaluate, replan and save where it is time."""
        at, boundary = self.at, self.at.step in self.loop.boundaries
        if at.step in self.loop.evaluate_at:
            self.evaluate(at.step, at.tokens)
        if boundary or at.step == self.loop.steps:
            self.loop = self.carried.replan(self.loop, at_boundary=True)
        good = self.guard is None or not self.guard.skipped
        more = at.step < self.loop.steps
        if more and ((boundary and good) or (seen.save and good) or seen.stop):
            self._save(stay=boundary and good)
        if seen.stop and more:
            self.checkpoints.finish()
            say(
                f"[cyan]stopped[/cyan] after step {at.step} of {self.loop.steps}; the same command "
                "goes on there"
            )
            raise SystemExit(0)

    def _save(self, *, stay: bool) -> None:
        """Write a checkpoint, unless a weight is not finite: then go back instead."""
        if self.guard is not None:
            device = next(iter(self.learner.parameters.values())).device
            bad = torch.tensor([float(not self.learner.finite())], device=device).double()
            if self.ranks.total(bad)[0]:
                self._go_back("a weight is not finite", finite=False)
                return
        state = {
            **dataclasses.asdict(self.at),
            "carried": dict(self.carried.state()),
            "guard": self.guard.state() if self.guard is not None else None,
        }
        self.checkpoints.save(state, stay=stay)
        self.saved = time.monotonic()

    def _restore(self, back: int = 0) -> bool:
        """Put everything back where the checkpoint is; False when there is none."""
        state = self.checkpoints.load(back)
        if state is None:
            return False
        names = [field.name for field in dataclasses.fields(_Progress)]
        self.at = _Progress(**{name: state[name] for name in names})
        self.carried.load(state["carried"])
        self.loop = self.carried.replan(self.loop, at_boundary=False)
        if self.guard is not None and state["guard"] is not None:
            self.guard.load(state["guard"], keep_returns=back > 0 or self.returned > 0)
        return True

    def _go_back(self, reason: str, finite: bool) -> None:
        """Return to the last good checkpoint and go on behind the data that was stumbled over.

        Where numbers are still not `finite` after a return, the checkpoint before it is taken.
        """
        guard, was = self.guard, self.at
        assert guard is not None
        self.checkpoints.finish()
        if guard.returns < 1:
            self._fail_with(f"{reason}, again and again behind the same checkpoint")
        guard.returns -= 1
        back = 0 if finite else self.returned
        self.returned += 1
        if not (self._restore(back) or self._restore(back - 1 if back else 0)):
            self._fail_with(f"{reason}, and there is no checkpoint to return to yet")
        here = self.at
        here.jumped = was.step + was.jumped + 1 - here.step
        here.events = was.events
        guard.skipped = 0
        if self.ranks.lead:
            self.log.rewind(here.step)
        self._event(here.step, "returned", f"from step {was.step + 1}: {reason}")

    def _event(self, step: int, kind: str, reason: str) -> None:
        event = {"step": step, "event": kind, "reason": reason}
        self.at.events = [*self.at.events, event]
        if self.ranks.lead:
            warn(f"{self.loop.name}: step {step} {kind}: {reason}")
            if kind == "returned":
                self.log.write(step, tokens=self.at.tokens, returned=reason)

    def _fail(self, seen: _Seen, advice: str) -> None:
        raise RunFailed(
            f"{self.loop.name}: loss {seen.loss} and gradient norm {seen.grad_norm} at step "
            f"{self.at.step + 1} are not finite; {advice}, then run the same command again"
        )

    def _fail_with(self, reason: str) -> None:
        raise RunFailed(
            f"{self.loop.name}: step {self.at.step + 1}: {reason}. Lower lr, or look at the data "
            "around this step, then run the same command again"
        )

    def _note(self) -> str:
        if not self.at.recent or not self.busy:
            return ""
        speed = (self.at.tokens - self.before) / self.busy
        return f"loss {self.at.recent[-1]:.3f}  {speed:,.0f} tokens/s"

    def _results(self) -> dict[str, Any]:
        at = self.at
        found: dict[str, Any] = {
            "steps": self.loop.steps,
            "tokens": at.tokens,
            "loss_first": None if at.first_loss is None else round(at.first_loss, 4),
            "loss_last": round(sum(at.recent) / len(at.recent), 4) if at.recent else None,
            "tokens_per_second": (
                round((at.tokens - self.before) / self.busy, 1) if self.busy else None
            ),
        }
        return found | ({"guard": at.events} if at.events else {})
