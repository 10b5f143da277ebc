"""What `femto.diagnosis` measures, as records.

B sequences of T tokens, R = B*T rows, d embedding degree, V vocabulary. Losses and entropies are in nats a token; RMS is the root
mean square over all elements. The gradient of a signal is that of the sum of the losses, so that it does not depend on how many
tokens were measured.
"""

from dataclasses import dataclass

from femto.analysis.diagnosis.known_data import KnownData
from femto.config import ModelConfig
from femto.system.text import described
from femto.training.overfitting import Overfitting


@dataclass(frozen=True)
class Signal:
    """Size of a signal (R, columns) and of its gradient."""

    rms: float
    gradient_rms: float


@dataclass(frozen=True)
class Gains:
    """The gains (d,) of a LayerNorm."""

    mean: float
    min: float
    max: float
    rms: float


@dataclass(frozen=True)
class HeadReport:
    """Where an attention head looks: means over queries."""

    entropy: float  # of its probabilities, divided by that of looking at all earlier tokens alike: 0 to 1
    distance: float  # tokens back; 0 is the query's own token


@dataclass(frozen=True)
class LayerReport:
    """One transformer layer."""

    layer: int
    input: Signal  # the stream that comes in
    norm: Signal  # after the first LayerNorm
    attention_rms: float  # what attention adds; its gradient is that of `middle`
    middle: Signal  # the stream between the halves
    atten_norm: Signal  # after the second LayerNorm
    feedforward_rms: float  # what the feed-forward half adds; its gradient is that of `output`
    output: Signal  # the stream that goes out
    norm_gains: Gains
    atten_norm_gains: Gains
    dead_gelu_share: float  # of the 4d units, those that passed no gradient on at any token
    update_to_weight: float  # RMS of the optimiser's next update, decay aside, over that of the weights, all matrices together
    weight_gradient_rms: float  # of the same matrices
    heads: list[HeadReport]


@dataclass(frozen=True)
class EmbeddingReport:
    """The token embedding, over the tokens that were measured, and the positional table beside it."""

    rms: float
    positional_rms: float | None  # None without a table
    update_to_weight: float


@dataclass(frozen=True)
class OutputReport:
    """Final LayerNorm and head_map."""

    norm: Signal
    norm_gains: Gains
    logits_std: float  # standard deviation of a token's logits over the vocabulary, RMS over tokens
    weights_rms: float
    update_to_weight: float


@dataclass(frozen=True)
class PositionLoss:
    """Loss at positions first to last of the context, from 1; beside it that of the token frequencies on the same targets."""

    first: int
    last: int
    loss: float
    frequency_loss: float


@dataclass(frozen=True)
class DataReport:
    """The loss, and what it is to be compared with."""

    name: str
    dataset_tokens: int
    measured_tokens: int
    unknown_share: float  # of the data set, 0 to 1
    loss: float
    frequency_loss: float  # on the measured tokens, of a model that knows the frequencies in the data set and nothing else
    uniform_loss: float  # ln V
    unigram_entropy: float  # of the token frequencies in the data set
    by_position: list[PositionLoss]
    advantage_early: float  # frequency_loss - loss at the first two positions
    advantage_late: float  # the same over the second half of the context
    advantage_error: float  # standard error of the difference of the two, over windows
    known: KnownData | None  # one of the journal's dummy sets, its losses in nats a token


@dataclass(frozen=True)
class TrainingReport:
    """Where training stands."""

    steps: int
    optimizer_step: int  # counts from the last reset
    warmup_steps: int  # updates before the learning rate is at its peak
    learning_rate: float  # of the next step
    peak_learning_rate: float
    dropout: float
    dropout_cost: float  # by how much it raises the loss, nats a token
    recent_loss: float | None  # mean of the last 100 training losses (or of fewer), with dropout
    earlier_loss: float | None  # mean of the 100 before them; None if there are fewer
    gradient_norm: float
    clip_norm: float
    epsilon: float | None  # the size of a gradient below which the optimiser's updates shrink with it
    optimizer: str  # for people: AdamW
    overfitting: Overfitting | None
    matrix_factor: float  # what the learning rate is multiplied with for the matrices of the layers


@dataclass(frozen=True)
class Diagnosis:
    """All that was measured."""

    config: ModelConfig
    training: TrainingReport
    embedding: EmbeddingReport
    layers: list[LayerReport]
    output: OutputReport
    data: DataReport
    updates: dict[str, float]  # update to weight, decay aside, of every stored tensor; NaN where the weights are all zero
    not_finite_weights: list[str]  # names of tensors
    not_finite_gradients: list[str]

    def __repr__(self) -> str:
        loss, tokens = round(self.data.loss, 4), self.data.measured_tokens
        return described(self, **self.config.letters, loss=loss, measured_tokens=tokens)
