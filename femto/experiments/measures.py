"""What can be measured of a trained model, by name, for the checks of a recipe."""

import inspect
import math
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from femto import data, generation
from femto.checkpoint import Checkpoint
from femto.data import Dataset
from femto.experiments import ngram, sources
from femto.experiments.sources import Source
from femto.generation import Sampling
from femto.token_files import TokenIds
from femto.training import Loss, evaluate

WORD = re.compile(r"[A-Za-z]+")
LINES_PER_ACTION = 100


@dataclass(frozen=True)
class Texts:
    """The text of a run in its parts, shared by all its models."""

    kind: str  # of the source
    training: Source
    held_out: Source

    @cached_property
    def words(self) -> frozenset[str]:
        return frozenset(WORD.findall(self.training.text)) | frozenset(WORD.findall(self.held_out.text))

    @cached_property
    def five_gram(self) -> float:
        return ngram.bits_per_byte(b"".join(self.training.documents), b"".join(self.held_out.documents))


class Subject:
    """A model and its texts, and what several measures need of them."""

    def __init__(self, checkpoint: Checkpoint, texts: Texts, peak_memory: int = 0) -> None:
        """peak_memory: bytes that the process held at most while it trained."""
        self.checkpoint, self.texts, self.peak_memory = checkpoint, texts, peak_memory

    @cached_property
    def training_ids(self) -> TokenIds:
        return data.from_documents("", self.texts.training.documents, self.checkpoint.tokenizer, cache=True).ids

    @cached_property
    def evaluation(self) -> Any:
        """What the journal's own evaluator says; unseen questions."""
        kind = self.texts.kind
        more: dict[str, dict[str, Any]] = {
            "simple_dummy": {"complete": self._sampled},  # always the likeliest letter makes one word for ever
            "simple_dummy2": {"lines_per_action": LINES_PER_ACTION},
            "addition_dummy": {"training_text": self.texts.training.text, "samples": 300},
        }
        return sources.generator(kind).evaluate(**{"complete": self._likeliest, **more.get(kind, {})})

    def _likeliest(self, prompt: str, characters: int) -> str:
        return generation.complete(self.checkpoint, prompt, characters)

    def _sampled(self, prompt: str, characters: int) -> str:
        """As `femto infer` writes, at temperature 0.5; the prompt is the seed."""
        pieces = generation.generate(
            self.checkpoint, prompt, characters, Sampling(seed=zlib.crc32(prompt.encode())), context_shift=1
        )
        return "".join(piece.text for piece in pieces)

    @cached_property
    def held_out(self) -> Loss:
        tokenizer = self.checkpoint.tokenizer
        dataset: Dataset = data.from_documents(self.texts.held_out.name, self.texts.held_out.documents, tokenizer, cache=True)
        data.require_two(dataset.ids, self.texts.held_out.name)
        return evaluate(self.checkpoint.model, dataset.ids, tokenizer)

    def samples(self, prompt: str, number: int, tokens: int) -> list[str]:
        """Texts after a prompt, at temperature 0.5, seeds 0, 1, 2, ..."""
        made = []
        for seed in range(number):
            pieces = generation.generate(self.checkpoint, prompt, tokens, Sampling(seed=seed), context_shift=1)
            made.append("".join(piece.text for piece in pieces))
        return made


@dataclass(frozen=True)
class Measure:
    """A function of a subject to a figure, the options that it takes, and the data that it is for."""

    function: Callable[..., float]
    options: dict[str, type]
    required: frozenset[str]
    of: tuple[str, ...] | None  # generators, or "text" for one with a held-out part; None: all


MEASURES: dict[str, Measure] = {}
SEQUENCES = ("simple_sequence", "simple_sequence2")


def measure(of: tuple[str, ...] | None = None) -> Callable[[Callable[..., float]], Callable[..., float]]:
    def register(function: Callable[..., float]) -> Callable[..., float]:
        parameters = list(inspect.signature(function).parameters.values())[1:]
        required = frozenset(p.name for p in parameters if p.default is p.empty)
        MEASURES[function.__name__] = Measure(function, {p.name: p.annotation for p in parameters}, required, of)
        return function

    return register


@measure()
def training_loss(subject: Subject, last: int = 50) -> float:
    """Mean loss of the last steps; NaN, which meets no check, if there were none."""
    return subject.checkpoint.history.recent_loss(last)


@measure()
def training_loss_at(subject: Subject, step: int, steps: int = 10) -> float:
    """Mean loss of the `steps` steps that end at a step of the model's life; NaN if it was not trained that long."""
    history, first = subject.checkpoint.history, max(0, step - steps)
    return _mean(history.losses_of(first, step - first)) if step <= history.num_steps else math.nan


@measure(("text",))
def validation_loss(subject: Subject) -> float:
    """Loss on the whole held-out part."""
    return subject.held_out.nats


@measure(("text",))
def bits_per_byte(subject: Subject) -> float:
    """Loss on the whole held-out part."""
    return subject.held_out.bits_per_byte


@measure(("text",))
def five_gram(subject: Subject) -> float:
    """What a byte 5-gram with Witten-Bell smoothing reaches on the held-out part; no figure of the model."""
    return subject.texts.five_gram


@measure()
def unigram_entropy(subject: Subject) -> float:
    """The entropy of the token frequencies: the loss of a model that knows nothing of order; no figure of the model."""
    return data.unigram_entropy(data.counts(subject.training_ids, subject.checkpoint.tokenizer.vocab_size))


@measure(("simple_dummy",))
def rules(subject: Subject) -> float:
    """simple_dummy: share of the written words that obey the generator's rules."""
    return float(subject.evaluation.rate)


