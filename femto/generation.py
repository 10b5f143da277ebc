"""Text from a model: sampling, and generation with a key/value cache over a context that moves along."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from femto.checkpoint import Checkpoint
from femto.errors import CheckpointError, ConfigError
from femto.kernels.arguments import Floats
from femto.model import Decoder, Model
from femto.system import random_numbers
from femto.system.text import described
from femto.tokenizers import StreamDecoder


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen. Raises ConfigError on values out of range."""

    temperature: float = 0.5  # divides the logits; 0: always the likeliest token
    top_k: int = 0  # choose among the k likeliest only; 0: all
    top_p: float = 1.0  # and among the fewest whose probabilities reach p
    seed: int = 0
    sample: int = 0  # which of the texts of this seed, from 0: each has random numbers of its own

    def __post_init__(self) -> None:
        if not 0.0 <= self.temperature <= 1000.0:
            raise ConfigError(f"temperature must be from 0 to 1000, got {self.temperature}", "temperature")
        if self.top_k < 0:
            raise ConfigError(f"top_k must be 0 (all tokens) or more, got {self.top_k}", "top_k")
        if not 0.0 < self.top_p <= 1.0:
            raise ConfigError(f"top_p must be above 0 and at most 1, got {self.top_p}", "top_p")
        if not 0 <= self.sample < 2**64:
            raise ConfigError(f"sample must be from 0 to 2^64 - 1, got {self.sample}", "sample")


@dataclass(frozen=True)
class Generated:
    """One generated token."""

    token: int
    text: str  # what it adds to the text; empty while a character is not complete, or a stop text may have begun
    probabilities: NDArray[np.float64]  # (V,) the model's, before temperature and cuts
    data: bytes  # the text as bytes: exact where these are not UTF-8, which the text shows as U+FFFD
    finish_reason: str | None = None  # of the last: "stop", a stop text has come; "length", all that were asked for

    def __repr__(self) -> str:
        probability = round(float(self.probabilities[self.token]), 4)
        return described(self, token=self.token, text=self.text, probability=probability)


def softmax(logits: Floats) -> NDArray[np.float64]:
    """Probabilities (V,) of logits (V,)."""
    exponentials = np.exp(logits.astype(np.float64) - logits.max())
    return np.asarray(exponentials / exponentials.sum())


def sample(logits: Floats, sampling: Sampling, index: int) -> int:
    """The token that logits (V,) give for draw number `index`. Equal logits: the lower id."""
    if sampling.temperature == 0.0:
        return int(np.argmax(logits))
    order = np.argsort(-logits, kind="stable")
    if sampling.top_k:
        order = order[: sampling.top_k]
    with np.errstate(over="ignore"):  # a tiny temperature makes infinite quotients, which exp turns into 0
        shifted = (logits[order].astype(np.float64) - float(logits[order[0]])) / sampling.temperature
    cumulative = np.cumsum(np.exp(shifted))
    if sampling.top_p < 1.0:
        kept = int(np.searchsorted(cumulative, sampling.top_p * cumulative[-1])) + 1
        order, cumulative = order[:kept], cumulative[:kept]
    draw = random_numbers.uniform(sampling.seed, random_numbers.SAMPLING, index, 1, sampling.sample)[0]
    place = draw * cumulative[-1]
    return int(order[min(int(np.searchsorted(cumulative, place, side="right")), len(order) - 1)])


def next_logits(model: Model, ids: list[int], context_shift: int | None = None) -> Iterator[Floats]:
    """Logits (V,) after `ids`, then after every token that the caller appends to `ids` before it asks again.

    Each token is one step against a key/value cache. When the context is full, its oldest `context_shift` tokens are left out
    and the cache is made anew, because every position has changed. [default: half the context] Raises ConfigError.
    """
    context = model.config.num_tokens
    shift = max(1, context // 2) if context_shift is None else context_shift
    if not 1 <= shift <= context:
        raise ConfigError(f"context_shift must be from 1 to the context of {context} tokens, got {shift}", "context_shift")
    return _next_logits(model, ids, shift)


def _next_logits(model: Model, ids: list[int], shift: int) -> Iterator[Floats]:
    context = model.config.num_tokens
    decoder, start = Decoder(model), max(0, len(ids) - context)
    yield decoder.prefill(np.array(ids[start:], np.int32))
    while True:
        if len(ids) - start <= context:
            yield decoder.decode(ids[-1])
        else:
            start += shift
            yield decoder.prefill(np.array(ids[start:], np.int32))


def generate(
    checkpoint: Checkpoint,
    prompt: str | bytes,
    count: int,
    sampling: Sampling,
    *,
    stop: str | bytes | Sequence[str | bytes] = (),
    context_shift: int | None = None,
) -> Iterator[Generated]:
    """Up to `count` tokens after the prompt, one at a time.

    context_shift: how many of the oldest tokens are left out when the context is full, which costs as much as computing the rest
    anew. With 1 each token sees as many tokens as it can, and costs a whole context. [default: half the context]

    stop: texts, any of which ends the generation as soon as it is in what was generated, however it is divided into tokens. It
    is no part of the text that is yielded. The name of a token, such as `<|endoftext|>`, is its text.

    An empty prompt starts as after a newline, where the tokenizer has one. Prompts longer than the context are read from
    their end; bytes need not be UTF-8. Raises ConfigError, before the first token is asked for, if a stop text is empty or
    context_shift out of range; CheckpointError if a logit is not finite.
    """
    decoder = StreamDecoder(checkpoint.tokenizer, stop)
    ids = checkpoint.tokenizer.encode(prompt or "\n").tolist()
    return _generate(next_logits(checkpoint.model, ids, context_shift), ids, decoder, count, sampling)


def _generate(
    logits_after: Iterator[Floats], ids: list[int], decoder: StreamDecoder, count: int, sampling: Sampling
) -> Iterator[Generated]:
    for index in range(count):
        logits = next(logits_after)
        if not np.isfinite(logits).all():
            raise CheckpointError("the model is broken: its logits are not finite; go on from an earlier copy of it")
        token = sample(logits, sampling, index)
        ids.append(token)
        data, reason = decoder.feed_bytes(token), None
        if decoder.stopped or index == count - 1:
            reason = "stop" if decoder.stopped else "length"
            data += decoder.flush_bytes()
        yield Generated(token, data.decode("utf-8", "replace"), softmax(logits), data, reason)
        if reason:
            return


def complete(checkpoint: Checkpoint, prompt: str, characters: int) -> str:
    """The likeliest continuation of at least `characters` characters: what the evaluators of `femto.dummy_data` ask for."""
    text = ""
    for generated in generate(checkpoint, prompt, 4 * characters + 4, Sampling(temperature=0.0), context_shift=1):
        text += generated.text
        if len(text) >= characters:
            break
    return text
