"""What a diagnosis means, in plain words with the numbers behind them. docs/diagnose.md says where the thresholds come from."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass

from femto.analysis.diagnosis.records import Diagnosis, LayerReport
from femto.config import PRESETS
from femto.system.text import counted

SMALL_GAIN = 0.2  # RMS; healthy 0.55 to 1.1, the reference initializer 0.02
POSITIONAL_RATIO = 10.0  # table to embedding; the journal's 33 to 35
UNIFORM_ENTROPY = 0.99  # of every head; untrained modern models 0.97 to 0.99 a head, never all of them above
VANISHING_GRADIENT = 30.0  # from the last layer to the smallest
SMALL_UPDATE = 1e-4  # of the weights, at the peak of the learning rate; healthy 6e-4 to 9e-3
LARGE_UPDATE = 0.05  # of the weights, now
DEAD_SHARE = 0.1
UNKNOWN_SHARE = 0.01
PLATEAU = 0.02  # relative distance from a plateau
FLAT = 0.01  # relative fall of the training loss over RECENT_STEPS
CONTEXT_USE = 0.04  # gain from more context, relative to the loss of the token frequencies
DROPOUT_COST = 0.2  # relative to the loss

MODERN_RATE = PRESETS["modern"].training.learning_rate
MODERN = "make a new model with --preset modern"


@dataclass(frozen=True)
class Finding:
    """Something that is wrong."""

    code: str  # stable name
    message: str  # what is measured, one sentence
    advice: str  # what to do
    numbers: dict[str, float]  # behind the message


def find(diagnosis: Diagnosis) -> list[Finding]:
    """Everything that is wrong with a model, causes before symptoms; empty for a healthy one."""
    if diagnosis.not_finite_weights or diagnosis.not_finite_gradients:
        return _not_finite(diagnosis)
    return [finding for check in CHECKS if (finding := check(diagnosis)) is not None]


def _not_finite(diagnosis: Diagnosis) -> list[Finding]:
    """Nothing else can be said of such a model."""
    peak = diagnosis.training.peak_learning_rate
    clip = "" if 0.0 < diagnosis.training.clip_norm <= 1.0 else " and --clip-norm 1"
    for what, names in (("weights", diagnosis.not_finite_weights), ("gradients", diagnosis.not_finite_gradients)):
        if names:
            more = f" and {counted(len(names) - 1, 'more tensor')}" if len(names) > 1 else ""
            return [
                Finding(
                    f"not_finite_{what}",
                    f"{what} are not finite in {names[0]}{more}",
                    f"go back to an earlier checkpoint; train with a --learning-rate below {peak:g}{clip}",
                    {"tensors": len(names)},
                )
            ]
    return []


def _small_gains(diagnosis: Diagnosis) -> Finding | None:
    layers = diagnosis.layers
    gains = [gains.rms for layer in layers for gains in (layer.norm_gains, layer.atten_norm_gains)]
    small = [gain for gain in (*gains, diagnosis.output.norm_gains.rms) if gain < SMALL_GAIN]
    if not small:
        return None
    gain = statistics.median(small)
    shrink = 1 / max(gain, 1e-30)
    reference = diagnosis.config.initializer == "reference"
    cause = ": the reference initializer" if reference else ""
    again = "" if diagnosis.config.block == "pre-norm" else ", and the residual starts from there"
    return Finding(
        "small_norm_gains",
        f"norm gains of {gain:.2g} (RMS, in {len(small)} of {len(gains) + 1} LayerNorms) shrink the signal {shrink:,.0f}-fold "
        f"in each{again}{cause}",
        f"{MODERN}: gains start at 1, and a residual stream goes round them"
        if reference
        else "weight decay has shrunk them: start again with a lower --learning-rate, or --weight-decay-of gain=0",
        {"gain_rms": gain, "shrink": shrink, "norms": len(small)},
    )


def _positional_table(diagnosis: Diagnosis) -> Finding | None:
    embedding, table = diagnosis.embedding.rms, diagnosis.embedding.positional_rms
    if table is None or table < POSITIONAL_RATIO * embedding:
        return None
    ratio = table / max(embedding, 1e-30)
    return Finding(
        "positional_table_drowns_embeddings",
        f"the positional table (RMS {table:.2g}) is {ratio:,.0f} times larger than the token embeddings ({embedding:.2g}): "
        "the first layer sees positions, hardly tokens",
        "make a new model with --positional-encoding rotary (or learned, or none)",
        {"positional_rms": table, "embedding_rms": embedding, "ratio": ratio},
    )


def _uniform_attention(diagnosis: Diagnosis) -> Finding | None:
    lowest = min(head.entropy for layer in diagnosis.layers for head in layer.heads)
    if lowest < UNIFORM_ENTROPY or diagnosis.config.num_tokens == 1:
        return None
    return Finding(
        "uniform_attention",
        f"no head of any layer looks anywhere in particular: attention entropy is at least {lowest:.4f} of that of looking at "
        "all earlier tokens alike",
        "queries and keys are too small to choose: repair what makes the signal small, or train longer",
        {"lowest_entropy": lowest},
    )


def _vanishing_gradient(diagnosis: Diagnosis) -> Finding | None:
    last = diagnosis.layers[-1].output.gradient_rms
    smallest = min(diagnosis.layers, key=lambda layer: layer.output.gradient_rms)
    here = smallest.output.gradient_rms
    if here * VANISHING_GRADIENT > last or last == 0.0:
        return None
    ratio = last / max(here, 1e-300)
    return Finding(
        "vanishing_gradient",
        f"the gradient of layer {smallest.layer} ({here:.1e}) is {ratio:,.0f} times smaller than that of layer "
        f"{diagnosis.layers[-1].layer} ({last:.1e})",
        f"{MODERN}: its residual stream carries the gradient through; or use fewer layers",
        {"layer": smallest.layer, "gradient_rms": here, "last_gradient_rms": last, "ratio": ratio},
    )


def _updates_at_peak(diagnosis: Diagnosis) -> list[tuple[float, LayerReport]]:
    training = diagnosis.training
    if training.matrix_factor == 0.0 or (training.learning_rate == 0.0 and training.peak_learning_rate):
        return []  # they are frozen on purpose, or this is step 0 of the warm-up: there is no update yet
    scale = training.peak_learning_rate / training.learning_rate if training.learning_rate else 1.0
    return [(layer.update_to_weight * scale, layer) for layer in diagnosis.layers]


def _rate(diagnosis: Diagnosis) -> str:
    """The learning rate of the matrices now, and its factor if they have one of their own."""
    training = diagnosis.training
    factor = "" if training.matrix_factor == 1.0 else f" (times {training.matrix_factor:g} for matrices)"
    return f"learning rate {training.learning_rate:.1e}{factor}"


def _other_rate(diagnosis: Diagnosis, higher: bool) -> str:
    """What to train with instead: the modern preset's rate, if that is in the right direction."""
    peak = diagnosis.training.peak_learning_rate
    if peak < MODERN_RATE if higher else peak > MODERN_RATE:
        return f"--learning-rate {MODERN_RATE:g} is the modern preset's"
    return f"take a --learning-rate {'above' if higher else 'below'} {peak:g}"


