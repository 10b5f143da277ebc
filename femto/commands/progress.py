"""What a training run shows: a progress bar on a terminal, plain lines elsewhere, JSON lines in a metrics file."""

import json
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import IO, Any

import click

from femto.commands.options import finite
from femto.errors import DataError
from femto.session import Event, Saved, Validation
from femto.tokenizers import Drop, Merge
from femto.tokenizers.bpe_training import expected_merges
from femto.training import Step

SMOOTHING = 20.0  # steps that the shown loss and speed are averaged over
PLAIN_EVERY = 100  # steps between plain lines
PLAIN_SECONDS = 10.0  # and seconds: whichever comes first


class Progress:
    """Shows events on standard error as they come."""

    def __init__(self, steps: int, quiet: bool = False) -> None:
        self.total, self.done, self.quiet = steps, 0, quiet
        self.loss = self.seconds = 0.0
        self.last_line = time.monotonic()
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

    def show(self, event: Event) -> None:
        if isinstance(event, Step):
            self._step(event)
        elif isinstance(event, Validation):
            self.say(f"step {event.step}: validation loss {event.loss.nats:.4f}, {event.loss.bits_per_byte:.4f} bits a byte")

    def say(self, line: str) -> None:
        """A line of its own, above the bar if there is one."""
        if self.quiet:
            return
        if self.bar is not None:
            click.echo("\r\033[K", err=True, nl=False)
        click.echo(line, err=True)

    def _step(self, step: Step) -> None:
        self.done += 1
        weight = 1.0 / min(self.done, SMOOTHING)
        self.loss += weight * (step.loss - self.loss)
        self.seconds += weight * (step.seconds - self.seconds)
        speed = step.tokens / self.seconds
        if self.quiet:
            return
        if self.bar is not None:
            self.bar.update(1, f"step {step.step}  loss {self.loss:.4f}  {speed:,.0f} tokens/s")
            return
        now = time.monotonic()
        edge = self.done in (1, self.total)
        if edge or self.done % PLAIN_EVERY == 0 or now - self.last_line > PLAIN_SECONDS:
            self.last_line = now
            left = _duration((self.total - self.done) * self.seconds)
            self.say(f"step {step.step}  loss {self.loss:.4f}  {speed:,.0f} tokens/s  {left} left")


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
            click.echo(f"Removed {len(event.tokens)} tokens: {', '.join(map(shown_token, event.tokens))}", err=True)
            click.echo(f"Vocab-size: {event.vocab_size} tokens", err=True)
        if self.bar is not None:
            self.bar.update(isinstance(event, Merge))


def shown_token(token: bytes) -> str:
    """A token for people, in quotes and on one line."""
    return json.dumps(token.decode("utf-8", "backslashreplace"), ensure_ascii=False)


class Metrics:
    """Appends one JSON object an event to an unbuffered file: `event` is session, step, validation or saved."""

    def __init__(self, file: IO[bytes] | None, name: str | None = None) -> None:
        self.file, self.name = file, name

    def write(self, event: Event | dict[str, Any]) -> None:
        if self.file is None:
            return
        document: dict[str, Any]
        if isinstance(event, dict):
            document = event
        elif isinstance(event, Step):
            document = {
                "event": "step",
                "step": event.step,
                "loss": event.loss,
                "learning_rate": event.learning_rate,
                "gradient_norm": event.gradient_norm,
                "seconds": event.seconds,
                "tokens_per_second": event.tokens / event.seconds,
            }
        elif isinstance(event, Validation):
            document = {
                "event": "validation",
                "step": event.step,
                "loss": event.loss.nats,
                "bits_per_byte": event.loss.bits_per_byte,
                "tokens": event.loss.num_tokens,
            }
        else:
            assert isinstance(event, Saved)
            document = {"event": "saved", "step": event.step, "seconds": event.seconds}
        try:
            self.file.write(json.dumps(finite(document)).encode() + b"\n")
        except OSError as error:
            raise DataError(f"{self.name}: cannot write metrics: {error.strerror}") from error


class StopRequest:
    """Set by the first Ctrl-C, SIGTERM or SIGHUP; a second one ends the program at once."""

    def __init__(self) -> None:
        self.name: str | None = None

    def __call__(self) -> bool:
        return self.name is not None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.name is not None:
            raise KeyboardInterrupt
        self.name = signal.Signals(number).name

    @contextmanager
    def listening(self) -> Iterator["StopRequest"]:
        names = [name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
        before = {number: signal.signal(number, self._handle) for number in (getattr(signal, name) for name in names)}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes:02}m" if hours else f"{minutes}m {rest:02}s" if minutes else f"{rest}s"
