"""How commands are declared, listed, explained and found: help, completion, old spellings, and docs/commands.md."""

import os
import re
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import femto
from femto.commands import main
from femto.commands.shared import field_names
from femto.commands.shared.command_line import SECTIONS
from femto.commands.shared.options import Option
from femto.config import TrainConfig
from femto.errors import ConfigError

ROOT = Path(__file__).parents[1]


def every_command(command=main, path=()):
    """(words, command) of all commands, those of `femto experiment` too."""
    if path:
        yield path, command
    if isinstance(command, click.Group):
        for name, each in command.commands.items():
            yield from every_command(each, (*path, name))


COMMANDS = dict(every_command())
OLD = [(words, option) for words, command in COMMANDS.items() for option in command.params if getattr(option, "old", "")]


def help_of(*words):
    result = CliRunner().invoke(main, [*words, "--help"])
    assert result.exit_code == 0, result.output
    return result.stdout


def completions(*words, python=()):
    """What bash offers for the last word, and what Python said on standard error."""
    environment = {"_FEMTO_COMPLETE": "bash_complete", "COMP_WORDS": " ".join(("femto", *words)), "COMP_CWORD": str(len(words))}
    done = subprocess.run(
        [sys.executable, *python, "-m", "femto"], env=os.environ | environment, capture_output=True, text=True, check=False
    )
    return [line.split(",", 1)[1] for line in done.stdout.splitlines()], done.stderr


def test_help_lists_every_command_once_below_its_section():
    shown = help_of()
    listed = re.findall(r"^  ([a-z-]+) {2,}\S.*$", shown.split(f"{SECTIONS[0]}:")[1], re.MULTILINE)
    assert sorted(listed) == sorted(main.commands)
    headings = [shown.index(f"\n{section}:") for section in SECTIONS]
    assert headings == sorted(headings)
    assert [listed.index(name) for name in ("demo", "init", "train", "infer", "evaluate")] == list(range(5))
    assert f"  loss            {main.commands['loss'].short_help}\n" in shown


def test_a_new_file_alone_makes_a_command(tmp_path):
    package = Path(femto.__file__).parent
    (tmp_path / "femto").mkdir()
    for entry in package.iterdir():
        if entry.name != "commands":
            (tmp_path / "femto" / entry.name).symlink_to(entry)
    shutil.copytree(package / "commands", tmp_path / "femto" / "commands")
    (tmp_path / "femto" / "commands" / "say_hello.py").write_text(
        "import click\n"
        "from femto.commands.shared.command_line import command\n\n\n"
        '@command("Look into models", "say hello", place=21)\n'
        "def say_hello() -> None:\n"
        '    """Say hello."""\n'
        '    click.echo("hello")\n'
    )

    def femto_there(*arguments):
        environment = os.environ | {"PYTHONPATH": str(tmp_path)}
        command = [sys.executable, "-m", "femto", *arguments]
        return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    assert femto_there("say-hello") == "hello\n"
    assert re.search(r"^  loss .*\n  say-hello +say hello\n  diagnose ", femto_there("--help"), re.MULTILINE)


def test_help_and_completion_load_no_numpy():
    shown = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "femto", "train", "--help"], capture_output=True, text=True, check=True
    )
    offered, told = completions("train", "--s", python=("-X", "importtime"))
    assert "--steps" in offered
    for loaded in (shown.stderr, told):
        assert "femto.commands.shared.growing" in loaded  # every command was
        assert not re.search(r"\bnumpy\b|\bfemto\.kernels\b", loaded)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_and_option_is_explained_in_whole_sentences(words):
    command = COMMANDS[words]
    assert re.match(r"[A-Z][a-z]+ .*[.:]$", command.help.split("\n\n")[0].replace("\n", " "))
    for option in command.params:
        if isinstance(option, click.Option):
            assert isinstance(option, Option), option.name  # whose help tells values and default
            assert re.fullmatch(r"[A-Z][\w'-]*( \S+){3,}\.", option.help), option.help
    shown = " ".join(help_of(*words).split())
    for option in command.params:
        if isinstance(option, Option):
            is_told = option.default_text or option.required or option.is_flag
            assert is_told, f"{option.opts[0]} tells no default"
            assert f"default: {option.default_text}" in shown or not option.default_text


def test_help_tells_values_and_default_in_words():
    shown = " ".join(help_of("infer").split())
    assert "-m, --model PATH The file of the model. [default: model.dat]" in shown
    assert "--max-new-tokens INTEGER How many tokens to generate at most. [0 or more; default: 100]" in shown
    assert "[above 0; default: no limit]" in help_of("experiment", "run")
    assert "3 It does not meet it." in " ".join(help_of("experiment", "run").split("Exit status:")[1].split())


def test_the_ranges_that_help_tells_are_those_that_training_allows():
    compared = 0
    for option in main.commands["train"].params:
        told = re.fullmatch(r"(\S+) to (\S+)", getattr(option, "values", ""))
        if told and hasattr(TrainConfig(), option.name):
            low, high = (option.type.convert(limit.replace(",", ""), None, None) for limit in told.groups())
            above = high + 1 if isinstance(high, int) else high * 1.001 + 1e-9
            for allowed in (low, high):
                TrainConfig(**{"micro_batch_size": 1, option.name: allowed})
            for refused in (low - 1, above):
                with pytest.raises(ConfigError) as raised:
                    TrainConfig(**{option.name: refused})
                assert raised.value.field == option.name
            compared += 1
    assert compared == 12


