"""The command line: through Click's runner, and for the main commands as real processes."""

import bz2
import gzip
import io
import json
import lzma
import math
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import femto
from femto.commands import main
from femto.system.signals import STOPPING

TEXT = "to be or not to be, that is the question;\n" * 40
SMALL = ["--num-tokens", "16", "--embedding-degree", "16", "--num-layers", "2", "--num-heads", "2", "--seed", "1"]


def run(*arguments, status=0, text=None):
    result = CliRunner().invoke(main, [str(a) for a in arguments], input=text)
    assert result.exit_code == status, result.output
    return result


def run_json(*arguments):
    return json.loads(run(*arguments, "--json").stdout)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("dataset.txt").write_text(TEXT)
    return tmp_path


@pytest.fixture
def model(folder):
    run("init", *SMALL)
    run("train", "--steps", 3, "--batch-size", 4, "--quiet")
    return folder / "model.dat"


def process(*arguments, **keywords):
    return subprocess.Popen(
        [sys.executable, "-m", "femto", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **keywords,
    )


def test_the_tour_from_nothing_to_text(folder):
    made = run("init", *SMALL, "--tokenizer", "char").stdout
    assert re.fullmatch(r"model\.dat: [\d,]+ parameters, \d+ tokens, seed 1\n", made)
    trained = run("train", "--steps", 5, "--batch-size", 4, "--validation-split", 0.2)
    assert "after 5 steps, 5 in all" in trained.stdout
    assert "step 1  loss" in trained.stderr
    assert re.search(r"validation loss \d\.\d+, \d\.\d+ bits a byte", trained.stderr)
    losses = run("loss", "--limit", 3).stdout.split()
    assert len(losses) == 3
    assert float(losses[0]) > 1
    assert run("infer", "to be", "--max-new-tokens", 20, "--seed", 1).stdout.startswith("to be")
    assert "bits a byte" in run("evaluate").stdout
    assert re.search(r"session on dataset.txt \([0-9a-f]{8}\), steps 1 to 5", run("info").stdout)


def test_reports_are_one_json_object(model):
    shown = run_json("info")
    assert shown["num_steps"] == 3 == len(shown["losses"])
    assert len(shown["parameters_sha256"]) == len(shown["optimizer_sha256"]) == 64
    assert shown["hyperparameters"]["head_size"] == 8
    assert run_json("loss") == {"losses": shown["losses"]}
    whole = run_json("evaluate")
    assert whole["tokens"] == len(TEXT) - 1
    assert run_json("evaluate", "--validation-split", 1.0) == whole
    assert run_json("evaluate", "--validation-split", 0.1)["tokens"] == len(TEXT) // 10 - 1
    inferred = run_json("infer", "be", "--max-new-tokens", 2, "--candidates", 3)
    assert [len(token["candidates"]) for token in inferred["tokens"]] == [3, 3]
    assert run_json("train", "--steps", 1, "--quiet")["num_steps"] == 4
    assert run_json("init", *SMALL, "--model", "b.dat")["num_parameters"] == shown["num_parameters"]
    bench = run_json("bench", *SMALL[:-2], "--steps", 2, "--vocab-size", 31, "--batch-size", 2)
    assert {"median_ms", "min_ms", "params", "flops_per_step", "gflops", "peak_gflops", "fraction_of_peak"} <= set(bench)
    assert {"peak_rss_mib", "threads", "isa"} <= set(bench)
    assert bench["flops_per_step"] == 2 * 16 * (6 * (2 * 12 * 16 * 16 + 16 * 31) + 6 * 2 * 16 * 16)


def test_bench_shows_every_kernel_of_a_step_and_the_speed_of_inference(folder):
    shape = ["--num-tokens", 16, "--embedding-degree", 16, "--num-layers", 2, "--num-heads", 2, "--batch-size", 2]
    table = run_json("bench", *shape, "--kernels", "--steps", 2)
    calls = {}
    for row in table["kernels"]:
        calls[row["kernel"]] = calls.get(row["kernel"], 0) + row["calls_per_step"]
    # each of two parts: a layer has four products, each with two in the backward pass, and the head one
    assert calls["matmul"] == 2 * 3 * (2 * 4 + 1)
    assert (calls["attention_forward"], calls["attention_backward"], calls["tree_sum"], calls["adamw"]) == (4, 4, 1, 1)
    assert all(row["share"] > 0 for row in table["kernels"])
    assert "outside kernels" in run("bench", *shape, "--kernels", "--steps", 1).stdout
    assert run_json("bench", *shape, "--infer", "--steps", 1)["tokens_per_second"] > 0
    told = run("bench", *shape, "--infer", "--steps", 1).stderr
    assert told.startswith("note: --batch-size would do nothing with --infer, which measures generation\n")


def test_bench_measures_the_model_and_the_batch_that_a_beginner_trains(folder):
    run("init")
    shape = femto.load("model.dat").model.config
    measured = run_json("bench", "--steps", 1, "--threads", 1)
    assert measured["params"] == shape.num_parameters
    assert measured["flops_per_step"] == shape.flops_per_token * femto.TrainConfig().batch_size * shape.num_tokens
    assert " parameters, 1 thread, " in run("bench", "--steps", 1, "--threads", 1).stdout


def test_candidates_look_as_in_the_original_program(model):
    shown = run("infer", "be", "--max-new-tokens", 1, "--candidates", 2, "--seed", 1).stdout.splitlines()[0]
    assert re.fullmatch(r"'.+': \[\('.+', \d+\.\d%\), \('.+', \d+\.\d%\)\]", shown)


def test_a_split_run_is_the_same_run(folder):
    settings = ["--dropout", 0.1, "--batch-size", 4, "--validation-split", 0.2, "--decay-steps", 40, "--quiet"]
    for name, parts in (("a.dat", [6]), ("b.dat", [2, 4])):
        run("init", *SMALL, "--model", name)
        for index, steps in enumerate(parts):
            # only the first session is told the settings: later ones go on with them
            run("train", "--model", name, "--steps", steps, *(settings if index == 0 else ["--quiet"]))
    a, b = run_json("info", "--model", "a.dat"), run_json("info", "--model", "b.dat")
    assert a["parameters_sha256"] == b["parameters_sha256"]
    assert a["optimizer_sha256"] == b["optimizer_sha256"]
    assert a["losses"] == b["losses"]


def test_metrics_are_json_lines(model):
    run("train", "--steps", 4, "--metrics", "m.jsonl", "--validation-split", 0.2, "--validate-every", 2, "--quiet")
    events = [json.loads(line) for line in Path("m.jsonl").read_text().splitlines()]
    assert [e["event"] for e in events] == [
        *["session", "step", "validation", "step", "step", "validation", "step", "validation", "saved"]
    ]
    steps = [e for e in events if e["event"] == "step"]
    assert [e["step"] for e in steps] == [4, 5, 6, 7]
    assert {e["model"] for e in events} == {"model.dat"}
    fields = ["event", "model", "step", "loss", "learning_rate", "gradient_norm", "seconds", "tokens_per_second"]
    assert list(steps[0]) == fields
    with Path("m.jsonl").open("a") as file:
        file.write('{"event": "st')  # what a killed process leaves
    run("train", "--steps", 1, "--metrics", "m.jsonl", "--quiet")
    assert metrics_in("m.jsonl")[: len(events)] == events


def metrics_in(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def test_metrics_have_each_step_once_whatever_was_killed_and_other_models_beside(folder):
    for name in ("a.dat", "b.dat"):
        run("init", *SMALL, "--model", name)
    command = ["train", "--batch-size", 4, "--save-every", 50, "--metrics", "m.jsonl"]
    run(*command, "--model", "b.dat", "--steps", 150, "--quiet")
    killed = process(*command, "--model", "./a.dat", "--until", 100_000)
    while not killed.stderr.readline().startswith("step 100 "):
        pass
    refused = run(*command, "--model", "b.dat", "--steps", 1, status=1).stderr
    assert refused == (
        f"Error: m.jsonl is in use by process {killed.pid}; choose another --metrics, as two runs cannot share one\n"
    )
    killed.kill()
    killed.communicate()
    reached = femto.load("a.dat").history.num_steps
    with Path("m.jsonl").open("a") as file:  # steps that were told of, and not saved
        file.writelines(f'{{"event": "step", "model": "a.dat", "step": {reached + i}}}\n' for i in range(1, 4))
    told = run(*command, "--model", "a.dat", "--until", reached + 10).stderr
    assert re.search(r"note: m.jsonl: dropped [\d,]+ lines of steps that were not saved", told)
    found = metrics_in("m.jsonl")
    for name, last in (("a.dat", reached + 10), ("b.dat", 150)):
        steps = [e["step"] for e in found if e["event"] == "step" and os.path.normpath(e["model"]) == name]
        assert steps == list(range(1, last + 1))
    ids = {e["model"]: e["model_id"] for e in found if e["event"] == "session"}
    assert ids["a.dat"] == ids["./a.dat"] == femto.load("a.dat").history.entries[0]["id"] != ids["b.dat"]
    # another model by the same name: what the file tells of the earlier one stays
    run("init", *SMALL, "--model", "a.dat", "--force")
    run(*command, "--model", "a.dat", "--steps", 1, "--quiet")
    assert metrics_in("m.jsonl")[: len(found)] == found


def test_samples_are_shown_while_training(model):
    shown = run("train", "--steps", 2, "--sample-every", 1, "--sample-prompt", "to be", "--sample-tokens", 5).stderr
    assert shown.count("to be") == 2


def test_characters_that_the_tokenizer_lacks_are_reported(model):
    Path("other.txt").write_text("to bé " * 50)
    for command in (["train", "--steps", 1, "--quiet"], ["evaluate"]):
        assert re.search(r"\d+\.\d\d% of other\.txt is <unk>", run(*command, "--dataset", "other.txt").stderr)
    assert "of the prompt is <unk>" in run("infer", "é", "--max-new-tokens", 1).stderr


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["train", "--dataset", "none.txt"], 1, "Error: none.txt: cannot read the data set: No such file"),
        (["train", "--model", "none.dat"], 1, "Error: none.dat: cannot read the model: No such file"),
        (["train", "--dropout", "1.5"], 2, "Error: --dropout must be a number from 0 to 0.99"),
        (["train", "--micro-batch-size", "3"], 2, "Error: --micro-batch-size must be auto (or 0), or divide batch_size 4"),
        (["train", "--steps", "-1"], 2, "Invalid value for '--steps'"),
        (["train", "--dataset", "empty.txt"], 1, "Error: empty.txt: the data set is empty"),
        (["train", "--metrics", "nowhere/m.jsonl"], 1, "Error: nowhere/m.jsonl: cannot write metrics"),
        (["train", "--metrics", "model.dat"], 1, "Error: model.dat is there and is no file of metrics"),
        (["train", "--metrics", "dataset.txt", "--steps", "0"], 1, "Error: dataset.txt is there and is no file of metrics"),
        (["info", "--model", "dataset.txt"], 1, "Error: dataset.txt: not a femto model"),
        (["init"], 1, "Error: model.dat exists"),
        (
            ["init", "--model", "b.dat", "--num-heads", "3"],
            2,
            "Error: --embedding-degree must be a multiple of the number of heads, 3, got 80",
        ),
        (["init", "--model", "b.dat", "--num-layers", "0"], 2, "Error: --num-layers must be"),
        (
            ["init", "--model", "b.dat", "--num-layers", "4096", "--embedding-degree", "65536", "--num-heads", "1"],
            1,
            "Error: a model of this shape needs 768.0 TiB of memory (parameters 768.0 TiB), but ",
        ),
        (["train", "--batch-size", "1048576", "--micro-batch-size", "1048576"], 1, "Error: training this model needs "),
        (["train", "--dataset", "sparse.txt"], 1, "Error: sparse.txt: a data set of this size needs 4.0 TiB of memory"),
        (["init", "--model", "b.dat", "--tokenizer", "bird"], 2, "Invalid value for '--tokenizer'"),
        (["init", "--model", "no/b.dat"], 1, "Error: no/b.dat: cannot write the model: No such file"),
        (
            ["init", "--model", "b.dat", "--tokenizer", "char", "--tokenizer-data", "latin.txt"],
            1,
            "not UTF-8 at byte 3",
        ),
        (["infer", "x", "--temperature", "-1"], 2, "Invalid value for '--temperature'"),
        (["infer", "x", "--top-p", "0"], 2, "Error: --top-p must be above 0"),
        (["evaluate", "--validation-split", "0"], 2, "must be above 0"),
        (["bench", "--infer", "--num-tokens", "1"], 2, "Error: --num-tokens must be at least 2"),
        (["flay"], 2, "No such command"),
    ],
)
def test_bad_input_gets_one_clear_line_and_changes_nothing(model, arguments, status, message):
    Path("empty.txt").touch()
    Path("latin.txt").write_bytes(b"abc\xe9")
    with open("sparse.txt", "wb") as sparse:
        sparse.truncate(4 << 40)
    before = model.read_bytes()
    result = run(*arguments, status=status)
    assert message in result.stderr
    assert "Traceback" not in result.output
    if "Usage:" not in result.stderr:
        assert result.stderr.count("\n") == 1
    assert model.read_bytes() == before
    assert not Path("b.dat").exists()


