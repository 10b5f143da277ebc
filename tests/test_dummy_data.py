"""The five data sets of the journal and their evaluators, each against a parser or an oracle written independently here."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

# isort: split
from femto.dummy_data import addition_dummy, simple_dummy, simple_dummy2, simple_sequence, simple_sequence2

MODULES: dict[Any, tuple[float | None, int | None, str]] = {
    # derived_unigram_entropy (nats) and distinct_characters of experiments.toml; SHA-256 of seed 0, 200 lines
    simple_dummy: (2.609, 15, "e512b212b2280394"),
    simple_dummy2: (2.716, 25, "ee079d8af08480be"),
    addition_dummy: (2.463, 15, "128854fc8dccbd4a"),
    simple_sequence: (2.403, 13, "d09e6d3510338de2"),
    simple_sequence2: (None, None, "93ffbd6336e31d8e"),
}


def run(module: Any, *options: str, stdout: Any = subprocess.PIPE) -> tuple[int, bytes, bytes]:
    script = Path(__file__).resolve().parent.parent / "dummy_data" / f"{module.__name__.split('.')[-1]}.py"
    environment = {**os.environ, "PYTHONUNBUFFERED": ""}  # a full buffer is what fails again at exit
    command = [sys.executable, str(script), *options]
    result = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, env=environment, timeout=60)
    return result.returncode, result.stdout, result.stderr


def test_words_and_sums() -> None:
    assert re.fullmatch(r"(([bcdfghjk][aeiou]){2,3};\n){8000}", simple_dummy.generate())
    words = simple_dummy.generate().replace(";", "").split()
    for place, word in enumerate(words):
        starts = {earlier[0] for earlier in words[max(0, place - 3) : place]}
        assert len(set(word)) == len(word) and word[0] not in starts
    assert 0.47 < sum(len(word) == 4 for word in words) / len(words) < 0.53
    text = addition_dummy.generate()
    sums = [(int(a), int(b)) for a, b in re.findall(r"(\d+) \+ (\d+) =", text)]
    assert len(sums) == 8000 and "".join(f"{a} + {b} = {a + b};\n" for a, b in sums) == text
    for numbers in zip(*sums, strict=True):
        assert set(numbers) == set(range(101)) and 48 < sum(numbers) / 8000 < 52


def dummy2_answer(line: str, previous_line: str) -> str:
    """What follows the digit, read off the table in experiments.toml."""
    data, previous = line[:-1], re.sub("[0-9].*", "", previous_line)
    plain = [data[:3], data[-3:], previous[:3], previous[-3:]]
    up = ["".join("ghijkl"["abcdef".index(letter)] for letter in text) for text in plain]
    return ["", *plain[:2], *up[:2], *plain[2:], *up[2:], "z"][int(line[-1])]


def test_simple_dummy2_lines() -> None:
    lines = simple_dummy2.generate().split("\n")
    assert lines.pop() == "" and len(lines) == 50_000 and simple_dummy2.result_of(3, "acbafbe", None) == "gih"  # #30
    shapes = Counter[tuple[int, str]]()
    for previous, line in zip(["", *lines], lines, strict=False):
        match = re.fullmatch(r"(([a-f]{4,8})([0-9]))([a-lz]{0,3});", line)
        assert match and match[4] == dummy2_answer(match[1], previous), line
        shapes[len(match[2]), match[3]] += 1
    assert len(shapes) == 50 and all(850 < count < 1150 for count in shapes.values())
    assert {re.sub("[^0-9]", "", simple_dummy2.generate(seed, 1)) for seed in range(200)} == set("012349")


def test_sequences_are_cycles_and_noise_is_rare() -> None:
    text = simple_sequence.generate()
    assert text[0::3] == "abcdefgh" * 250 and text[1::3] == text[2::3] == "@#$%^" * 400 and len(text) == 6000
    for length in range(4, 13):  # a prompt of this length occurs once in a cycle: it has one continuation only
        assert len({text[start : start + length] for start in range(120)}) == 120
    assert {len(answer.prompt) for answer in simple_sequence.evaluate(str.ljust).extra} == set(range(4, 13))
    clean = simple_sequence2.generate(noise=False)
    cycles = ["abc", "defg", "hijkl", "mnopqrs", "mnopqrs", "tuvwxyz0123", ";", "\n"]
    assert [clean[column::8] for column in range(8)] == [(cycle * 2000)[:2000] for cycle in cycles]
    assert "\nbeloot;\ncfhppu;\nagiqqv;\n" in clean  # #43
    pairs = zip(simple_sequence2.generate(0, 100_000), simple_sequence2.generate(0, 100_000, False), strict=True)
    changed = [noisy for noisy, clean in pairs if noisy != clean]
    assert 0.0017 < len(changed) / 800_000 < 0.0023
    assert len(set(changed)) == 64 and all(re.fullmatch(r"[a-zA-Z0-9;\n]", character) for character in changed)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.split(".")[-1])
def test_text_is_the_catalogue_s_and_the_same_from_script_and_import(module: Any) -> None:
    entropy, distinct, digest = MODULES[module]
    text = module.generate()
    shares = [count / len(text) for count in Counter(text).values()]
    nats = -sum(share * math.log(share) for share in shares)
    assert entropy is None or (nats == pytest.approx(entropy, abs=0.006) and len(shares) == distinct)
    assert run(module) == (0, text.encode(), b"")
    assert run(module, "--seed=7", "--lines", "50") == (0, module.generate(seed=7, lines=50).encode(), b"")
    assert hashlib.sha256(module.generate(0, 200).encode()).hexdigest()[:16] == digest
    assert (module.generate(1) != text) is (module is not simple_sequence)


def test_options_and_errors_of_the_scripts() -> None:
    assert run(simple_sequence2, "--no-noise")[1] == simple_sequence2.generate(noise=False).encode()
    for lines in ("0", "-3", "many"):
        status, output, errors = run(simple_dummy, f"--lines={lines}")
        assert (status, output) == (2, b"") and f"at least 1, not '{lines}'\n".encode() in errors
    if Path("/dev/full").exists():  # Linux; on Windows a closed pipe is told otherwise
        reader, writer = os.pipe()
        os.close(reader)
        with open(writer, "wb") as closed, open("/dev/full", "wb") as full:
            assert run(simple_dummy2, "--lines=9", stdout=closed)[::2] == (0, b"")
            status, _, errors = run(simple_dummy2, "--lines=9", stdout=full)
        assert (status, errors.count(b"\n")) == (1, 1)


def check(evaluation: Any, passed: bool) -> None:
    """The verdict is as expected, `to_json` gives plain types, `str` and `table` the same text."""
    plain = json.loads(json.dumps(evaluation.to_json()))
    assert plain == evaluation.to_json() and evaluation.passed is plain["passed"] is passed
    assert str(evaluation) == evaluation.table() != ""


def test_simple_dummy_evaluation() -> None:
    def oracle(prompt: str, count: int) -> str:
        assert re.fullmatch(r"([a-k]\w+;\n){3}", prompt) and len(prompt) + count <= 64
        free = [letter for letter in "bcfghjk" if letter not in {line[0] for line in prompt.split()}]
        return "".join(f"{letter}ade;\n" for letter in free[:4]) + "xx"

    check(simple_dummy.evaluate(oracle, runs=5), True)
    assert simple_dummy.evaluate(oracle, runs=5) == simple_dummy.SimpleDummyEvaluation(total=20, broken={})
    lines = {"gako;": None, "bako;": "start", "gaka;": "repeated letter", "gkao;": "alternation", "gakog;": "length"}
    for line, rule in {**lines, ";": "length", "": "ending", "gako": "ending"}.items():
        assert simple_dummy.broken_rule(line, ["gaka;", "badi;", "cefo;", "dobu;"]) == rule
    same_word = simple_dummy.evaluate(lambda prompt, count: "hako;\n" * 9, runs=5)
    assert same_word.total == 30 and same_word.broken["start"] >= 25  # 40 characters are 6 words and a bit
    check(same_word, False)


def test_simple_dummy2_evaluation() -> None:
    def oracle(prompt: str, count: int) -> str:
        *lines, line = prompt.split("\n")
        prompts.append(prompt)
        assert all(re.fullmatch(r"[a-f]{4,8}\d[a-lz]{0,3};", previous) for previous in lines) and len(lines) == 3
        assert re.fullmatch(r"[a-f]{4,8}\d", line)
        return f"{dummy2_answer(line, lines[-1])};\nmore than was asked"

    prompts: list[str] = []
    result, text = simple_dummy2.evaluate(oracle), simple_dummy2.generate(seed=1)
    assert [(row.action, row.correct, row.incorrect) for row in result.actions] == [(n, 20, 0) for n in range(10)]
    assert Counter(prompt[-1] for prompt in prompts) == dict.fromkeys("0123456789", 20)
    assert max(map(len, prompts)) < 60 and len(set(prompts)) == 200 and not any(prompt in text for prompt in prompts)
    check(result, True)
    two = simple_dummy2.evaluate(lambda prompt, count: "z;" if prompt[-1] == "9" else ";", lines_per_action=5)
    assert [row.rate for row in two.actions] == [1.0, *[0.0] * 8, 1.0] and two.minimum_rate == 0.0
    assert two.table().startswith("| action | correct  | incorrect  | correct rate   |\n|--------|")
    assert "\n| 0      |  5       |  0         | 100.0%         |\n| 1      |  0       |  5     " in two.table()
    check(two, False)


def test_addition_dummy_evaluation() -> None:
    def oracle(prompt: str, count: int) -> str:
        if match := re.fullmatch(r"\n(\d+) \+ (\d+) = ", prompt):
            return f"{int(match[1]) + int(match[2])};\n13"
        assert prompt.endswith(";\n") and len(prompt) + count <= 64
        return "1 + 2 = 3;\n100 + 100 = 999;\n7+7=14;\n13 +"

    text = addition_dummy.generate()
    result = addition_dummy.evaluate(oracle, text)
    assert (len(result.lines), result.well_formed_rate, len(result.sums), result.sum_rate) == (60, 1.0, 100, 1.0)
    unseen = {answer.prompt for answer in result.sums}
    assert len(unseen) == 100 and not any(prompt in f"\n{text}" for prompt in unseen)
    check(result, True)
    sample = "10;\n1;\n1 + 15;\n9 + 14 + 12 + 65;\n1 + = 5615 = 54;\n9"  # of #17
    worse = addition_dummy.evaluate(lambda prompt, count: sample, text, samples=10, runs=1)
    assert (len(worse.lines), worse.well_formed_rate, worse.sum_rate) == (4, 0.0, 0.0)
    check(worse, False)
    assert len(addition_dummy.evaluate(lambda prompt, count: "1" * count, text, samples=1, runs=2).lines) == 2
    all_but_one = "".join(f"{a} + {b} = {a + b};\n" for a in range(101) for b in range(101) if (a, b) != (13, 29))
    assert [answer.prompt for answer in addition_dummy.evaluate(oracle, all_but_one).sums] == ["\n13 + 29 = "]


@pytest.mark.parametrize(
    ("module", "answers", "guessed", "right"),
    [  # the third answer to #42 is by the rule: the journal prints an i
        (simple_sequence, "^^e@@f##g$$h%% %%c^^d@@e##f$$ ^^f@@g##h$$a%%", "[a-h]", "@#$%^"),
        (simple_sequence2, "cfhppu;agiqqv; bdjmmz;ceknn0; aglrru;bdhssv;", "[t-z0-3]", "abc defg hijkl mnopqrs"),
    ],
)
def test_sequence_evaluations(module: Any, answers: str, guessed: str, right: str) -> None:
    def follow(prompt: str, count: int) -> str:
        return text[text.index(prompt) + len(prompt) :][: count + 3]

    text: str = module.generate(lines=4700, **({"noise": False} if module is simple_sequence2 else {}))
    result = module.evaluate(follow)
    assert [answer.output.replace("\n", "") for answer in result.samples] == answers.split()
    assert (len(result.extra), result.extra_rate) == (100, 1.0)
    check(result, True)
    worse = module.evaluate(lambda prompt, count: re.sub(guessed, "c", follow(prompt, count)))
    assert [cycle for cycle, rate in worse.cycle_rates.items() if rate == 1.0] == right.split()
    check(worse, False)
    assert worse.extra_rate == 0.0 and "(fail, expected: `" in worse.table()