@measure(("addition_dummy",))
def well_formed(subject: Subject) -> float:
    """addition_dummy: share of the written lines that look like sums."""
    return float(subject.evaluation.well_formed_rate)


@measure(("addition_dummy",))
def sums(subject: Subject) -> float:
    """addition_dummy: share of right sums of pairs that are not in the training text."""
    return float(subject.evaluation.sum_rate)


@measure(("simple_dummy2",))
def actions(subject: Subject) -> float:
    """simple_dummy2: share of right answers to the action that does worst, of 100 questions each."""
    return float(subject.evaluation.minimum_rate)


@measure(("simple_dummy2",))
def actions_learnt(subject: Subject, rate: float = 0.7) -> float:
    """simple_dummy2: how many of the ten actions are answered right more often than `rate`."""
    return float(sum(score.rate > rate for score in subject.evaluation.actions))


@measure(SEQUENCES)
def samples(subject: Subject) -> float:
    """The sequences: share of the journal's own prompts that are continued exactly."""
    answers = subject.evaluation.samples
    return float(sum(answer.correct for answer in answers) / len(answers))


@measure(SEQUENCES)
def other_prompts(subject: Subject) -> float:
    """The sequences: share of 100 other prompts that are continued exactly."""
    return float(subject.evaluation.extra_rate)


@measure(SEQUENCES)
def worst_cycle(subject: Subject) -> float:
    """The sequences: share of right characters in the cycle that does worst, such as the letters of simple_sequence."""
    return float(min(subject.evaluation.cycle_rates.values()))


@measure()
def known_words(subject: Subject, prompt: str = "\n", number: int = 10, tokens: int = 100) -> float:
    """Share of the words in samples that stand in the text; the last word of each, which may be cut off, does not count."""
    found = [word for sample in subject.samples(prompt, number, tokens) for word in WORD.findall(sample)[:-1]]
    return sum(word in subject.texts.words for word in found) / len(found) if found else 0.0


@measure()
def play_layout(subject: Subject, prompt: str = "BRUTUS:", number: int = 3, tokens: int = 200) -> float:
    """Share of samples that name a speaker: a line of its own that ends with a colon."""
    made = subject.samples(prompt, number, tokens)
    return sum(re.search(r"^[A-Z][A-Za-z ]*:$", sample, re.M) is not None for sample in made) / number


@measure()
def unknown_tokens(subject: Subject, prompt: str, number: int = 3, tokens: int = 100) -> float:
    """How many <unk> samples hold."""
    return float(sum(sample.count("<unk>") for sample in subject.samples(prompt, number, tokens)))


@measure()
def top_probability(subject: Subject, prompt: str = "\n") -> float:
    """Probability of the likeliest token after a prompt."""
    return float(next(generation.generate(subject.checkpoint, prompt, 1, Sampling())).probabilities.max())


@measure()
def answer(subject: Subject, prompt: str, expected: str) -> float:
    """1 if the likeliest continuation of the prompt begins with `expected`, else 0."""
    return float(generation.complete(subject.checkpoint, prompt, len(expected)).startswith(expected))


@measure()
def round_trip(subject: Subject) -> float:
    """1 if the training text survives encoding and decoding, else 0."""
    tokenizer = subject.checkpoint.tokenizer
    documents = [document.decode(errors="replace") for document in subject.texts.training.documents]
    return float(all(tokenizer.decode(tokenizer.encode(document)) == document for document in documents))


@measure()
def steps(subject: Subject) -> float:
    """Steps of the model's life."""
    return float(subject.checkpoint.history.num_steps)


@measure()
def insertion_jump(subject: Subject) -> float:
    """The largest rise of the loss when a layer or head was added: the first step after, less the mean of the 20 before. NaN
    if nothing was added."""
    losses_of = subject.checkpoint.history.losses_of
    jumps = [_mean(losses_of(at, 1)) - _mean(losses_of(max(0, at - 20), min(at, 20))) for at in _insertions(subject)]
    return float(np.max(jumps)) if jumps else math.nan


@measure()
def insertion_gain(subject: Subject) -> float:
    """By how much the last insertion and the steps after it lowered the loss: the 20 steps before it, less the last 20. NaN if
    nothing was added."""
    history, insertions = subject.checkpoint.history, _insertions(subject)
    if not insertions:
        return math.nan
    at = insertions[-1]
    return _mean(history.losses_of(max(0, at - 20), min(at, 20))) - history.recent_loss(20)


@measure()
def loss_after_insertion(subject: Subject, steps: int) -> float:
    """The worst loss so many steps after an insertion, mean of the ten steps before; NaN if nothing was added, or the training
    ended sooner."""
    found = [training_loss_at(subject, at + steps) for at in _insertions(subject)]
    return float(np.max(found)) if found else math.nan  # NaN if one is


@measure()
def peak_memory(subject: Subject) -> float:
    """MiB that the process held in memory at most while it trained."""
    return subject.peak_memory / (1 << 20)


def _mean(losses: NDArray[np.float32]) -> float:
    losses = losses[np.isfinite(losses)]
    return float(losses.mean()) if len(losses) else math.nan


def _insertions(subject: Subject) -> list[int]:
    """The steps of the model's life after which it grew; only those that were trained before and after."""
    history, at, found = subject.checkpoint.history, 0, []
    for entry in history.entries:
        if entry["kind"] == "session":
            at = entry["first_step"] + entry["steps"]
        elif entry["kind"] in ("insert-layer", "insert-head") and 0 < at < history.num_steps:
            found.append(at)
    return found