def test_init_asks_for_the_main_options(folder):
    answers = "reference\nbyte\n24\n12\n3\n"
    run("init", "--interactive", "--seed", 1, "--num-layers", 1, text=answers)
    shape = run_json("info")["hyperparameters"]
    assert (shape["block"], shape["vocab_size"], shape["num_tokens"]) == ("reference", 256, 24)
    assert (shape["embedding_degree"], shape["num_layers"], shape["num_heads"]) == (12, 1, 3)


def test_init_replaces_a_model_only_when_forced(model):
    run("init", *SMALL, status=1)
    run("init", *SMALL, "--force")
    assert run_json("info")["num_steps"] == 0


def test_reserved_tokens_widen_the_vocabulary(folder):
    run("init", *SMALL, "--reserve-tokens", 5)
    assert run_json("info")["hyperparameters"]["vocab_size"] == 106


def test_a_vocabulary_from_text_to_a_renamed_token_of_a_trained_model(folder):
    lines = ["fn main() {", "    let x = 5;", "    return a == 7;", "}", "", "fn other(a: u32) -> bool {"]
    text = "\n".join(random.Random(0).choices(lines, k=400))
    Path("code").mkdir()
    Path("code/a.rs").write_text(text)
    Path("code/b.rs").write_text(text[::-1])
    Path("code/.hidden").write_text("äöü" * 100)
    learnt = run("train-bpe", "--dataset", "code", "--vocab-size", 60, "--reserve-tokens", 2)
    assert learnt.stdout.startswith("tokenizer.json: 62 tokens, 2 of them reserved; ")
    assert 'New token: " " + " " = "  ", appears' in learnt.stderr
    assert re.search(
        r"Removed \d+ tokens: .*\nVocab-size: 60 tokens\nnote: nothing stands between the 2 files of code .*\n$", learnt.stderr
    )
    before = Path("tokenizer.json").read_bytes()
    report = run_json("train-bpe", "--dataset", "code", "--vocab-size", 60, "--reserve-tokens", 2, "--quiet")
    assert report["dataset"] == "code"
    assert Path("tokenizer.json").read_bytes() == before
    assert (report["documents"], report["vocab_size"], report["unknown_share"]) == (2, 62, 0.0)

    counted = json.loads(run("count-tokens", "--dataset", "code").stdout)
    assert [entry["rank"] for entry in counted] == list(range(62))
    assert [entry["count"] for entry in counted] == sorted((entry["count"] for entry in counted), reverse=True)
    assert sum(entry["count"] for entry in counted) == report["tokens"]
    assert sum(entry["count"] * len(entry["token"]) for entry in counted) == 2 * len(text)

    run("init", *SMALL[:-2], "--tokenizer", "bpe")
    run("train", "--dataset", "code", "--steps", 2, "--quiet")
    assert run("dump-tokenizer").stdout.encode() == before
    renamed = run("rename-token", "<|end|>", "--token-id", 61)
    assert renamed.stdout == "model.dat: token 61 is '<|end|>' now; 1 reserved token left\n"
    assert run_json("rename-token", "return")["token_id"] == 60
    assert "no reserved token left" in run("rename-token", "more", status=1).stderr
    assert "rename-token 61" in run("info").stdout
    shown = json.loads(run("count-tokens", "--model", "model.dat", "--dataset", "code/a.rs").stdout)
    assert {entry["token"]: entry["count"] for entry in shown}["return"] > 0

    run("rename-token", "<|end|>", "--model", "tokenizer.json")
    assert json.loads(Path("tokenizer.json").read_bytes())["tokens"][60] == "<|end|>"
    made = run_json("init-with", "--parent", "model.dat", "--child", "child.dat", "--num-tokens", 12)
    assert (made["config"]["num_tokens"], made["kept_tokens"]) == (12, 61)  # all but the one that has a name in the model only
    run("train", "--model", "child.dat", "--dataset", "code", "--steps", 2, "--quiet")
    assert "init-with the layers of a model after 2 steps and 61 of its tokens" in run("info", "--model", "child.dat").stdout
    fresh = run("init-with", "--parent", "model.dat", "--child", "fresh.dat", "--fresh-embeddings", "--seed", 3)
    assert fresh.stdout.endswith("62 tokens, seed 3; kept 0 of the 62 tokens\n")
    assert run("init-with", "--parent", "model.dat", "--child", "child.dat", status=1).stderr.startswith(
        "Error: child.dat exists"
    )
    exported = json.loads(run("dump-tokenizer", "--format", "huggingface").stdout)
    assert exported["model"]["vocab"]["return"] == 60


