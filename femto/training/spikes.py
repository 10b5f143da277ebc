"""Spikes of the training loss: sudden rises far beyond its noise, as in the journal's experiment 24 (1.7 to 2.1 in one step)."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

MEMORY = 50  # steps that the usual loss and its noise are smoothed over, and at least seen before anything is a spike
DEVIATIONS = 6.0  # of the noise, above the usual loss: a spike;
LEAST_RISE = 0.2  # nats, and at least so much
SETTLED = 2.0  # deviations: once the loss is so near to the usual one again, the spike is over


@dataclass(frozen=True)
class Spike:
    """A step whose loss rose far above what was usual before it."""

    step: int
    loss: float  # nats a token
    usual: float  # smoothed loss before it


class SpikeDetector:
    """Told every loss, says when a spike begins; the steps until the loss has settled belong to the same one.

    The mean and the variance are exponential averages. A spike's steps move them no more than the largest loss that is none
    would, so that one spike does not hide the next, and a lasting rise is told once and then is the usual loss.
    """

    def __init__(self, earlier: Iterable[float] = ()) -> None:
        """earlier: losses of the steps before, the last MEMORY * 4 are enough."""
        self.mean, self.variance, self.seen, self.in_spike = 0.0, 0.0, 0, False
        for loss in earlier:
            self.add(0, loss)

    def add(self, step: int, loss: float) -> Spike | None:
        """The loss of a step; those that are not finite are passed over."""
        if not math.isfinite(loss):
            return None
        noise = math.sqrt(self.variance)
        limit = self.mean + max(DEVIATIONS * noise, LEAST_RISE)
        high = self.seen >= MEMORY and loss > limit
        spike = Spike(step, loss, self.mean) if high and not self.in_spike else None
        self.in_spike = high or (self.in_spike and loss > self.mean + max(SETTLED * noise, LEAST_RISE / 2))
        self.seen += 1
        weight = 1.0 / min(self.seen, MEMORY)
        deviation = (min(loss, limit) if high else loss) - self.mean
        self.mean += weight * deviation
        self.variance = (1.0 - weight) * (self.variance + weight * deviation * deviation)
        return spike
