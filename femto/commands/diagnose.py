"""`femto diagnose`: why a model is stuck."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from femto.commands.shared import model_text
from femto.commands.shared.command_line import command
from femto.commands.shared.notes import note
from femto.commands.shared.options import (
    OrAuto,
    Texts,
    json_option,
    model_dataset_option,
    option,
    print_json,
    threads_option,
)
from femto.system.text import counted

if TYPE_CHECKING:
    from femto.analysis.diagnosis import Finding
    from femto.analysis.diagnosis.records import DataReport, Diagnosis, LayerReport

COLUMNS = (
    "layer",
    "in",
    "norm",
    "attn",
    "norm2",
    "ff",
    "out",
    "gradient",
    "update",
    "gain",
    "gain2",
    "dead",
    "entropy",
    "distance",
)


@command("Look into models", "say why a model is stuck", place=30)
@click.argument("path", metavar="[MODEL]", required=False, type=click.Path())
@option("--model", "-m", type=click.Path(), default_text="model.dat", help="The file of the model, another way to give MODEL.")
@model_dataset_option
@option(
    "--batch-size",
    type=OrAuto(click.IntRange(1, 1_048_576)),
    default_text="as in training",
    help="How many windows of the text each of the four measured batches has.",
)
@threads_option
@json_option
def diagnose(path: str | None, model: str | None, dataset: Texts | None, batch_size: int | None, as_json: bool) -> None:
    """Measure the model MODEL at work, and say why it is stuck and what to do.

    Four batches are computed forward and backward: those that the next steps of training would take from the text. The model does
    not change. The report shows the sizes of signals, gradients and updates, the attention and the loss, then the findings.
    docs/diagnose.md of the source explains each of them.
    """
    from femto import checkpoint, data
    from femto.analysis.diagnosis import diagnose as measure
    from femto.analysis.diagnosis import find
    from femto.training.notes import short_text

    if None not in (path, model):
        raise click.UsageError("give the model once, as MODEL or as --model")
    model = path or model or "model.dat"
    loaded = checkpoint.load(model)
    read = model_text.read(dataset, loaded)
    diagnosis = measure(loaded, read, batch_size)
    training_ids, _ = data.split(read.ids, loaded.training.validation_split, read.name)
    if told := short_text(training_ids, loaded.model.config.num_tokens, read.name):
        note(told)
    found = find(diagnosis)
    if as_json:
        print_json({"model": model, **asdict(diagnosis), "findings": [asdict(finding) for finding in found]})
        return
    for line in (*model_lines(model, diagnosis), "", *data_lines(diagnosis.data), "", *finding_lines(diagnosis, found)):
        click.echo(line)


def model_lines(model: str, diagnosis: "Diagnosis") -> list[str]:
    """Training, the table of layers, embedding and output."""
    training, embedding, output = diagnosis.training, diagnosis.embedding, diagnosis.output
    table = "" if embedding.positional_rms is None else f", positional table {embedding.positional_rms:.2g}"
    rows = [COLUMNS, *(layer_cells(layer) for layer in diagnosis.layers)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    dropout = f", dropout {training.dropout:g} costs {training.dropout_cost:.3f} nats" if training.dropout else ""
    return [
        f"{model}: {diagnosis.config.num_parameters:,} parameters, {counted(training.steps, 'step')}; learning rate "
        f"{training.learning_rate:.2g} of {training.peak_learning_rate:g}{dropout}",
        f"embedding {embedding.rms:.2g}{table}; update {embedding.update_to_weight:.1e}",
        *("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows),
        f"output: norm {output.norm.rms:.2g}, gain {output.norm_gains.rms:.2g}, head_map {output.weights_rms:.2g}, "
        f"logits {output.logits_std:.2g}; update {output.update_to_weight:.1e}; gradient norm {training.gradient_norm:.2g}",
        "(RMS of signals, gradient of the layer's output, next update over the weights, RMS gains, share of dead GELU units,",
        " attention entropy over that of looking everywhere alike: lowest to highest head, mean distance in tokens)",
    ]


def layer_cells(layer: "LayerReport") -> tuple[str, ...]:
    """One row of the table."""
    entropies, distances = [head.entropy for head in layer.heads], [head.distance for head in layer.heads]
    return (
        str(layer.layer),
        f"{layer.input.rms:.2g}",
        f"{layer.norm.rms:.2g}",
        f"{layer.attention_rms:.2g}",
        f"{layer.atten_norm.rms:.2g}",
        f"{layer.feedforward_rms:.2g}",
        f"{layer.output.rms:.2g}",
        f"{layer.output.gradient_rms:.1e}",
        f"{layer.update_to_weight:.1e}",
        f"{layer.norm_gains.rms:.2g}",
        f"{layer.atten_norm_gains.rms:.2g}",
        f"{layer.dead_gelu_share:.0%}",
        f"{min(entropies):.2f}-{max(entropies):.2f}",
        f"{min(distances):.0f}-{max(distances):.0f}",
    )


def data_lines(measured: "DataReport") -> list[str]:
    """The loss and what it is compared with."""
    lines = [
        f"{measured.name}: {counted(measured.dataset_tokens, 'token')}, {measured.measured_tokens:,} measured, "
        f"{measured.unknown_share:.2%} <unk>",
        f"loss {measured.loss:.4f} nats a token; ln V {measured.uniform_loss:.4f}; token frequencies "
        f"{measured.frequency_loss:.4f} there, {measured.unigram_entropy:.4f} in all",
    ]
    if measured.known:
        stages = "".join(f"; {stage.loss:.3f}: {stage.meaning}" for stage in measured.known.plateaus)
        lines.append(f"known data {measured.known.name}: floor {measured.known.floor:.3f}{stages}")
    buckets = (f"{_range(bucket.first, bucket.last)} {bucket.loss:.3f}" for bucket in measured.by_position)
    return [*lines, "by position: " + ", ".join(buckets)]


def _range(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"


def finding_lines(diagnosis: "Diagnosis", found: "list[Finding]") -> list[str]:
    """The findings, numbered, each with its advice; or that there are none."""
    if found:
        lines = [f"findings: {len(found)}"]
        for number, finding in enumerate(found, 1):
            lines += [f"{number}. {finding.message}", f"   {finding.advice}"]
        return lines
    updates = [layer.update_to_weight for layer in diagnosis.layers]
    gains = [gains.rms for layer in diagnosis.layers for gains in (layer.norm_gains, layer.atten_norm_gains)]
    lowest = min(head.entropy for layer in diagnosis.layers for head in layer.heads)
    measured = diagnosis.data
    return [
        f"no findings: loss {measured.loss:.3f} against {measured.frequency_loss:.3f} of the token frequencies, "
        f"gains {min(gains):.2f} to {max(gains):.2f}, updates {min(updates):.1e} to {max(updates):.1e} of the weights, "
        f"most selective head {lowest:.2f}"
    ]