def _small_updates(diagnosis: Diagnosis) -> Finding | None:
    small = [(update, layer) for update, layer in _updates_at_peak(diagnosis) if update < SMALL_UPDATE]
    if not small:
        return None
    layer = min(small, key=lambda pair: pair[0])[1]
    training, epsilon = diagnosis.training, diagnosis.training.epsilon
    message = f"{training.optimizer}'s updates are {layer.update_to_weight:.1e} of the weights in layer {layer.layer}"
    message += f", below {SMALL_UPDATE:.0e} in {len(small)} of {len(diagnosis.layers)} layers (1e-3 is usual)"
    advice = "repair what makes the gradient small there"
    if epsilon is not None and layer.weight_gradient_rms < epsilon:
        message += f": their gradient, {layer.weight_gradient_rms:.1e}, is below its epsilon, {epsilon:.0e}"
    else:
        message += f" at {_rate(diagnosis)}"
        if training.matrix_factor != 1.0:
            advice = "is --learning-rate-factor matrix meant to be so small?"
        elif len(small) == len(diagnosis.layers):
            advice = f"the learning rate is too low: {_other_rate(diagnosis, higher=True)}"
    return Finding(
        "small_updates", message, advice, {"layer": layer.layer, "update_to_weight": layer.update_to_weight, "layers": len(small)}
    )


def _large_updates(diagnosis: Diagnosis) -> Finding | None:
    update, layer = max(((layer.update_to_weight, layer) for layer in diagnosis.layers), key=lambda pair: pair[0])
    if not update > LARGE_UPDATE:
        return None
    return Finding(
        "large_updates",
        f"{diagnosis.training.optimizer}'s updates are {update:.2f} of the weights in layer {layer.layer} (1e-3 is usual) at "
        f"{_rate(diagnosis)}",
        f"the learning rate is too high: {_other_rate(diagnosis, higher=False)}",
        {"layer": layer.layer, "update_to_weight": update},
    )


def _dead_gelu(diagnosis: Diagnosis) -> Finding | None:
    worst = max(diagnosis.layers, key=lambda layer: layer.dead_gelu_share)
    if worst.dead_gelu_share < DEAD_SHARE:
        return None
    return Finding(
        "dead_gelu_units",
        f"{worst.dead_gelu_share:.0%} of the GELU units of layer {worst.layer} are dead: far below zero at every token",
        "they come from a learning rate that was too high: go back to an earlier checkpoint and lower --learning-rate",
        {"layer": worst.layer, "share": worst.dead_gelu_share},
    )


def _dropout(diagnosis: Diagnosis) -> Finding | None:
    training, loss = diagnosis.training, diagnosis.data.loss
    if not training.dropout or training.dropout_cost < DROPOUT_COST * loss:
        return None
    return Finding(
        "dropout_cost",
        f"dropout {training.dropout:g} raises the loss by {training.dropout_cost:.3f} nats, from {loss:.3f}",
        "--dropout 0, unless the validation loss rises while the training loss falls",
        {"dropout": training.dropout, "cost": training.dropout_cost, "loss": loss},
    )


