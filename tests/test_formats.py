"""Files of every version so far are read, and what they began goes on as it would have gone on."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest
from click.testing import CliRunner

import femto
from femto import kernels, tokenizers
from femto.commands import main
from tests.fixed_runs import trained

FORMATS = Path(__file__).with_name("formats")
VERSIONS = sorted(path for path in FORMATS.iterdir() if path.is_dir() and path.name != "__pycache__")
STEPS = 5  # as in formats/write.py

files = pytest.mark.parametrize(
    "path", [pytest.param(p, id=f"{p.parts[-3]}-{p.stem}") for v in VERSIONS for p in v.glob("models/*")]
)
versions = pytest.mark.parametrize("version", VERSIONS, ids=lambda path: path.name)


def described(path):
    return json.loads((path.parents[1] / "models.json").read_bytes())[path.stem]


def run(*arguments):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code in (0, 3), result.output
    return json.loads(result.stdout)


@files
def test_a_model_says_what_it_said(path):
    told, checkpoint = described(path), femto.load(path)
    assert told["config"].items() <= asdict(checkpoint.model.config).items()
    assert told["training"].items() <= asdict(checkpoint.training).items()
    assert checkpoint.tokenizer.readable_tokens() == told["tokens"]
    assert checkpoint.model.parameters_sha256 == told["parameters_sha256"]
    assert checkpoint.optimizer_sha256 == told["optimizer_sha256"]
    assert (checkpoint.optimizer.step if checkpoint.optimizer else None) == told["optimizer_step"]
    assert checkpoint.history.entries == told["history"]
    assert checkpoint.history.losses.tolist() == told["losses"]


@files
@pytest.mark.parametrize("isa", kernels.supported_isas())
def test_a_model_goes_on_to_the_same_bytes_also_after_a_save(path, isa, tmp_path):
    femto.save(femto.load(path), tmp_path / "again.dat")
    before = kernels.isa()
    kernels.set_isa(isa)
    try:
        checkpoint = trained(femto.load(tmp_path / "again.dat"), STEPS, (path.parents[1] / "text.txt").read_text("ascii"))
    finally:
        kernels.set_isa(before)
    expected = described(path)["goes_on_to"]["base" if isa == "base" else "fused"]
    assert [checkpoint.model.parameters_sha256, checkpoint.optimizer_sha256] == expected


@versions
def test_tokenizers_give_the_same_ids(version):
    text = (version / "text.txt").read_text("ascii")
    for name, ids in json.loads((version / "tokenizers.json").read_bytes()).items():
        assert tokenizers.load(version / "tokenizers" / f"{name}.json").encode(text).tolist() == ids, name


@versions
def test_a_finished_run_is_judged_again_and_trains_nothing(version, tmp_path):
    shutil.copytree(version / "finished", tmp_path / "run")
    told = json.loads((version / "verdict.json").read_bytes())
    found = run("experiment", "run", version / "recipe.toml", "--folder", tmp_path / "run", "--json", "--quiet")
    for private in ("folder", "femto", "isa", "peak_memory"):
        told.pop(private, None)
    assert told.pop("shape").items() <= found["shape"].items()  # with fields that were added since
    assert {key: found[key] for key in told} == told


@versions
def test_a_stopped_run_goes_on_to_the_models_that_it_would_have_made(version, tmp_path):
    shutil.copytree(version / "stopped", tmp_path / "run")
    run("experiment", "run", version / "recipe.toml", "--folder", tmp_path / "run", "--json", "--quiet")
    for path in (version / "finished").glob("*.dat"):
        expected, found = femto.load(path), femto.load(tmp_path / "run" / path.name)
        if kernels.isa() != "base":  # they were made with fused multiply-add
            assert found.model.parameters_sha256 == expected.model.parameters_sha256, path.name


@versions
def test_losses_of_chunks_are_not_computed_again(version, tmp_path):
    shutil.copy(version / "chunks.json", tmp_path)
    arguments = ["--model", version / "models" / "trained.dat", "--dataset", version / "text.txt"]
    result = CliRunner().invoke(main, list(map(str, ["chunks", *arguments, "--output", tmp_path / "chunks.json"])))
    assert result.exit_code == 0 and "chunks are there already" in result.output


@versions
def test_metrics_are_appended_to(version, tmp_path):
    shutil.copy(version / "metrics.jsonl", tmp_path)
    shutil.copy(version / "models" / "trained.dat", tmp_path)
    before = (tmp_path / "metrics.jsonl").read_bytes()
    run(*("train", "--model", tmp_path / "trained.dat", "--dataset", version / "text.txt", "--steps", 1, "--json", "--quiet"),
        *("--metrics", tmp_path / "metrics.jsonl"))  # fmt: skip
    after = (tmp_path / "metrics.jsonl").read_bytes()
    assert after.startswith(before) and json.loads(after.splitlines()[-1])["event"] == "saved"
