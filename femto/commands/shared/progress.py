"""What a training run shows: a progress bar on a terminal, plain lines elsewhere."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

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

    def __init__(self, steps: int, quiet: bool = False) -> None:
        """steps: of all models together."""
        self.total, self.done, self.quiet = steps, 0, quiet
        self.losses: dict[str, tuple[int, float]] = {}  # of each model: steps, and their smoothed loss
        self.started = self.last_line = time.monotonic()
        self.on_terminal = sys.stderr.isatty()
        self.bar: Any = None

    @contextmanager
    def showing(self) -> Iterator["Progress"]:
        if self.on_terminal and not self.quiet:
            with click.progressbar(
                length=self.total, file=sys.stderr, show_pos=True, item_show_func=lambda text: text
            ) as self.bar:
                yield self
            self.bar = None
        else:
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
                self.say(f"{prefix}note: {event.overfitting}; --keep-best keeps the best model, --patience ends such a run")
        elif isinstance(event, OutOfPatience):
            best = f"{event.best:.4f} at step {event.best_step:,}"
            self.say(f"{prefix}step {event.step}: out of patience; the best validation was {best}")

    def say(self, line: str) -> None:
        """A line of its own, above the bar if there is one."""
        if self.quiet:
            return
        if self.bar is not None:
            click.echo("\r\033[K", err=True, nl=False)
        click.echo(line, err=True)

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
        speed = step.tokens / each
        if self.quiet:
            return
        if self.bar is not None:
            self.bar.update(1, f"{prefix}step {step.step}  loss {loss:.4f}  {speed:,.0f} tokens/s")
            return
        edge = self.done in (1, self.total)
        if edge or self.done % PLAIN_EVERY == 0 or now - self.last_line > PLAIN_SECONDS:
            self.last_line = now
            left = duration((self.total - self.done) * each)
            self.say(f"{prefix}step {step.step}  loss {loss:.4f}  {speed:,.0f} tokens/s  {left} left")


class VocabularyProgress:
    """Shows on standard error each token that is learnt and those that are dropped, above a bar on a terminal."""

    def __init__(self, vocab_size: int, quiet: bool) -> None:
        self.quiet = quiet
        self.bar: Any = None
        if not quiet and sys.stderr.isatty():
            self.bar = click.progressbar(length=expected_merges(vocab_size), file=sys.stderr, show_pos=True)

    def __enter__(self) -> "VocabularyProgress":
        if self.bar is not None:
            self.bar.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.__exit__(*error)

    def show(self, event: Merge | Drop) -> None:
        if self.quiet:
            return
        if self.bar is not None:
            click.echo("\r\033[K", err=True, nl=False)
        if isinstance(event, Merge):
            left, right, token = map(shown_token, (event.left, event.right, event.left + event.right))
            click.echo(f"New token: {left} + {right} = {token}, appears {event.count} times", err=True)
        else:
            click.echo(f"Removed {counted(len(event.tokens), 'token')}: {', '.join(map(shown_token, event.tokens))}", err=True)
            click.echo(f"Vocab-size: {event.vocab_size} tokens", err=True)
        if self.bar is not None:
            self.bar.update(isinstance(event, Merge))


def shown_token(token: bytes) -> str:
    """A token for people, in quotes and on one line."""
    return json.dumps(token.decode("utf-8", "backslashreplace"), ensure_ascii=False)
