"""What a training run shows: a progress bar on a terminal, plain lines elsewhere."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager

from femto.commands.shared.bar import Bar
from femto.commands.shared.history_text import for_unknown
from femto.system.text import counted, duration
from femto.tokenizers import Drop, Merge
from femto.tokenizers.bpe_training import expected_merges
from femto.training import Step
from femto.training.session import Event, OutOfPatience, Validation
from femto.training.spikes import Spike

SMOOTHING = 20.0  # steps that the shown loss is averaged over
PLAIN_EVERY = 100  # steps between plain lines
PLAIN_SECONDS = 10.0  # and seconds: whichever comes first


class Progress:
    """Shows events on standard error as they come."""

    def __init__(self, steps: int, quiet: bool = False, *, advice: str = "") -> None:
        """steps: of all models together. advice: what helps against overfitting, where that is told."""
        self.advice = f"; {advice}" if advice else ""
        self.total, self.done, self.quiet = steps, 0, quiet
        self.losses: dict[str, tuple[int, float]] = {}  # of each model: steps, and their smoothed loss
        self.started = self.last_line = time.monotonic()
        self.bar = Bar(steps, quiet)

    @contextmanager
    def showing(self) -> Iterator["Progress"]:
        with self.bar:
            yield self

    def show(self, event: Event, model: str = "") -> None:
        """model: its name, if there are several."""
        prefix = f"{model} " if model else ""
        if isinstance(event, Step):
            self._step(event, prefix)
        elif isinstance(event, Spike):
            self.say(
                f"{prefix}step {event.step}: the loss jumped from {event.usual:.4f} to {event.loss:.4f}; if that happens often, "
                "try a lower --learning-rate"
            )
        elif isinstance(event, Validation):
            loss, best = event.loss, ", the best so far" if event.is_best else ""
            bits = f"{loss.bits_per_byte:.4f} bits a byte{for_unknown(loss)}"
            self.say(f"{prefix}step {event.step}: validation loss {loss.nats:.4f}, {bits}{best}")
            if event.overfitting:
                # A note is no progress: not even quiet leaves it out.
                self.bar.say(f"{prefix}note: {event.overfitting}{self.advice}")
        elif isinstance(event, OutOfPatience):
            best = f"{event.best:.4f} at step {event.best_step:,}"
            self.say(f"{prefix}step {event.step}: out of patience; the best validation was {best}")

    def say(self, line: str) -> None:
        """A line of its own, above the bar if there is one."""
        if not self.quiet:
            self.bar.say(line)

    def _step(self, step: Step, prefix: str) -> None:
        self.done += 1
        steps, loss = self.losses.get(prefix, (0, 0.0))
        if step.skipped:
            self.say(f"{prefix}step {step.step}: skipped, as its loss or gradient is not finite; nothing was changed")
        else:
            steps, loss = steps + 1, loss + (step.loss - loss) / min(steps + 1, SMOOTHING)
            self.losses[prefix] = steps, loss
        now = time.monotonic()
        each = max(1e-9, (now - self.started) / self.done)
        at, speed = f"{prefix}step {step.step}", f"{step.tokens / each:,.0f} tokens/s"
        left = f"{duration((self.total - self.done) * each)} left"
        self.bar.update(self.done, at, f"loss {loss:.4f}", left, speed)
        due = self.done in (1, self.total) or self.done % PLAIN_EVERY == 0 or now - self.last_line > PLAIN_SECONDS
        if due and not self.bar.shown:
            self.last_line = now
            self.say(f"{at}  loss {loss:.4f}  {speed}  {left}")


class VocabularyProgress:
    """Shows on standard error each token that is learnt and those that are dropped, above a bar on a terminal."""

    def __init__(self, vocab_size: int, quiet: bool) -> None:
        self.quiet, self.merges = quiet, 0
        self.bar = Bar(expected_merges(vocab_size), quiet)

    def __enter__(self) -> "VocabularyProgress":
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.__exit__(*error)

    def show(self, event: Merge | Drop) -> None:
        if self.quiet:
            return
        if isinstance(event, Merge):
            self.merges += 1
            left, right, token = map(shown_token, (event.left, event.right, event.left + event.right))
            self.bar.say(f"New token: {left} + {right} = {token}, appears {event.count} times")
        else:
            self.bar.say(f"Removed {counted(len(event.tokens), 'token')}: {', '.join(map(shown_token, event.tokens))}")
            self.bar.say(f"Vocab-size: {event.vocab_size} tokens")
        self.bar.update(self.merges)


def shown_token(token: bytes) -> str:
    """A token for people, in quotes and on one line."""
    return json.dumps(token.decode("utf-8", "backslashreplace"), ensure_ascii=False)