@pytest.mark.parametrize(("words", "option"), OLD, ids=[f"{' '.join(words)} {option.old}" for words, option in OLD])
def test_an_old_spelling_works_and_is_not_shown(words, option):
    command = COMMANDS[words]
    before = ["x"] * sum(isinstance(parameter, click.Argument) for parameter in command.params)

    def parsed(spelling):
        return command.make_context(words[-1], [*before, spelling, "3"]).params

    assert parsed(option.old) == parsed(option.opts[0])
    assert parsed(option.old)[option.name] != command.make_context(words[-1], [*before]).params[option.name]
    assert not re.search(rf"{option.old}\b(?!-)", help_of(*words))
    offered, _ = completions(*words, "--")
    assert option.opts[0] in offered
    assert option.old not in offered
    wrong = CliRunner().invoke(main, [*words, *before, option.old, ""]).stderr
    assert option.type.name == "path" or f"Invalid value for '{option.opts[0]}'" in wrong


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_names_of_the_field_are_understood_and_each_means_one_option(words):
    command = COMMANDS[words]
    real = [name for option in command.params for name in option.opts]
    before = ["x"] * sum(isinstance(parameter, click.Argument) for parameter in command.params)
    meant = {}
    for option in command.params:
        for name in field_names.hidden(option.opts, real):
            assert meant.setdefault(name, option) is option
            typed = [*before, "--" + name[2:].replace("-", "_"), "?"]
            if option.type.name in ("path", "text"):
                assert command.make_context(words[-1], typed, **main.context_settings).params[option.name] in ("?", ("?",))
                continue
            with pytest.raises(click.BadParameter) as raised:
                command.make_context(words[-1], typed, **main.context_settings)
            assert raised.value.param is option
    assert not {*meant} & {*help_of(*words).replace(",", " ").split()}
    assert not {*real, *meant} & {*field_names.WITHOUT}


def test_an_option_of_another_command_or_of_no_command_is_answered_with_the_right_one():
    for arguments, answer in (
        (["init", "--lr", "1"], "no option --lr; --learning-rate is an option of `femto train`, `femto search`"),
        (["train", "--n_embd", "64"], "no option --n-embd; --embedding-degree is an option of `femto init`, `femto bench`"),
        (["train", "--epochs", "3"], "no option --epochs; femto counts steps, --steps or --until"),
        (["infer", "--prompt", "a"], "no option --prompt; a prompt is an argument, without an option"),
        (["infer", "--promptz", "a"], "no option --promptz; did you mean --prompt-file?"),
        (["train", "--stepz", "3"], "no option --stepz; did you mean --steps?"),
        (["train", "--zzz"], "Error: no option --zzz\n"),
    ):
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 2 and answer in result.stderr
    for option in field_names.OPTIONS:
        assert any(option in parameter.opts for command in COMMANDS.values() for parameter in command.params), option
    assert CliRunner().invoke(main, ["generate", "--help"]).stdout == help_of("infer").replace(" infer ", " generate ", 1)


def test_the_old_spellings_are_these():
    assert {(*words, option.old, option.opts[0]) for words, option in OLD} == {
        ("infer", "--count", "--max-new-tokens"),
        ("infer", "--log-probs", "--candidates"),
        ("chunks", "--count", "--num-chunks"),
        ("insert-head", "--count", "--add-heads"),
        ("train", "--sample-count", "--sample-tokens"),
        ("experiment", "run", "--data", "--dataset"),
        ("experiment", "run", "--budget", "--max-minutes"),
    }


def test_an_error_of_a_setting_names_the_option_of_this_command():
    def told(command, *error):
        return COMMANDS[command].in_options_words(ConfigError(*error))

    assert told(("init",), "num_layers must be 1 or more", "num_layers") == "--num-layers must be 1 or more"
    assert told(("insert-head",), "count must be at least 1", "count") == "--add-heads must be at least 1"
    assert told(("insert-head",), "num_heads must be 9", "num_heads") == "num_heads must be 9"  # not those to add
    assert told(("loss",), "num_layers must be 1 or more", "num_layers") == "num_layers must be 1 or more"
    assert told(("init",), "num_layers must be 1 or more") == "num_layers must be 1 or more"
    assert told(("diagnose",), "model must be a file", "model") == "--model must be a file"


def test_the_page_of_commands_is_up_to_date():
    made = subprocess.run([sys.executable, ROOT / "docs/commands.py"], capture_output=True, text=True, check=True).stdout
    assert made == (ROOT / "docs/commands.md").read_text(), "run: python docs/commands.py > docs/commands.md"
    headings = re.findall(r"^#{3,4} femto (.+)$", made, re.MULTILINE)
    assert sorted(headings) == sorted(" ".join(words) for words in COMMANDS)
    depths = [len(marks) for marks in re.findall(r"^(#+) ", made, re.MULTILINE)]
    assert all(after <= before + 1 for before, after in pairwise(depths))