def test_new_tokens_are_counted_in_the_text_at_hand(folder):
    Path("list.json").write_text('["a", "b", "c", "ab", "<unk>"]')
    Path("abc.txt").write_text("abcabc bc")
    run("init", *SMALL[:-2], "--tokenizer", "bpe", "--tokenizer-data", "list.json", "--reserve-tokens", 2)
    assert "note: dataset.txt does not have 'cc'" in run("rename-token", "cc").stderr  # it was not trained on anything yet
    run("train", "--dataset", "abc.txt", "--steps", 1, "--quiet")
    taken = "abc.txt has 'bc' 3 times, but it is found 1 time: tokens that begin earlier, or are longer, take its bytes: 'ab' (2)"
    assert f"note: {taken}\n" == run("rename-token", "bc").stderr
    before = run_json("evaluate", "--dataset", "dataset.txt")

    added = run("add-token", "abc", "<|end|>", "--output", "more.dat")
    assert added.stdout.endswith("; the new ones are tokens 7 to 8\nabc.txt has 'abc' 2 times\n")
    assert added.stderr == "note: abc.txt does not have '<|end|>'\n"
    assert "add-token 'abc', '<|end|>', from id 7 on" in run("info", "--model", "more.dat").stdout
    assert run_json("evaluate", "--model", "more.dat", "--dataset", "dataset.txt")["loss"] == pytest.approx(
        before["loss"], abs=1e-5
    )
    shown = json.loads(run("add-token", "ca", "--model", "more.dat", "--dataset", "-", "--json", text="ca abca").stdout)
    assert shown["tokens"] == [{"token_id": 9, "token": "ca"}]
    assert shown["counts"][0] == {
        "token_id": 9, "token": "ca", "in_text": 2, "found": 1, "taken_by": [{"token_id": 7, "token": "abc", "count": 1}]
    }  # fmt: skip

    Path("abc.txt").unlink()
    assert run("add-token", "bb").stderr == "note: abc.txt is not there to count the new token in; --dataset names a text\n"
    bytes_before = Path("model.dat").read_bytes()
    for wrong, message in (
        (("bb",), "token 8 repeats token 7"),
        (("x", "--dataset", "none.txt"), "none.txt: cannot read"),
        (("x", "--output", "more.dat"), "more.dat exists"),
    ):
        assert message in run("add-token", *wrong, status=1).stderr
        assert Path("model.dat").read_bytes() == bytes_before
    Path("other.json").write_text("{}")
    run("add-token", "bcb", "--model", "list.json", "--output", "other.json", "--force")
    assert json.loads(Path("other.json").read_text())["tokens"][-1] == "bcb"
    assert Path("list.json").read_text() == '["a", "b", "c", "ab", "<unk>"]'


