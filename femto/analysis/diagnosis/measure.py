"""What a model does with a text: sizes of signal and gradient, attention, updates, loss. `findings.py` says what is wrong.

Legend: B sequences of T tokens, R = B*T rows, d embedding degree, H heads, V vocabulary; units: `records.py`.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from femto import data, optimizers
from femto.analysis.diagnosis import known_data
from femto.analysis.diagnosis.records import (
    DataReport,
    Diagnosis,
    EmbeddingReport,
    Gains,
    HeadReport,
    LayerReport,
    OutputReport,
    PositionLoss,
    Signal,
    TrainingReport,
)
from femto.checkpoint import Checkpoint
from femto.config import ModelConfig, TrainConfig
from femto.data import Dataset, Ids
from femto.errors import ConfigError
from femto.model import Graph, ParameterLayout
from femto.model.blocks import Block
from femto.model.buffers import Floats
from femto.model.linear import Pass
from femto.model.norms import Norm
from femto.optimizers.clipping import norm
from femto.optimizers.schedule import learning_rate, peak_step
from femto.training.ahead import last_settings
from femto.training.overfitting import overfitting
from femto.training.partitioning import partition

Doubles = NDArray[np.float64]

BATCHES = 4  # of the training's batch size that are measured
ATTENTION_SEQUENCES = 4  # whose attention is recomputed
ATTENTION_ELEMENTS = 1 << 22  # of probabilities in memory at a time
DEAD_SLOPE = 0.02  # a GELU whose slope stays below it (inputs below -2.8) passes no gradient on
RECENT_STEPS = 100  # training losses that are averaged


def diagnose(checkpoint: Checkpoint, dataset: Dataset, batch_size: int | None = None) -> Diagnosis:
    """Measure a model on the batches that its next BATCHES training steps would draw from the data set, without dropout.

    So nothing is read of the part that the model's settings hold out; token frequencies are those of the whole data set. Neither
    the checkpoint nor its optimiser's state changes. batch_size: default that of its training. Raises DataError for data of
    fewer than two tokens, in all or in a part, ConfigError for a batch size out of range.
    """
    data.require_two(dataset.ids, f"{dataset.name}: the data set")
    if batch_size is not None and not 1 <= batch_size <= 1_048_576:
        raise ConfigError(f"batch_size must be a whole number from 1 to 1,048,576, got {batch_size!r}", "batch_size")
    training = replace(checkpoint.training, batch_size=batch_size or checkpoint.training.batch_size, micro_batch_size=0, parts=1)
    with np.errstate(all="ignore"):  # a sick model's numbers may overflow
        return _Measurement(checkpoint, dataset, training).report()


class _Mean:
    """The mean of squares of arrays that come one after another."""

    def __init__(self) -> None:
        self.sum, self.count = 0.0, 0

    def add(self, x: Floats) -> None:
        flat = x.reshape(-1)
        for start in range(0, flat.size, 1 << 20):
            part = flat[start : start + (1 << 20)].astype(np.float64)
            self.sum += float(part @ part)
        self.count += flat.size

    def rms(self, factor: float = 1.0) -> float:
        return factor * math.sqrt(self.sum / self.count)


class _Watched:
    """A LayerNorm of the graph: sizes of its input and output, and of their gradients."""

    def __init__(self, layer_norm: Norm) -> None:
        self.layer_norm = layer_norm
        self.x, self.out, self.dx, self.dout = _Mean(), _Mean(), _Mean(), _Mean()
        layer_norm.watch = self.add

    def add(self, dout: Floats, dx: Floats) -> None:
        for mean, array in ((self.x, self.layer_norm.x), (self.out, self.layer_norm.out), (self.dx, dx), (self.dout, dout)):
            mean.add(array)

    def input(self, factor: float) -> Signal:
        return Signal(self.x.rms(), self.dx.rms(factor))

    def output(self, factor: float) -> Signal:
        return Signal(self.out.rms(), self.dout.rms(factor))

    def gains(self) -> Gains:
        gain = self.layer_norm.gain.astype(np.float64)
        return Gains(float(gain.mean()), float(gain.min()), float(gain.max()), rms(gain))


class _Layer:
    """What one block showed so far."""

    def __init__(self, block: Block, pre_norm: bool) -> None:
        self.block, self.pre_norm = block, pre_norm
        self.norm, self.atten_norm = _Watched(block.norm), _Watched(block.atten_norm)
        self.attention, self.feedforward = _Mean(), _Mean()
        self.largest_slope = np.zeros(block.feedforward.slope.shape[1])
        self.heads: list[HeadReport] = []

    def add(self) -> None:
        """Take in a pass, after its forward and backward."""
        block = self.block
        before = (block.norm.x, block.middle) if self.pre_norm else (block.norm.out, block.atten_norm.out)
        self.attention.add(block.middle - before[0])
        self.feedforward.add(block.out - before[1])
        slope = block.feedforward.slope
        largest = np.maximum(slope.max(0), -slope.min(0))
        self.largest_slope = np.maximum(self.largest_slope, largest)

    def report(self, number: int, factor: float, output: Signal, update_to_weight: float, gradients: list[Floats]) -> LayerReport:
        """gradients: those of its matrices."""
        weights = _Mean()
        for gradient in gradients:
            weights.add(gradient)
        return LayerReport(
            layer=number,
            input=self.norm.input(factor),
            norm=self.norm.output(factor),
            attention_rms=self.attention.rms(),
            middle=self.atten_norm.input(factor),
            atten_norm=self.atten_norm.output(factor),
            feedforward_rms=self.feedforward.rms(),
            output=output,
            norm_gains=self.norm.gains(),
            atten_norm_gains=self.atten_norm.gains(),
            dead_gelu_share=float((self.largest_slope < DEAD_SLOPE).mean()),
            update_to_weight=update_to_weight,
            weight_gradient_rms=weights.rms(),
            heads=self.heads,
        )


class _Measurement:
    """The passes over the data, and what is read from them."""

    def __init__(self, checkpoint: Checkpoint, dataset: Dataset, training: TrainConfig) -> None:
        self.checkpoint, self.dataset, self.settings = checkpoint, dataset, training
        self.training_ids, _ = data.split(dataset.ids, training.validation_split, dataset.name)
        config = checkpoint.model.config
        self.graph = Graph(checkpoint.model, partition(config, training).micro_batch_size, config.num_tokens, training=True)
        self.layers = [_Layer(block, config.block == "pre-norm") for block in self.graph.blocks]
        self.head_norm = _Watched(self.graph.head.norm)
        self.embedded, self.logits = _Mean(), _Mean()
        self._pass_over(list(self._batches()))

    def _batches(self) -> Iterator[tuple[Ids, Ids]]:
        first, tokens = self.checkpoint.history.num_steps, self.checkpoint.model.config.num_tokens
        for step in range(first, first + BATCHES):
            yield data.batch(self.training_ids, step, self.settings.batch_size, tokens, self.settings.seed)

    def _pass_over(self, batches: list[tuple[Ids, Ids]]) -> None:
        graph, size = self.graph, self.graph.batch
        inputs, self.targets = (np.concatenate(part) for part in zip(*batches, strict=True))
        settings, losses, run = self.settings, [], Pass(graph.tokens)
        dropping = Pass(graph.tokens, settings.dropout, settings.seed, self.checkpoint.history.num_steps)
        graph.forward(inputs[:size], dropping)
        dropped = float(graph.head.loss(self.targets[:size].reshape(-1), None).mean(dtype=np.float64))
        logits = graph.forward(inputs[:size], run)  # become their own gradient below
        self.logits.add(logits - logits.mean(1, keepdims=True))
        for first in range(0, len(inputs), size):
            rows = slice(first, first + size)
            graph.accumulate_gradients(inputs[rows], self.targets[rows], run, 1.0 / inputs.size)
            losses.append(graph.head.losses.reshape(size, -1).astype(np.float64))
            self.embedded.add(graph.embedding.table[inputs[rows]])
            for layer in self.layers:
                layer.add()
                if first == 0:
                    layer.heads = attention_heads(layer.block.attention.qkv, graph.model.config, min(size, ATTENTION_SEQUENCES))
        self.losses = np.concatenate(losses)
        self.dropout_cost = dropped - float(losses[0].mean()) if settings.dropout else 0.0

    def report(self) -> Diagnosis:
        checkpoint, factor = self.checkpoint, float(self.losses.size)
        model = checkpoint.model
        training, updates = self._updates()
        outputs = [layer.norm.input(factor) for layer in self.layers[1:]] + [self.head_norm.input(factor)]
        positions = self.graph.embedding.positions
        gradients = model.layout.stored(self.graph.gradients)
        matrices = matrices_by_layer(model.layout, len(self.layers))
        return Diagnosis(
            config=model.config,
            training=training,
            embedding=EmbeddingReport(
                rms=self.embedded.rms(),
                positional_rms=None if positions is None else rms(positions[: self.graph.tokens]),
                update_to_weight=updates("token_embedding"),
            ),
            layers=[
                layer.report(number, factor, output, updates(*names), [gradients[name] for name in names])
                for number, (layer, output, names) in enumerate(zip(self.layers, outputs, matrices, strict=True))
            ],
            output=OutputReport(
                norm=self.head_norm.output(factor),
                norm_gains=self.head_norm.gains(),
                logits_std=self.logits.rms(),
                weights_rms=rms(model.tensors["head_map_weights"]),
                update_to_weight=updates("head_map_weights"),
            ),
            data=self._data(),
            updates={name: updates(name) for name in model.layout.tensors},
            not_finite_weights=_not_finite(model.tensors),
            not_finite_gradients=_not_finite(model.layout.views(self.graph.gradients)),
        )

    def _settings(self) -> TrainConfig:
        """Those of the training; what a run decides of its learning rate is as in the last one."""
        training, last = self.checkpoint.training, last_settings(self.checkpoint)
        lengths = {name: getattr(last, name) for name in ("warmup_steps", "decay_steps") if getattr(training, name) is None}
        return replace(training, **lengths)

    def _updates(self) -> tuple[TrainingReport, Callable[..., float]]:
        """Where training stands, and the update-to-weight ratio of named tensors, from the optimiser's next step on a copy.

        Without its weight decay, which would hide that a gradient has vanished.
        """
        model, stored, settings = self.checkpoint.model, self.checkpoint.optimizer, self._settings()
        optimizer = stored.copy() if stored else optimizers.make(model.layout, settings)
        step = optimizer.step
        rate, gradient_norm = learning_rate(step, settings), norm(self.graph.gradients)
        after = model.parameters.copy()
        without_decay = replace(settings, weight_decay=0.0, weight_decays={})
        optimizer.update(after, self.graph.gradients, rate, without_decay, gradient_norm)
        before, changes = model.layout.stored(model.parameters), model.layout.stored(after - model.parameters)

        def ratio(*names: str) -> float:
            change, weight = _Mean(), _Mean()
            for name in names:
                change.add(changes[name])
                weight.add(before[name])
            return change.rms() / weight.rms() if weight.sum else math.nan

        losses = self.checkpoint.history.losses
        recent, earlier = losses[-RECENT_STEPS:], losses[-2 * RECENT_STEPS : -RECENT_STEPS]
        report = TrainingReport(
            steps=self.checkpoint.history.num_steps,
            optimizer_step=step,
            warmup_steps=peak_step(settings),
            learning_rate=rate,
            peak_learning_rate=settings.learning_rate,
            dropout=settings.dropout,
            dropout_cost=self.dropout_cost,
            recent_loss=self.checkpoint.history.recent_loss(RECENT_STEPS) if len(recent) else None,
            earlier_loss=float(earlier.mean()) if len(earlier) == RECENT_STEPS else None,
            gradient_norm=gradient_norm,
            clip_norm=settings.clip_norm,
            epsilon=optimizer.least_gradient(settings),
            optimizer=optimizer.TITLE,
            overfitting=overfitting(self.checkpoint.history),
            matrix_factor=settings.learning_rate_factors.get("matrix", 1.0),
        )
        return report, ratio

    def _data(self) -> DataReport:
        dataset, tokenizer = self.dataset, self.checkpoint.tokenizer
        counts = data.counts(dataset.ids, tokenizer.vocab_size)
        frequency_losses = np.log(len(dataset.ids) / np.maximum(counts, 1))[self.targets]
        advantage = frequency_losses - self.losses
        early, late = advantage[:, :2].mean(1), advantage[:, advantage.shape[1] // 2 :].mean(1)
        return DataReport(
            name=dataset.name,
            dataset_tokens=len(dataset.ids),
            measured_tokens=self.losses.size,
            unknown_share=dataset.unknown_share,
            loss=float(self.losses.mean()),
            frequency_loss=float(frequency_losses.mean()),
            uniform_loss=math.log(tokenizer.vocab_size),
            unigram_entropy=data.unigram_entropy(counts),
            by_position=[
                PositionLoss(
                    first + 1, last, float(self.losses[:, first:last].mean()), float(frequency_losses[:, first:last].mean())
                )
                for first, last in position_buckets(self.losses.shape[1])
            ],
            advantage_early=float(early.mean()),
            advantage_late=float(late.mean()),
            advantage_error=float((late - early).std() / math.sqrt(len(early))),
            known=known_data.recognise(dataset.ids, tokenizer),
        )


def attention_heads(qkv: Floats, config: ModelConfig, sequences: int) -> list[HeadReport]:
    """Entropy and distance of every head over the first sequences of qkv (B*T, 3d), queries and keys already rotated.

    The first query, which has nothing to choose from, does not count; with T = 1 all is 0.
    """
    tokens, hs = config.num_tokens, config.head_size
    if tokens == 1:
        return [HeadReport(0.0, 0.0)] * config.num_heads
    rows = max(1, ATTENTION_ELEMENTS // tokens)
    reports = []
    for head in range(config.num_heads):
        entropy = distance = 0.0
        for sequence in range(sequences):
            own = qkv[sequence * tokens : (sequence + 1) * tokens].astype(np.float64)
            queries, keys = (own[:, part * hs : (part + 1) * hs] for part in (head, config.num_heads + head))
            for first in range(1, tokens, rows):
                back = np.arange(first, min(first + rows, tokens))[:, None] - np.arange(tokens)
                p = _causal_softmax(queries[first : first + rows] @ keys.T / math.sqrt(hs), back)
                of_uniform = np.log(1.0 + back[:, :1])
                entropy -= float((p * np.log(np.maximum(p, 1e-300)) / of_uniform).sum())
                distance += float((p * back).sum())
        count = sequences * (tokens - 1)
        reports.append(HeadReport(entropy / count, distance / count))
    return reports


def _causal_softmax(scores: Doubles, back: NDArray[np.int64]) -> Doubles:
    """Probabilities of scores (queries, T), none where `back`, how far the key lies behind the query, is negative."""
    scores = np.where(back >= 0, scores, -np.inf)
    p: Doubles = np.exp(scores - scores.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    return p


def position_buckets(tokens: int) -> list[tuple[int, int]]:
    """Ranges of positions [first, last), counted from 0, that double: 1, 2-3, 4-7, …

    >>> position_buckets(10)
    [(0, 1), (1, 3), (3, 7), (7, 10)]
    """
    starts = [2**power - 1 for power in range(tokens.bit_length()) if 2**power - 1 < tokens]
    return list(zip(starts, [*starts[1:], tokens], strict=True))


def matrices_by_layer(layout: ParameterLayout, layers: int) -> list[list[str]]:
    """The names of each layer's matrices."""
    found: list[list[str]] = [[] for _ in range(layers)]
    for name, tensor in layout.tensors.items():
        if tensor.layer is not None and tensor.role == "matrix":
            found[tensor.layer].append(name)
    return found


def rms(x: Floats | Doubles) -> float:
    return float(np.sqrt(np.mean(np.square(x, dtype=np.float64))))


def _not_finite(tensors: dict[str, Floats]) -> list[str]:
    return [name for name, tensor in tensors.items() if not np.isfinite(tensor).all()]