def _warmup(diagnosis: Diagnosis) -> Finding | None:
    training = diagnosis.training
    if training.optimizer_step >= training.warmup_steps or training.learning_rate >= training.peak_learning_rate:
        return None
    return Finding(
        "warm_up",
        f"the learning rate is still in the warm-up: {training.learning_rate:.2g} at step {training.optimizer_step} of "
        f"{training.warmup_steps}, on the way to {training.peak_learning_rate:g}",
        "train on: what the loss says so early means little",
        {"step": training.optimizer_step, "warmup_steps": training.warmup_steps, "learning_rate": training.learning_rate},
    )


def _unknown(diagnosis: Diagnosis) -> Finding | None:
    share = diagnosis.data.unknown_share
    if share < UNKNOWN_SHARE:
        return None
    return Finding(
        "unknown_tokens",
        f"{share:.1%} of the data is <unk>: the tokenizer lacks those characters",
        "make the tokenizer from this text (--tokenizer char, or train-bpe), or use --tokenizer byte",
        {"share": share},
    )


def _loss(diagnosis: Diagnosis) -> Finding | None:
    """At most one of these: above ln V, above the token frequencies, at them, or at a known plateau."""
    measured, training = diagnosis.data, diagnosis.training
    loss, frequency_loss = measured.loss, measured.frequency_loss
    if training.optimizer_step < training.warmup_steps:
        return None
    numbers = {"loss": loss, "frequency_loss": frequency_loss, "unigram_entropy": measured.unigram_entropy}
    if loss > measured.uniform_loss:
        return Finding(
            "loss_above_uniform",
            f"the loss {loss:.3f} is above ln V = {measured.uniform_loss:.3f}: guessing blindly is better",
            "is this the data that it was trained on? Else the learning rate was too high: start again with a lower one",
            {**numbers, "uniform_loss": measured.uniform_loss},
        )
    if loss > (1 + PLATEAU) * frequency_loss:
        return Finding(
            "loss_above_unigram",
            f"the loss {loss:.3f} is above the entropy of the token frequencies ({frequency_loss:.3f}): the model does not know "
            "even how often each token occurs",
            "train on, and repair what the other findings name",
            numbers,
        )
    if loss > (1 - PLATEAU) * frequency_loss:
        return Finding(
            "unigram_plateau",
            f"the loss {loss:.3f} is the entropy of the token frequencies ({frequency_loss:.3f}): the model knows how often "
            "each token occurs and nothing of their order",
            "repair what the other findings name; training longer seldom helps",
            numbers,
        )
    return _known_plateau(diagnosis)


def _known_plateau(diagnosis: Diagnosis) -> Finding | None:
    known, training, loss = diagnosis.data.known, diagnosis.training, diagnosis.data.loss
    recent, earlier = training.recent_loss, training.earlier_loss
    if known is None or recent is None or earlier is None or earlier - recent > FLAT * earlier:
        return None
    for stage in known.plateaus:
        if abs(loss - stage.loss) < PLATEAU * stage.loss:
            return Finding(
                "known_plateau",
                f"the loss {loss:.3f} has stopped at {stage.loss:.3f}, which on {known.name} means that the model knows "
                f"{stage.meaning} (floor {known.floor:.3f})",
                f"train longer, or {MODERN}",
                {"loss": loss, "plateau": stage.loss, "floor": known.floor, "recent_loss": recent, "earlier_loss": earlier},
            )
    return None


def _no_context(diagnosis: Diagnosis) -> Finding | None:
    measured, training = diagnosis.data, diagnosis.training
    gain = measured.advantage_late - measured.advantage_early
    limit = CONTEXT_USE * measured.frequency_loss
    if training.optimizer_step < training.warmup_steps or diagnosis.config.num_tokens < 8:
        return None
    if gain + 2 * measured.advantage_error > limit or not limit:  # nothing to gain where all tokens are the same
        return None
    return Finding(
        "no_use_of_context",
        f"the loss does not fall with the position in the context ({gain:.3f} ± {measured.advantage_error:.3f} nats from its "
        "first two tokens to its second half): the model uses no context",
        "train on if the loss still falls; else repair what the other findings name",
        {"gain": gain, "standard_error": measured.advantage_error},
    )


def _overfitting(diagnosis: Diagnosis) -> Finding | None:
    found = diagnosis.training.overfitting
    if found is None:
        return None
    dropout = min(0.5, max(0.1, 2.0 * diagnosis.training.dropout))  # twice what there is
    return Finding(
        "overfitting",
        str(found),
        f"train again with --keep-best or --patience; or take more text, a smaller model, or --dropout {dropout:g}",
        {"best": found.best, "best_step": found.best_step, "last": found.last, "last_step": found.last_step},
    )


CHECKS: tuple[Callable[[Diagnosis], Finding | None], ...] = (
    _small_gains,
    _positional_table,
    _vanishing_gradient,
    _small_updates,
    _large_updates,
    _uniform_attention,
    _dead_gelu,
    _dropout,
    _unknown,
    _overfitting,
    _loss,
    _no_context,
    _warmup,
)