def test_one_of_a_thing_is_told_in_the_singular(folder):
    Path("list.json").write_text('["a", "b", "<unk>"]')
    Path("ab.txt").write_text("ab" * 300)
    told = ""
    for command in (
        ("init", *SMALL[:-2], "--num-layers", 1, "--tokenizer", "bpe", "--tokenizer-data", "list.json", "--reserve-tokens", 1),
        ("train", "--dataset", "ab.txt", "--steps", 1, "--batch-size", 1),
        ("init-with", "--parent", "model.dat", "--child", "child.dat", "--tokenizer-data", "model.dat"),
        ("info", "--model", "child.dat"),
        ("info",),
        ("diagnose", "model.dat", "--dataset", "ab.txt"),
        ("add-token", "ba"),
        ("rename-token", "abab"),
        ("chunks", "--dataset", "ab.txt", "--num-chunks", 1),
    ):
        told += run(*command).output
    told += process("bench", *SMALL[:-2], "--steps", 1, "--threads", 1).communicate(timeout=60)[0]  # the number would stay here
    assert "after 1 step, 1 in all" in told and ", 1 thread, " in told
    assert not re.findall(r"(?<![\d.,])1 (?:\w+ )?(?:steps|tokens|threads|layers|windows|chunks|times)\b.*", told)
    Path("one.txt").write_text("a")
    assert "has 1 token; at least 2 are needed" in run("evaluate", "--dataset", "one.txt", status=1).stderr


def test_a_folder_below_the_data_set_that_cannot_be_read_is_refused(folder, monkeypatch):
    (folder / "texts" / "closed").mkdir(parents=True)
    (folder / "texts" / "a.txt").write_text("abc" * 100)
    listed = os.scandir

    def closed(path):
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", closed)
    assert "closed: cannot read the folder: Permission denied" in run("train-bpe", "--dataset", "texts", status=1).stderr


def test_too_many_reserved_tokens_are_refused_before_anything_is_learnt(folder):
    for count in (-1, 65_536 - 20 + 1):
        refused = run("train-bpe", "--vocab-size", 20, "--reserve-tokens", count, status=1)
        assert f"not {count}" in refused.stderr
        assert "New token" not in refused.stderr


def test_unknown_characters_are_reported_by_every_command_that_reads_text(folder):
    Path("plain.txt").write_text("".join(random.Random(0).choices(["abc", "abd ", "ca", "d"], k=900)))
    Path("other.txt").write_text("abc" * 33 + "é")
    run("train-bpe", "--dataset", "plain.txt", "--vocab-size", 24, "--quiet")
    run("init", *SMALL[:-2], "--tokenizer", "bpe")
    for command in (["train", "--steps", 1, "--quiet"], ["evaluate"], ["count-tokens"]):
        assert re.search(r"\d\.\d\d% of other.txt is <unk>", run(*command, "--dataset", "other.txt").stderr)
        assert "<unk>" not in run(*command, "--dataset", "plain.txt").stderr


def test_reset_optimizer_starts_the_schedule_anew(model):
    run("train", "--steps", 1, "--reset-optimizer", "--quiet")
    shown = run_json("info")
    assert (shown["num_steps"], shown["optimizer_step"]) == (4, 1)
    assert [entry["kind"] for entry in shown["history"]] == ["init", "session", "reset-optimizer", "session"]


def test_a_number_that_is_not_finite_leaves_the_last_good_model(model):
    before = model.read_bytes()
    result = run("train", "--steps", 60, "--learning-rate", 900, "--clip-norm", 0, "--warmup-steps", 1, status=1)
    assert re.search(r"Error: step \d+: (the|tensor) .*nothing of this step was kept", result.stderr)
    assert model.read_bytes() == before


@pytest.mark.parametrize("number", STOPPING, ids=lambda number: number.name)
def test_a_signal_finishes_the_step_saves_and_ends_the_process_by_it(model, number):
    child = process("train", "--steps", 10_000_000, "--decay-steps", 50)
    deadline = time.monotonic() + 30
    while "step" not in child.stderr.readline() and time.monotonic() < deadline:
        pass
    time.sleep(0.3)
    child.send_signal(number)
    out, _ = child.communicate(timeout=30)
    assert child.returncode == -number
    assert f"stopped by {number.name}" in out
    steps = run_json("info")["num_steps"]
    assert steps > 3
    # the same run without the interruption
    run("init", *SMALL, "--model", "b.dat")
    run("train", "--model", "b.dat", "--steps", 3, "--batch-size", 4, "--quiet")
    run("train", "--model", "b.dat", "--steps", steps - 3, "--decay-steps", 50, "--quiet")
    assert run_json("info", "--model", "b.dat")["parameters_sha256"] == run_json("info")["parameters_sha256"]


def test_two_processes_never_work_on_one_model(model):
    child = process("train", "--steps", 10_000_000)
    while "step" not in child.stderr.readline():
        pass
    before = model.read_bytes()
    in_place = ["insert-layer", "--output", "model.dat"]
    for command in (
        ["train", "--steps", 1],
        ["reset-optimizer"],
        in_place,
        ["rename-token", "x"],
        ["add-token", "x"],
        ["init", "--force"],
    ):
        refused = run(*command, status=1).stderr
        assert refused == f"Error: model.dat is in use by process {child.pid}; wait for its end, or work on a copy\n"
    assert model.read_bytes() == before
    run("evaluate")  # reading is free
    child.kill()
    child.communicate()
    assert Path(".model.dat.lock").exists()  # a dead process's lock is none
    run("train", "--steps", 1, "--quiet")
    assert run_json("info")["num_steps"] == 4
    assert not Path(".model.dat.lock").exists()


