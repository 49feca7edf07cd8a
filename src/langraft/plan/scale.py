"""What is lost between one device and many: messages, stragglers, failures."""

from __future__ import annotations

import dataclasses
import math
import random
from statistics import NormalDist

from langraft.core.errors import BadInput
from langraft.plan.devices import Link

REACHED = 0.8  # share of a link's stated bandwidth that a collective gets
OVERLAP = 0.85  # share of the shorter of messages and products that runs beside the longer
# Llama 3's report (arXiv 2407.21783, section 3.3.4): 419 unexpected interruptions in 54 days of
# 16,384 devices, one in 50,677 device-hours.
DEVICE_HOURS_BETWEEN_FAILURES = 50_677.0


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Devices and what is between them.

    Attributes:
        devices, per_node: all of them, and those that share a fast link.
        inside, between: links in a node, and of each device to other nodes.
        spread: standard deviation of a device's step time, as a share of it.
        mtbf: device-hours between failures.
        save: seconds that training waits for a checkpoint.
        restart: seconds from a failure to the next step.
    """

    devices: int
    per_node: int
    inside: Link
    between: Link
    spread: float = 0.01
    mtbf: float = DEVICE_HOURS_BETWEEN_FAILURES
    save: float = 20.0
    restart: float = 300.0

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            BadInput: a size that is not positive, or a node larger than the cluster.
        """
        if self.devices < 1 or self.per_node < 1:
            raise BadInput(f"--devices {self.devices}, {self.per_node} a node: there must be one")
        if not 0 <= self.spread <= 1:
            raise BadInput(f"--stragglers {self.spread:g}: a share of the step time, 0 to 1")
        if self.mtbf <= 0 or self.save <= 0 or self.restart < 0:
            raise BadInput(
                f"--failures {self.mtbf:g}, --save {self.save:g}, --restart {self.restart:g}: "
                "hours and seconds are more than nothing"
            )


def collective(bytes_: float, ranks: int, link: Link) -> float:
    """Seconds of a ring all-gather or reduce-scatter of `bytes_` over `ranks`.

    Each rank sends (ranks - 1) / ranks of it, in ranks - 1 messages.
    """
    if ranks == 1:
        return 0.0
    sent = bytes_ * (ranks - 1) / ranks
    return sent / (link.bandwidth * REACHED) + (ranks - 1) * link.latency


def messages(parameters: float, learning: float, cluster: Cluster, group: int) -> float:
    """Seconds of one step's messages with weights sharded over `group` devices.

    Weights are gathered in bfloat16 for the forward and again for the backward pass, gradients
    summed in 32 bit; with several groups each device sums its shard's gradients with its like.
    A ring that leaves the node goes at the pace of the link between nodes, one a device.
    """
    link = cluster.inside if group <= cluster.per_node else cluster.between
    sharded = 2 * collective(2 * parameters, group, link) + collective(4 * learning, group, link)
    copies = cluster.devices // group
    return sharded + 2 * collective(4 * learning / group, copies, cluster.between)


def slowest(ranks: int) -> float:
    """Expected maximum of `ranks` standard normal numbers (Blom's approximation, 1958)."""
    return NormalDist().inv_cdf((ranks - 0.375) / (ranks + 0.25)) if ranks > 1 else 0.0


def young(save: float, mtbf: float) -> float:
    """Seconds between checkpoints that lose least, to first order (Young 1974): sqrt(2 save mtbf).

    Args:
        save: seconds that a checkpoint takes.
        mtbf: seconds between failures of the whole cluster.
    """
    return math.sqrt(2 * save * mtbf)


def daly(save: float, mtbf: float) -> float:
    """The same to higher order (Daly 2006, equation 37)."""
    if save >= 2 * mtbf:
        return mtbf
    ratio = save / (2 * mtbf)
    return young(save, mtbf) * (1 + math.sqrt(ratio) / 3 + ratio / 9) - save


def goodput(interval: float, save: float, restart: float, mtbf: float) -> float:
    """Share of time that trains, when failures come at random (exponentially).

    An interval and its checkpoint take mtbf e^(restart/mtbf) (e^((interval+save)/mtbf) - 1) seconds
    on average (Daly 2006, equation 20).
    """
    exponent = (interval + save) / mtbf
    if exponent + restart / mtbf > 500:
        return 0.0
    return interval / (mtbf * math.exp(restart / mtbf) * math.expm1(exponent))


@dataclasses.dataclass(frozen=True)
class Scaling:
    """What `devices` devices make of one device's speed.

    Attributes:
        step: seconds of a step without failures.
        overlapped: share that remains beside messages.
        together: share that remains of waiting for the slowest.
        interval: seconds between checkpoints.
        running: share of time that trains in spite of failures.
    """

    devices: int
    step: float
    overlapped: float
    together: float
    interval: float
    running: float

    @property
    def efficiency(self) -> float:
        """The share of all devices' speed that is left."""
        return self.overlapped * self.together * self.running


def scaling(compute: float, message: float, cluster: Cluster) -> Scaling:
    """What is left of `compute` seconds of products a step, with `message` seconds of messages."""
    longer, shorter = max(compute, message), min(compute, message)
    alone = longer + (1 - OVERLAP) * shorter
    waiting = 1 + cluster.spread * slowest(cluster.devices)
    mtbf = cluster.mtbf * 3600 / cluster.devices
    interval = daly(cluster.save, mtbf)
    return Scaling(
        devices=cluster.devices,
        step=alone * waiting,
        overlapped=compute / alone,
        together=1 / waiting,
        interval=interval,
        running=goodput(interval, cluster.save, cluster.restart, mtbf),
    )


def simulate(training: float, interval: float, cluster: Cluster, seed: int) -> float:
    """Seconds that `training` seconds of steps take, failures drawn at random.

    A failure loses what was done since the last checkpoint; a restart can fail as well.
    """
    draw = random.Random(seed)
    rate = cluster.devices / (cluster.mtbf * 3600)
    clock, done = 0.0, 0.0
    failure = draw.expovariate(rate)
    while done < training:
        part = min(interval, training - done)
        if clock + part + cluster.save <= failure:
            clock, done = clock + part + cluster.save, done + part
            continue
        clock = failure
        failure = clock + draw.expovariate(rate)
        while failure < clock + cluster.restart:
            clock = failure
            failure = clock + draw.expovariate(rate)
        clock += cluster.restart
    return clock
