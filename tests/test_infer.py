"""`femto infer`: prompts from everywhere, samples, stop texts, and bytes that are no text."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from femto import checkpoint, tokenizers
from femto.commands import main
from femto.config import PRESETS, ModelConfig, TrainConfig
from femto.generation import Sampling, generate

ALWAYS = ["--seed", "1", "--temperature", "1", "--max-new-tokens", "12"]


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = checkpoint.create(
        ModelConfig(256, 16, 16, 1, 2, **PRESETS["modern"].model), tokenizers.build("byte", None), TrainConfig()
    )
    made.model.parameters *= 3.0
    checkpoint.save(made, "model.dat")
    return made


def run(*arguments, status=0, text=None):
    result = CliRunner().invoke(main, ["infer", *map(str, arguments)], input=text)
    assert result.exit_code == status, result.output
    return result


def lines(*arguments, text=None):
    return [json.loads(line) for line in run(*arguments, *ALWAYS, "--json", text=text).stdout.splitlines()]


def test_a_prompt_comes_from_an_argument_from_standard_input_or_from_a_file_to_the_byte(model):
    prompt = b"caf\xe9 \xf0\x9f\n"
    Path("prompt.txt").write_bytes(prompt)
    shown = run("--prompt-file", "prompt.txt", *ALWAYS).stdout_bytes
    expected = b"".join(each.data for each in generate(model, prompt, 12, Sampling(1.0, seed=1)))
    assert shown == prompt + expected + b"\n"
    assert run("-", *ALWAYS, text=prompt).stdout_bytes == shown
    assert run("--prompt-file", "-", *ALWAYS, text=prompt).stdout_bytes == shown
    process = [sys.executable, "-m", "femto", "infer", *ALWAYS]
    assert subprocess.run([*process, prompt], check=True, capture_output=True).stdout == shown
    assert subprocess.run([*process, "-"], input=prompt, check=True, capture_output=True).stdout == shown


def test_output_that_is_not_utf_8_gets_its_own_encoding(model):
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1:replace"}
    command = [sys.executable, "-m", "femto", "infer", "é", "--max-new-tokens", "0"]
    assert subprocess.run(command, check=True, capture_output=True, env=environment).stdout == b"\xe9\n"


def test_every_text_of_a_start_is_as_if_it_were_alone(model):
    Path("c.txt").write_bytes(b"c")
    together = lines("a", "-", "--prompt-file", "c.txt", "--num-samples", 3, text=b"b")
    assert [(each["prompt"], each["sample"]) for each in together] == [(p, s) for p in "abc" for s in range(3)]
    assert together[0] == lines("a")[0] and together[3:5] == lines("b", "--num-samples", 2)
    assert len({each["completion"] for each in together}) == 9
    assert together[4]["text"] == "b" + "".join(each.text for each in generate(model, "b", 12, Sampling(1.0, seed=1, sample=1)))
    shown = run("a", "b", "--num-samples", 2, *ALWAYS).stdout
    assert "--- prompt 2 of 2, sample 1 of 2 ---\nb" in shown and shown.count("---\n") == 4


def test_json_is_json_and_loses_no_byte(model):
    (found,) = lines("\udce9", "--candidates", 2)  # the argument E9
    assert (found["prompt"], found["prompt_bytes"]) == ("\ufffd", [0xE9])
    assert [token["id"] for token in found["tokens"]] == found["text_bytes"][1:]  # bytes are the tokens
    for token in (each for step in found["tokens"] for each in (step, *step["candidates"])):
        assert token["token"] == "\ufffd" or "token_bytes" not in token
    assert found["finish_reason"] == "length" and found["seed"] == 1


def test_a_stop_text_is_not_printed_and_said_in_json(model):
    (whole,) = lines("a")
    data = bytes(token["id"] for token in whole["tokens"])
    stop = os.fsdecode(data[4:6])
    (cut,) = lines("a", "--stop", "never", "--stop", stop)
    assert cut["finish_reason"] == "stop" and cut["tokens"] == whole["tokens"][: data.index(data[4:6]) + 2]
    assert run("a", "--stop", stop, *ALWAYS).stdout_bytes == b"a" + data[: data.index(data[4:6])] + b"\n"


def test_a_special_token_stops_by_its_name_and_what_cannot_come_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tokenizer = tokenizers.Tokenizer([b"a", b"b", b"<|endoftext|>", b"<unk>"], unk_id=3)
    tokenizer = tokenizers.BpeTokenizer(tokenizer.tokens, 3)
    made = checkpoint.create(ModelConfig(4, 8, 16, 1, 2, **PRESETS["modern"].model), tokenizer, TrainConfig())
    made.model.layout.stored(made.model.parameters)["head_map_bias"][2] = 100.0  # it has nothing else to say
    checkpoint.save(made, "model.dat")
    (found,) = lines("ab", "--stop", "<|endoftext|>")
    assert (found["text"], found["finish_reason"], len(found["tokens"])) == ("ab", "stop", 1)
    told = run("ab", "--stop", "AB", *ALWAYS).stderr
    assert told.startswith("note: --stop 'AB' never comes") and told.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ([], 2, "there is no prompt: give a PROMPT, - for standard input, or --prompt-file"),
        (["-", "--prompt-file", "-"], 2, "standard input can be read once"),
        (["--prompt-file", "missing.txt"], 1, "missing.txt: cannot read the prompt: No such file or directory"),
        (["--prompt-file", "."], 1, "cannot read the prompt: not a regular file; `-` reads standard input"),
        (["a", "--stop", ""], 2, "--stop must not be empty"),
        (["a", "--num-samples", "0"], 2, "--num-samples"),
        (["a", "b", "--context-shift", "999"], 2, "--context-shift must be from 1 to the context of"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_printed(model, arguments, status, message):
    result = run(*arguments, status=status)
    assert message in result.stderr and result.stdout == ""


def test_a_closed_standard_input_is_told(model):
    told = subprocess.run(f"{sys.executable} -m femto infer - <&-", shell=True, capture_output=True, text=True)
    assert (told.returncode, told.stderr, told.stdout) == (1, "Error: -: standard input is closed\n", "")