def test_an_unknown_character_costs_the_bits_of_the_bytes_it_stands_for(folder):
    Path("accents.txt").write_text("é" * 3000)
    run("init", *SMALL)
    measured = run_json("evaluate", "--dataset", "accents.txt")
    assert measured["unknown_share"] == 1.0
    assert measured["bits_per_byte"] == pytest.approx(measured["loss"] / math.log(2) + 8)
    bits = f"bits a byte: {measured['bits_per_byte']:.4f} (8 bits more for each <unk>)"
    assert bits in run("evaluate", "--dataset", "accents.txt").stdout
    trained = run("train", "--dataset", "accents.txt", "--steps", 60, "--learning-rate", 0.05, "--validation-split", 0.1)
    bits = float(re.search(r"validation loss \S+ (\S+) bits a byte \(8 bits more", trained.stderr).group(1))
    assert 8 <= bits < 8.01  # of text it cannot read, it has learnt that all is <unk>, and no byte


def test_init_says_that_the_tokenizer_lacks_the_characters_of_the_text_at_hand(folder):
    Path("dataset.txt").write_text("나는 집에 간다. " * 40)
    made = run("init", *SMALL)
    assert re.search(r"note: 8\d\.\d\d% of dataset.txt is <unk>.*--tokenizer byte", made.stderr)
    for tokenizer in ("char", "byte"):
        assert "<unk>" not in run("init", "--force", *SMALL, "--tokenizer", tokenizer).stderr


def test_the_demo_trains_evaluates_and_spares_other_models(model):
    before = model.read_bytes()
    assert "no earlier demo" in run("demo", "--model", "model.dat", "--steps", 1, status=1).stderr
    assert model.read_bytes() == before
    loaded = femto.load(model)
    earlier = femto.create(loaded.model.config, loaded.tokenizer, loaded.training, preset="demo")
    femto.save(earlier, "demo.dat")  # may be replaced
    shown = run_json("demo", "--steps", 2)
    assert [row["action"] for row in shown["evaluation"]["actions"]] == list(range(10))
    assert run_json("info", "--model", "demo.dat")["num_steps"] == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_what_fails_beside_training_does_not_lose_it(model):
    failed = run("train", "--steps", 5, "--metrics", "/dev/full", status=1)
    assert "Error: /dev/full: cannot write metrics: No space left" in failed.stderr
    run("train", "--steps", 2, "--quiet")
    child = process("info", "--model", model)
    child.communicate(timeout=60)
    with open("/dev/full", "w") as full:
        told = subprocess.run(
            [sys.executable, "-m", "femto", "info"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert told.returncode == 1
    assert told.stderr.count("\n") == 1


def test_training_goes_on_when_whoever_watches_it_goes_away(model):
    child = process("train", "--steps", 1000)
    child.stderr.readline()
    child.stderr.close()
    assert "after 1,000 steps, 1,003 in all" in child.stdout.read()
    assert child.wait(timeout=60) == 0
    child.stdout.close()
    child = process("train", "--steps", 3)
    child.stderr.close()
    child.stdout.close()
    assert child.wait(timeout=60) == -signal.SIGPIPE  # nobody got the report
    assert run_json("info")["num_steps"] == 1006


@pytest.mark.parametrize("target", ["nowhere/m.dat", "folder", "pipe", ""])
def test_a_target_that_cannot_be_written_is_refused_before_any_work(model, target):
    Path("folder").mkdir()
    os.mkfifo("pipe")
    for command in (["demo", "--steps", 1], ["init", "--force", *SMALL]):
        told = run(*command, "--model", target, status=1).stderr
        assert told.startswith("Error: ")
        assert told.count("\n") == 1
    assert Path("pipe").is_fifo()


def test_a_stored_micro_batch_gives_way_to_another_batch(model):
    run("train", "--steps", 1, "--micro-batch-size", 2, "--quiet")
    run("train", "--steps", 1, "--batch-size", 5, "--quiet")
    assert run_json("info")["training"]["micro_batch_size"] == 0


def test_no_steps_change_nothing(model):
    before = model.read_bytes()
    assert "after 0 steps" in run("train", "--steps", 0).stdout
    assert model.read_bytes() == before


def test_the_commands_work_as_processes(model):
    for arguments in (["--version"], ["loss"], ["info", "--json"], ["infer", "to", "--max-new-tokens", "3"]):
        child = process(*arguments)
        out, err = child.communicate(timeout=60)
        assert (child.returncode, err) == (0, "")
        assert out.strip()
    child = process("info", "--model", "dataset.txt")
    assert child.communicate(timeout=60) == ("", "Error: dataset.txt: not a femto model\n")
    assert child.returncode == 1


def test_a_data_set_may_come_from_standard_input(model):
    child = process("train", "--dataset", "-", "--steps", 1, stdin=subprocess.PIPE)
    out, _ = child.communicate(TEXT, timeout=60)
    assert "4 in all" in out


@pytest.mark.parametrize(
    ("variable", "value", "status"), [("FEMTO_ISA", "base", 0), ("FEMTO_ISA", "sse9", 2), ("FEMTO_THREADS", "x", 2)]
)
def test_the_environment_chooses_instruction_set_and_threads(folder, variable, value, status):
    child = process("bench", "--steps", 1, "--batch-size", 1, "--json", env={**os.environ, variable: value})
    out, err = child.communicate(timeout=60)
    assert child.returncode == status
    if status:
        assert f"{variable}={value}" in err
        assert err.count("\n") == 1
    else:
        assert json.loads(out)["isa"] == value


def test_the_library_is_on_one_screen():
    for name in femto.__all__:
        assert getattr(femto, name) is not None


def test_a_loss_line_stands_any_losses():
    from femto.commands.info import sparkline

    for odd in (np.inf, -np.inf, np.nan):
        assert sparkline(np.array([1.0, odd, 2.0], np.float32)) == "▁█"
    assert sparkline(np.array([1.0, 1.5, 3.0], np.float32)) == "▁▃█"


def test_what_is_nested_too_deeply_is_one_line(model):
    made = femto.load("model.dat")
    made.history.entries[0]["more"] = json.loads("[" * 600 + "]" * 600)
    femto.save(made, "model.dat")
    refused = CliRunner().invoke(main, ["info", "--json"])
    assert refused.exit_code == 1 and refused.stderr.startswith("Error: ") and refused.stderr.count("\n") == 1


def test_groups_optimiser_and_numerics_are_options_stored_in_the_model(folder):
    run("init", *SMALL)
    options = ["--optimizer", "adamw", "--numerics", "latest", "--weight-decay-of", "bias=0", "--weight-decay-of", "gain=0.5"]
    run("train", "--steps", "2", *options, "--learning-rate-factor", "embedding=2")
    run("train", "--steps", "1")
    run("train", "--steps", "1", "--weight-decay-of", "head=0.25", "--weight-decay-of", "gain=")
    shown = run_json("info")
    assert shown["training"]["weight_decays"] == {"bias": 0.0, "head": 0.25}
    assert shown["training"]["learning_rate_factors"] == {"embedding": 2.0} and shown["training"]["optimizer"] == "adamw"
    assert [entry["numerics"] for entry in shown["history"] if entry["kind"] == "session"] == [1, 1, 1]
    for option, value, message in (
        ("--weight-decay-of", "bias", "expected ROLE=NUMBER, such as bias=0, got 'bias'"),
        (
            "--weight-decay-of",
            "bais=1",
            "--weight-decay-of must name roles among embedding, matrix, gain, bias, head, got 'bais'",
        ),
        ("--weight-decay-of", "bias=1_0", "expected ROLE=NUMBER"),
        ("--learning-rate-factor", "bias=-1", "--learning-rate-factor must be numbers from 0 to 1000, got -1.0 for bias"),
        ("--learning-rate-factor", "bias=nan", "--learning-rate-factor must be numbers from 0 to 1000, got nan for bias"),
        ("--optimizer", "sgd", "Invalid value for '--optimizer'"),
    ):
        result = CliRunner().invoke(main, ["train", "--steps", "1", option, value])
        assert result.exit_code == 2 and message in result.stderr, result.stderr


def test_a_stopped_demo_saves_says_so_and_asks_nothing(folder):
    started = process("demo", "--steps", "100000", "--seed", "1")
    for line in started.stderr:
        if line.startswith("step 100"):
            break
    started.send_signal(signal.SIGTERM)
    out, _ = started.communicate(timeout=60)
    assert started.returncode == -signal.SIGTERM
    steps = femto.load("demo.dat").history.num_steps
    assert out == f"demo.dat: stopped by SIGTERM after {steps:,} of 100,000 steps, and saved\n"


def test_a_value_of_the_wrong_kind_is_told_with_the_right_one(folder):
    for option, value, message in (
        ("--steps", "abc", "'--steps': must be a whole number, 0 or more; got 'abc'"),
        ("--threads", "0", "'--threads': must be auto or a whole number, 1 to 4,096; got '0'"),
        ("--dropout", "much", "'--dropout': must be a number, 0 to 0.99; got 'much'"),
    ):
        assert message in CliRunner().invoke(main, ["train", option, value]).stderr


def test_the_same_command_with_until_finishes_a_killed_run_to_the_same_bytes(folder):
    for name in ("whole.dat", "killed.dat"):
        run("init", *SMALL, "--model", name)
    command = ["train", "--model", "killed.dat", "--until", "400", "--save-every", "20", "--batch-size", "4"]
    run("train", "--model", "whole.dat", "--steps", "400", "--batch-size", "4", "--quiet")
    started = process(*command)
    for line in started.stderr:
        if line.startswith("step 100"):
            break
    started.kill()
    started.communicate()
    assert 0 < femto.load("killed.dat").history.num_steps < 400
    run(*command, "--quiet")
    whole, killed = femto.load("whole.dat"), femto.load("killed.dat")
    assert killed.history.num_steps == 400
    assert killed.model.parameters_sha256 == whole.model.parameters_sha256
    assert killed.optimizer_sha256 == whole.optimizer_sha256
    before = Path("killed.dat").read_bytes()
    assert run_json(*command)["steps"] == 0 and Path("killed.dat").read_bytes() == before
    assert run(*command).stdout == "killed.dat: 400 steps already, of --until 400; nothing to do\n"
    assert "--steps or --until, not both" in run("train", "--steps", 3, "--until", 9, status=2).stderr


def test_another_text_or_more_of_it_held_out_is_told(model):
    assert "note:" not in run("train", "--steps", 1).stderr
    told = run("train", "--steps", 1, "--validation-split", "0.2").stderr
    assert "note: the last session held out 0 of the text, this one 0.2: the model has been trained on text" in told
    assert "note:" not in run("train", "--steps", 1, "--validation-split", "0.1").stderr
    Path("other.txt").write_text(TEXT.upper())
    assert (
        "note: the last session trained on dataset.txt; other.txt is another text"
        in run("train", "--steps", 1, "--dataset", "other.txt").stderr
    )
    Path("other.txt").write_text(TEXT)
    assert "other.txt; what it holds has changed" in run("train", "--steps", 1, "--dataset", "other.txt").stderr


def test_the_best_model_is_kept_beside_and_a_run_without_a_validation_cannot_keep_one(folder):
    run("init", *SMALL)
    assert "need a validation" in run("train", "--keep-best", "--steps", 1, status=2).stderr
    assert not Path("model.best.dat").exists() and femto.load("model.dat").history.num_steps == 0
    options = ["--validation-split", 0.1, "--validate-every", 4, "--keep-best", "--snapshot-every", 6]
    result = run_json("train", "--steps", 12, "--batch-size", 4, *options, "--learning-rate", 0.01)
    shown, best = run_json("info"), run_json("info", "--model", "model.best.dat")
    assert [step for step, _ in shown["validations"]] == [4, 8, 12]
    step, loss = min(shown["validations"], key=lambda pair: pair[1])
    assert (result["best_validation_step"], result["best_validation_loss"]) == (step, loss) and best["num_steps"] == step
    assert sorted(path.name for path in Path().glob("model-*")) == ["model-12.dat", "model-6.dat"]
    assert f"validation loss: {loss:.4f} at step {step} (the best)" in run("info").stdout


def test_the_last_data_set_of_a_model_is_the_default(folder):
    Path("plays.txt").write_text("the rest is silence\n" * 60)
    run("init", *SMALL)
    assert "plays" not in run("train", "--steps", 1).stderr  # a new model begins with dataset.txt
    told = run("train", "--dataset", "plays.txt", "--steps", 1).stderr
    assert "the last session trained on dataset.txt; plays.txt is another text" in told
    told = run("train", "--steps", 1).stderr
    assert "note: the data set is plays.txt, the last one of the model" in told
    assert "another text" not in told
    expected = run_json("evaluate", "--dataset", "plays.txt")
    assert run_json("evaluate") == expected
    assert run_json("evaluate", "--dataset", "dataset.txt")["tokens"] != expected["tokens"]
    assert run_json("diagnose")["data"]["name"] == "plays.txt"
    assert run_json("chunks")["dataset"] == "plays.txt"
    assert (
        run("count-tokens", "--model", "model.dat").stdout
        != run("count-tokens", "--model", "model.dat", "--dataset", "dataset.txt").stdout
    )
    Path("plays.txt").write_text("something rotten\n" * 60)
    assert "trained on plays.txt; what it holds has changed" in run("evaluate").stderr
    before = Path("model.dat").read_bytes()
    Path("plays.txt").unlink()
    for command in (["train", "--steps", 1], ["evaluate"], ["diagnose"], ["chunks"], ["count-tokens", "--model", "model.dat"]):
        told = run(*command, status=1).stderr
        assert told == "Error: plays.txt: the model's last data set is not there; --dataset says where it is, or names another\n"
    assert Path("model.dat").read_bytes() == before


def test_a_model_of_a_text_that_cannot_be_read_again_is_not_trained_on_another_that_nobody_named(folder):
    run("init", *SMALL)
    run("train", "--dataset", "-", "--steps", 1, text="the rest is silence\n" * 60)
    told = "the last session trained on standard input; dataset.txt is another text"
    assert told in run("evaluate").stderr
    before = Path("model.dat").read_bytes()
    refused = "Error: the model's last data set, standard input, cannot be read again; --dataset names a text\n"
    assert run("train", "--steps", 1, status=1).stderr == refused and Path("model.dat").read_bytes() == before
    Path("dataset.txt").rename("other.txt")
    for command in ("train", "evaluate", "diagnose", "chunks"):
        assert run(command, status=1).stderr == refused
    Path("dataset.txt").write_text("the rest is silence\n" * 60)  # the same text after all
    assert "note:" not in run("train", "--steps", 1).stderr
    run("train", "--dataset", "-", "--steps", 1, text="the rest is silence\n" * 60)
    Path("dataset.txt").write_text(TEXT)
    assert told in run("train", "--dataset", "dataset.txt", "--steps", 1).stderr
    Path("texts").mkdir()
    Path("texts/one.txt").write_text(TEXT)
    run("train", "--dataset", "texts", "--steps", 1)
    assert "the data set is texts" in run("train", "--steps", 1).stderr


def test_a_text_of_its_own_is_validated_on_and_remembered(folder):
    Path("new.txt").write_text("what a piece of work is a man, how noble in reason\n" * 30)
    run("init", *SMALL)
    options = ["--validation-dataset", "new.txt", "--validate-every", 2, "--batch-size", 4]
    trained = run("train", *options, "--steps", 8, "--keep-best", "--metrics", "metrics.jsonl")
    assert "note:" not in trained.stderr
    made = femto.load("model.dat")
    entry = made.history.entries[-1]
    assert entry["validation_dataset"]["path"] == "new.txt" and [step for step, _ in made.history.validations()] == [2, 4, 6, 8]
    assert "validated on new.txt" in run("info").stdout
    assert "--dataset new.txt measures what it was validated on" in run("evaluate").stderr
    measured = run_json("evaluate", "--dataset", "new.txt")["loss"]
    assert made.history.validations()[-1][1] == pytest.approx(measured, rel=1e-6)
    assert json.loads(Path("metrics.jsonl").read_text().splitlines()[0])["validation_dataset"] == "new.txt"
    ids = made.tokenizer.encode(TEXT)
    assert entry["training"]["validation_split"] == 0 and len(
        femto.Session(made, femto.from_text("", TEXT, made.tokenizer), None).training_ids
    ) == len(ids)
    # It goes on with the same text, counts validations across sessions and across texts to train on, and can be taken back.
    Path("more.txt").write_text(TEXT + "O that this too too solid flesh would melt\n" * 9)
    told = run("train", "--dataset", "more.txt", "--steps", 4, "--validate-every", 2).stderr
    assert "note: validating on new.txt, as in the last session" in told
    assert [step for step, _ in femto.load("model.dat").history.validations()] == [2, 4, 6, 8, 10, 12]
    told = run("train", "--steps", 1, "--validation-split", 0.1).stderr
    assert "the last session validated on new.txt, this one validates on the last 0.1 of the text" in told
    assert "validating on" not in run("train", "--steps", 1).stderr
    run("train", *options, "--steps", 1)
    Path("new.txt").unlink()
    told = run("train", *options, "--steps", 1, status=1).stderr
    missing = "new.txt: cannot read the validation data set: it does not exist; --validation-dataset names it"
    assert told.endswith(f"\nError: {missing}\n")
    assert "new.txt: the model's last validation data set is not there" in run("train", "--steps", 1, status=1).stderr
    run("train", "--steps", 1, "--validation-split", 0)


def test_validating_on_text_that_is_trained_on_is_told(folder):
    words = random.Random(1).choices(["the", "rest", "is", "silence", "to", "sleep", "perchance", "dream"], k=9000)
    whole = " ".join(words)
    Path("whole.txt").write_text(whole)
    Path("half.txt").write_text(whole[-6000:-3000] + " ".join(random.Random(2).choices(words, k=600))[:3000])
    run("init", *SMALL)
    short = ["--steps", 1, "--batch-size", 2]
    told = run("train", "--dataset", "whole.txt", "--validation-dataset", "whole.txt", *short).stderr
    assert "note: all passages of whole.txt that were looked for stand in whole.txt too: the model is trained on" in told
    told = run("train", "--dataset", "whole.txt", "--validation-dataset", "half.txt", *short).stderr
    share = float(re.search(r"note: (\d+)% of the passages of half.txt that were looked for stand in whole.txt", told).group(1))
    assert 45 <= share <= 55
    told = run("train", "--dataset", "dataset.txt", "--validation-dataset", "whole.txt", *short).stderr
    assert "an earlier session trained on whole.txt: the model has been trained on text that it is validated on now" in told


def test_evaluate_says_that_the_model_was_trained_on_the_text(folder):
    run("init", *SMALL)
    run("train", "--steps", 1, "--validation-split", 0.1)
    told = "note: the model was trained on all but the last 0.1 of this text; --validation-split 0.1 measures the rest alone"
    assert told in run("evaluate").stderr and told in run("evaluate", "--validation-split", 0.2).stderr
    assert "trained" not in run("evaluate", "--validation-split", 0.1).stderr
    Path("new.txt").write_text("the rest is silence\n" * 9)
    assert "trained" not in run("evaluate", "--dataset", "new.txt").stderr
    run("train", "--steps", 1, "--validation-split", 0)
    assert "note: the model was trained on this text" in run("evaluate", "--validation-split", 0.1).stderr


def test_a_text_shorter_than_the_context_is_told(folder):
    Path("short.txt").write_text("to be or not to")
    run("init", *SMALL)
    told = "note: short.txt: 15 tokens to train on are less than a window of 17, so the text repeats inside each window"
    assert run("train", "--dataset", "short.txt", "--steps", 1, "--quiet").stderr.startswith(told)  # a note is no progress
    assert told in run("diagnose", "--dataset", "short.txt").stderr
    assert run_json("info")["num_steps"] == 1
    Path("short.txt").write_text("to be or not to be")
    assert "note" not in run("diagnose", "--dataset", "short.txt").stderr
    run("train", "--dataset", "short.txt", "--steps", 1, "--validation-split", 0.2)
    assert "note: short.txt: 14 tokens to train on are less" in run("diagnose", "--dataset", "short.txt").stderr


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (
            "train --validate-every 5",
            "--validate-every would do nothing: they need a validation; give --validation-split, such as 0.1",
        ),
        ("train --keep-best --patience 2", "--keep-best and --patience would do nothing: they need a validation"),
        ("train --validation-split 0.1 --validation-dataset x", "give --validation-split or --validation-dataset, not both"),
        ("train --dataset - --validation-dataset -", "cannot both be standard input"),
        ("train --sample-prompt a", "--sample-prompt would do nothing without --sample-every"),
        ("train --sample-count 3", "--sample-tokens would do nothing without --sample-every"),
        ("train --sample-every 3 --quiet", "--sample-every would do nothing with --quiet"),
        ("train --decay-steps 0 --decay cosine", "--decay would do nothing: they need a decay; give --decay-steps"),
        (
            "train --decay-steps 0 --min-learning-rate 0",
            "--min-learning-rate would do nothing: they need a decay",
        ),
        ("infer a --temperature 0 --top-k 3", "--top-k would do nothing with --temperature 0"),
        (
            "bench --infer --kernels --batch-size 3",
            "--kernels would do nothing with --infer",
        ),
        (
            "init --force --rotary-base 50 --positional-encoding learned",
            "--rotary-base would do nothing without",
        ),
        ("search --vocab-size 300", "--vocab-size is for --tokenizer bpe"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused_and_the_missing_one_named(model, command, told):
    before = model.read_bytes()
    assert told in run(*command.split(), status=2).stderr
    assert model.read_bytes() == before and sorted(path.name for path in model.parent.iterdir()) == ["dataset.txt", "model.dat"]


def _zipped() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("text.txt", TEXT)
    return content.getvalue()


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (gzip.compress(TEXT.encode()), "a gzip file, not text; unpack it first: gunzip"),
        (lzma.compress(TEXT.encode()), "an xz file, not text"),
        (bz2.compress(TEXT.encode()), "a bzip2 file, not text"),
        (_zipped(), "a zip archive, as documents and models of other programs are, too, not text; unpack it first: unzip"),
        (b"\x89PNG\r\n\x1a\n" + bytes(99), "a PNG image, not text; it holds no text"),
        (b"%PDF-1.7\n" + bytes(99), "a PDF document, not text"),
        ((99).to_bytes(8, "little") + b'{"weight":{"dtype":"F32"', "a safetensors model, not text"),
        (b"\x80\x02}q\x00X\x06\x00\x00\x00weight", "a Python pickle, not text"),
    ],
)
def test_what_is_no_text_is_told_but_bytes_may_be_anything(model, content, what):
    before = model.read_bytes()
    Path("file").write_bytes(content)
    for command in (["train", "--steps", 1], ["evaluate"], ["train", "--steps", 1, "--validation-dataset", "file"]):
        command += [] if "file" in command else ["--dataset", "file"]
        assert run(*command, status=1).stderr.startswith(f"Error: file: {what}")
    assert what in run("train-bpe", "--dataset", "file", status=1).stderr
    assert what in run("init", "--model", "new.dat", "--tokenizer", "char", "--tokenizer-data", "file", status=1).stderr
    assert (
        what.split(", not")[0] + ", not a tokenizer file"
        in run("init", "--model", "new.dat", "--tokenizer", "bpe", "--tokenizer-data", "file", status=1).stderr
    )
    assert f"file: not a femto model but {what.split(', not')[0]}; " in run("info", "--model", "file", status=1).stderr
    assert what in run("evaluate", "--dataset", "-", status=1, text=content).stderr
    assert model.read_bytes() == before and not Path("new.dat").exists()
    run("init", "--model", "bytes.dat", *SMALL, "--tokenizer", "byte")
    run("evaluate", "--model", "bytes.dat", "--dataset", "file")


def test_a_file_of_femtos_in_the_wrong_place_is_told(model):
    Path("tokenizer.json").write_text(run("dump-tokenizer").stdout)
    shutil.copy(Path(__file__).parent / "reference/original_program.dat", "old.dat")
    Path("texts").mkdir()
    Path("texts/a.txt").write_text(TEXT)
    shutil.copy("model.dat", "texts/model.dat")
    before = model.read_bytes()
    told = {
        "model.dat": "model.dat: a femto model, not text; --model names a model",
        "texts": "texts/model.dat: a femto model, not text",
        "tokenizer.json": "tokenizer.json: a tokenizer file, not text; --tokenizer-data names a tokenizer",
        "old.dat": "old.dat: a model of the original program, not text; `femto import` makes a femto model of it",
    }
    run("init", "--model", "bytes.dat", *SMALL, "--tokenizer", "byte")
    for path, message in told.items():
        for of in ("model.dat", "bytes.dat"):
            assert message in run("train", "--model", of, "--dataset", path, "--steps", 1, status=1).stderr
    assert message in run("train-bpe", "--dataset", path, "--tokenizer-data", "new.json", status=1).stderr
    assert "not a femto model but a tokenizer file; " in run("infer", "a", "--model", "tokenizer.json", status=1).stderr
    assert (
        "old.dat: not a femto model but a model of the original program; `femto import`"
        in run("info", "--model", "old.dat", status=1).stderr
    )
    assert (
        "not JSON"
        in run("init-with", "--parent", "model.dat", "--child", "c.dat", "--tokenizer-data", "dataset.txt", status=1).stderr
    )
    assert model.read_bytes() == before


@pytest.mark.parametrize(
    ("clip", "told"), [([], "try a --learning-rate below 100, or --on"), (["--clip-norm", 0], "--clip-norm 1")]
)
def test_advice_names_what_is_not_set_already(model, clip, told):
    stopped = run("train", "--steps", 300, "--learning-rate", 100, "--warmup-steps", 0, *clip, "--quiet", status=1).stderr
    assert "not finite" in stopped or "is nan" in stopped
    assert told in stopped
