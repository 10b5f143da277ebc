"""Recipes, the engine that runs them, what it measures, and the two commands over them."""

import importlib.util
import json
import math
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from femto import checkpoint, commands, experiments, kernels
from femto.commands import main
from femto.commands.shared.run_progress import show_progress
from femto.errors import DataError, FemtoError, RecipeError
from femto.experiments import measures, ngram, population, reading, report, results, search, sources, verdict
from femto.experiments.engine import Run, RunEvent, StageStarted, VocabularyStarted
from femto.experiments.recipe import RELATIONS, Measured
from femto.experiments.sources import Source
from femto.system.signals import StopRequest
from femto.training import evaluate

RECIPE = """
title = "small"
data = "simple_sequence"
tokenizer = { kind = "char" }
model = { embedding_degree = 16, num_layers = 1, num_heads = 2, num_tokens = 16 }

[modern]
training = { batch_size = 4, dropout = 0.1 }
stages = [
  { do = "init", count = 2 },
  { do = "train", steps = 6, snapshot = "early" },
  { do = "insert-layer", at = 1, copies = 2 },
  { do = "train", steps = 5, models = "model1*" },
  { do = "train", steps = 3 },
  { do = "keep", best = 1 },
  { do = "insert-head" },
  { do = "train", steps = 2, training = { dropout = 0.0 } },
]
checks = [
  { measure = "training_loss", at_most = 9.0 },
  { measure = "steps", models = "*-early", at_least = 6 },
]
"""


@pytest.fixture
def threads():
    """Two threads, whatever the machine, so that models are trained side by side."""
    before = kernels.num_threads()
    kernels.set_num_threads(2)
    yield
    kernels.set_num_threads(before)


def written(folder: Path, text: str, name: str = "small.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def small_run(tmp_path: Path, folder: str, **options) -> Run:
    found = reading.load(written(tmp_path, RECIPE))
    return Run(found, "modern", tmp_path / folder, sources.load(found.data), **options)


def all_of(run: Run, stop=lambda: False) -> list[RunEvent]:
    with run.locked(), closing(run.run(stop)) as events:
        return list(events)


def contents(run: Run) -> dict[str, tuple[str, str | None, list[float]]]:
    found = {}
    for name in run.state.made or []:
        loaded = checkpoint.load(run.path(name))
        found[name] = (loaded.model.parameters_sha256, loaded.optimizer_sha256, loaded.history.losses.tolist())
    return found


def femto(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_every_experiment_of_the_log_has_a_recipe_that_can_be_read():
    assert reading.numbers() == [str(number) for number in range(1, 44)]
    for number in reading.numbers():
        found = reading.load(number)
        assert set(found.plans) == {"modern", "reference"}
        assert found.log["verdict"] in ("success", "fail", "open")
        assert found.criterion and found.log["goal"] and found.log["observations"]
        assert found.data in sources.GENERATORS + sources.TEXTS
        reference = found.plan("reference")
        assert reference.training.learning_rate == 0.001 and reference.training.decay_steps == 50_000  # as in the journal
        assert reference.model["block"] == "reference" and reference.model["initializer"] == "reference"
        assert found.plan("modern").training.decay_steps < found.plan("modern").steps  # the decay ends with the run


def test_the_log_is_told_as_it_is():
    found = reading.load("22").log
    assert (found["verdict"], found["loss"], found["steps"], found["parameters"]) == ("fail", 2.7072, 1143, 1_575_904)
    assert found["question"] == "Is it trapped in a bad local optimum?"


def test_a_run_can_be_stopped_while_its_vocabulary_is_learnt(tmp_path):
    text = RECIPE.replace('"char"', '"bpe", vocab_size = 40').replace("simple_sequence", "simple_dummy2")
    found = reading.load(written(tmp_path, text))

    def run():
        return Run(found, "modern", tmp_path / "bpe", sources.load(found.data))

    assert all_of(run(), stop=lambda: True) == [VocabularyStarted(40)]
    assert not (tmp_path / "bpe" / "tokenizer.json").exists()
    again = run()
    assert all_of(again)[0] == VocabularyStarted(40)
    assert again.finished and checkpoint.load(again.path(again.state.models[0])).tokenizer.vocab_size == 40


def test_a_text_too_small_for_the_vocabulary_of_a_recipe_gives_a_smaller_one_and_a_note(tmp_path, capsys):
    text = RECIPE.replace('"char"', '"bpe", vocab_size = 4000, reserve_tokens = 2').replace("simple_sequence", "simple_sequence2")
    found = reading.load(written(tmp_path, text))
    run = Run(found, "modern", tmp_path / "bpe", sources.load(found.data), budget_minutes=0.001)
    with run.locked():
        show_progress(run, StopRequest(), quiet=False)
    learnt = checkpoint.load(run.path(run.state.models[0])).tokenizer
    assert learnt.vocab_size < 4002 and learnt.num_reserved == 2
    assert f"note: the text has a use for {learnt.vocab_size - 2:,} tokens, so that is the vocabulary" in capsys.readouterr().err


def test_all_stages_of_a_recipe_happen_in_order(tmp_path, threads):
    run = small_run(tmp_path, "all")
    events = all_of(run)
    stages = [event for event in events if isinstance(event, StageStarted)]
    assert [stage.number for stage in stages] == list(range(1, 9))
    assert [stage.steps for stage in stages] == [0, 12, 0, 10, 12, 0, 0, 2]
    assert run.finished and len(run.state.models) == 1
    (last,) = run.state.models
    assert last.endswith("-wide") and last.removesuffix("-wide") in (f"model{i}-ext{j}" for i in (1, 2) for j in (1, 2))
    grown = checkpoint.load(run.path(last))
    assert (grown.model.config.num_layers, grown.model.config.num_heads, grown.model.config.embedding_degree) == (2, 3, 24)
    assert grown.history.num_steps == 6 + (5 if last.startswith("model1") else 0) + 3 + 2
    assert (grown.training.dropout, grown.training.batch_size) == (0.0, 4)
    # the best by the mean of the last ten losses
    loss = {
        name: checkpoint.load(run.path(name)).history.losses[-10:].mean() for name in run.state.made if name.count("ext") == 1
    }
    loss = {name: value for name, value in loss.items() if not name.endswith("wide")}
    assert min(loss, key=loss.get) == last.removesuffix("-wide")
    early = checkpoint.load(run.path("model2-early"))
    assert (
        early.history.num_steps == 6
        and early.history.losses.tolist() == checkpoint.load(run.path("model2")).history.losses.tolist()
    )
    assert len({value[0] for value in contents(run).values()}) == len(run.state.made) - 2  # all differ, but copies of snapshots
    assert (run.folder / "dataset.txt").read_text() == sources.load("simple_sequence").text
    for line in (run.folder / "model1.jsonl").read_text().splitlines():
        assert json.loads(line)["event"] in ("step", "saved", "validation")


@pytest.mark.parametrize("after", [1, 5, 9, 16, 40])
def test_a_run_that_is_stopped_anywhere_goes_on_to_the_same_bytes(tmp_path, threads, after):
    whole = small_run(tmp_path, "whole")
    all_of(whole)
    parts, sessions = small_run(tmp_path, "parts"), 0
    while not parts.finished:
        parts, sessions = small_run(tmp_path, "parts", side_by_side=sessions % 2 == 0), sessions + 1
        with parts.locked(), closing(parts.run()) as events:
            for number, _ in enumerate(events):
                if number == after:
                    break  # closes the generators, which save
        assert sessions < 100
    assert sessions > 1 and contents(parts) == contents(whole)


def test_stopping_saves_and_says_so(tmp_path, threads):
    found, seen = reading.load(written(tmp_path, RECIPE.replace("steps = 6", "steps = 5000"))), []
    run = Run(found, "modern", tmp_path / "stopped", sources.load(found.data))

    def stop() -> bool:
        return len(seen) > 8

    with run.locked(), closing(run.run(stop)) as events:
        seen.extend(events)
    assert not run.finished and run.state.stage == 1
    steps = sum(checkpoint.load(run.path(name)).history.num_steps for name in run.state.models)
    assert 0 < steps < 10_000
    with pytest.raises(RecipeError, match="not finished"):
        verdict.judge(run)


def test_an_error_in_one_model_ends_the_others_and_is_raised(threads):
    closed = []

    def good(stop):
        try:
            while not stop():
                yield "step"
        finally:
            closed.append("good")

    def bad(stop):
        yield "step"
        raise DataError("broken")

    with pytest.raises(DataError, match="broken"), closing(population.train({"good": good, "bad": bad}, lambda: False)) as events:
        list(events)
    assert closed == ["good"] and kernels.num_threads() == 2


def test_a_budget_ends_every_stage_early_and_the_verdict_says_so(tmp_path, threads):
    text = RECIPE.replace("steps = 6", "steps = 100000").replace("steps = 3", "steps = 100000")
    found = reading.load(written(tmp_path, text))
    run = Run(found, "modern", tmp_path / "budget", sources.load(found.data), budget_minutes=0.02)
    all_of(run)
    judged = verdict.judge(run)
    assert run.finished and not judged.complete and 3 < judged.steps < 100_000 and judged.budget_minutes == 0.02
    with pytest.raises(RecipeError, match=r"it was ended early, by --max-minutes 0.02; --force begins anew"):
        Run(found, "modern", run.folder, run.source)
    trained = sum(checkpoint.load(run.path(name)).history.milliseconds.sum() for name in run.state.models)
    assert trained < 10_000.0


def test_a_folder_holds_one_run(tmp_path):
    run = small_run(tmp_path, "one")
    with run.locked(), closing(run.run()) as events:
        next(events)
    (tmp_path / "one" / "mine.txt").write_text("not of the run")
    with pytest.raises(RecipeError, match=r"another seed \(0, not 1\)"):
        small_run(tmp_path, "one", seed=1)
    with run.locked(), pytest.raises(FemtoError, match="in use by process"):
        small_run(tmp_path, "one").locked().__enter__()
    (tmp_path / "one" / "mine.dat").write_text("not of the run either")
    anew = small_run(tmp_path, "one", seed=1, anew=True)
    with anew.locked():
        assert anew.state.stage == 0
        assert {path.name for path in anew.folder.iterdir()} == {"mine.txt", "mine.dat", "run.json", ".run.json.lock"}
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "model1.dat").write_text("somebody's model")
    for anew in (False, True):
        with pytest.raises(RecipeError, match="holds other things than a run"), small_run(tmp_path, "other", anew=anew).locked():
            pass
    (tmp_path / "one" / "run.json").write_text('{"recipe": "x", "preset": "modern", "seed": 0, "data": {}, "models": ["../x"]}')
    with pytest.raises(RecipeError, match="cannot be read: not the state of a run"):
        small_run(tmp_path, "one")


def test_checks_take_the_model_that_does_worst_or_best(tmp_path):
    run = small_run(tmp_path, "checked")
    all_of(run)
    names = [name for name in run.state.made if "ext" not in name and "early" not in name]
    loss = {name: float(checkpoint.load(run.path(name)).history.losses.mean()) for name in names}
    worst, best = max(loss.values()), min(loss.values())

    def check(**keys):
        return reading._Reader("test").check("check", {"measure": "training_loss", "models": "model?", **keys})

    def outcome(**keys):
        (checked,) = verdict.judge_checks(run, [check(**keys)])
        return checked.value, checked.limit, checked.passed

    assert outcome(at_most=worst) == pytest.approx((worst, worst, True))
    assert outcome(below=worst) == pytest.approx((worst, worst, False))
    assert outcome(at_most=best, any=True) == pytest.approx((best, best, True))
    assert outcome(at_least=best) == pytest.approx((best, best, True))
    assert outcome(above=worst, any=True) == pytest.approx((worst, worst, False))
    assert outcome(below={"measure": "training_loss", "models": "model?"}) == pytest.approx((worst, best, False))
    assert outcome(below={"measure": "training_loss", "models": "model?"}, any=True) == pytest.approx((best, best, False))
    assert outcome(at_most=worst + 0.5, by=0.6) == pytest.approx((worst, worst - 0.1, False))
    with pytest.raises(RecipeError, match="no model is called so"):
        outcome(at_most=1.0, models="none*")


def test_figures_of_growth_come_from_the_history(tmp_path):
    run = small_run(tmp_path, "growth")
    all_of(run)
    subject = run.subject(run.state.models[0])
    losses, steps = subject.checkpoint.history.losses, subject.checkpoint.history.num_steps
    assert measures._insertions(subject) == [6, steps - 2]
    jumps = [losses[6] - losses[:6].mean(), losses[steps - 2] - losses[max(0, steps - 22) : steps - 2].mean()]
    assert measures.insertion_jump(subject) == pytest.approx(max(jumps), rel=1e-6)
    gain = losses[max(0, steps - 22) : steps - 2].mean() - losses[-20:].mean()
    assert measures.insertion_gain(subject) == pytest.approx(gain, abs=1e-6)
    assert measures.training_loss_at(subject, step=4, steps=2) == pytest.approx(losses[2:4].mean())
    after = [losses[max(0, at - 9) : at + 1].mean() for at in (6, steps - 2)]
    assert measures.loss_after_insertion(subject, steps=1) == pytest.approx(max(after))
    never = [
        measures.training_loss_at(subject, step=steps + 1),
        measures.loss_after_insertion(subject, steps=3),
        measures.insertion_jump(run.subject("model1-early")),
        measures.insertion_gain(run.subject("model1-early")),
    ]
    assert all(map(math.isnan, never))
    entropy = math.log(8) / 3 + 2 * math.log(5) / 3 + math.log(3) - 2 * math.log(2) / 3  # letters are a third, symbols two
    assert measures.unigram_entropy(subject) == pytest.approx(entropy, abs=1e-3)


def test_a_model_that_has_learnt_nothing_meets_no_criterion(tmp_path):
    """Every measure of a dummy set must be able to fail; the journal's models that learnt nothing must be seen as such."""
    kinds = {
        "simple_dummy": ["rules"],
        "simple_dummy2": ["actions", "actions_learnt"],
        "addition_dummy": ["well_formed", "sums"],
        "simple_sequence": ["samples", "other_prompts", "worst_cycle"],
        "simple_sequence2": ["samples", "other_prompts", "worst_cycle"],
    }
    for kind, of_kind in kinds.items():
        found = reading.load(
            written(tmp_path, RECIPE.replace("simple_sequence", kind).replace("steps = 6", "steps = 1"), f"{kind}.toml")
        )
        run = Run(found, "modern", tmp_path / kind, sources.load(kind))
        all_of(run, stop=lambda run=run: run.state.stage == 2)
        subject = run.subject("model1")
        for name in of_kind:
            assert measures.MEASURES[name].function(subject) < 0.5, name


@given(st.lists(st.text(min_size=1), min_size=1, max_size=5), st.floats(0.0, 0.9))
def test_a_text_is_split_between_characters_and_nothing_is_lost(documents, held_out):
    source = Source("text", tuple(document.encode() for document in documents))
    first, last = source.split(held_out)
    assert b"".join(first.documents + last.documents) == b"".join(source.documents)
    for part in (first, last):
        for document in part.documents:
            assert document.decode()
    assert source.num_bytes * (1.0 - held_out) - 4 <= first.num_bytes <= source.num_bytes * (1.0 - held_out) + 1


def test_every_machine_has_code_and_prose():
    code, prose = sources.load("code"), sources.load("prose")
    assert code.num_bytes > 2_000_000 and prose.num_bytes > 200_000
    assert code.is_substitute and "standard library" in code.name and "def " in code.text
    assert prose.is_substitute and "help topics" in prose.name


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('title = "small"', "title = 3", "title: expected str, got 3"),
        ('title = "small"', "colour = 3", "colour: no such key in a recipe"),
        ('data = "simple_sequence"', "", "data: missing"),
        ("[modern]", "[modernist]", "modernist: no such key"),
        ("embedding_degree = 16", "width = 16", "modern.model.width: no such setting"),
        ("embedding_degree = 16", "vocab_size = 16", "modern.model.vocab_size: is the tokenizer's"),
        ("embedding_degree = 16", "embedding_degree = 2024-01-01", "modern.model: embedding_degree must be a whole number"),
        ("num_heads = 2", "num_heads = 3", "embedding_degree must be a multiple of the number of heads, 3, got 16"),
        ("batch_size = 4", "seed = 4", "modern.training.seed: is the run's: --seed"),
        ("training = { dropout = 0.0 }", "training = { dropout = 2.0 }", "modern.stages[7].training: dropout must be"),
        ('kind = "char"', 'kind = "runes"', "modern.tokenizer.kind: must be one of"),
        ('data = "simple_sequence"', 'data = "poems"', "data: must be one of"),
        ('measure = "steps"', 'measure = "sums"', "sums is a measure of addition_dummy, not of simple_sequence"),
        ('measure = "training_loss"', 'measure = "five_gram"', "five_gram is a measure of text, not of simple_sequence"),
        ('measure = "training_loss"', 'measure = "training_loss", last = 0', "modern.checks[0].last: must be from 1 to"),
        ("stages = [", 'stages = [ { do = "init", name = "model2" },', "two models would be called model2"),
        ("stages = [", 'stages = [ { do = "init", name = "model1-ext1" },', "two models would be called model1-ext1"),
        ('snapshot = "early"', 'snapshot = "ext1"', "two models would be called model1-ext1"),
        ("count = 2", f'name = "{60 * "a"}"', "would be too long"),
        ("batch_size = 4", "batch_size = 0", "modern.training: batch_size must be"),
        ('do = "init"', 'do = "dance"', "modern.stages[0]: `do` must be one of init, init-with, train"),
        ('{ do = "init", count = 2 },', "", "must begin with init or init-with"),
        ("count = 2", "count = 0", "modern.stages[0].count: must be from 1 to 1,000, got 0"),
        ("count = 2", "count = true", "modern.stages[0]: count: expected int, got True"),
        ("count = 2", 'name = "../x"', "modern.stages[0].name: must be 1 to 64 letters"),
        ("steps = 6, ", "", "modern.stages[1]: steps: missing"),
        ("steps = 6", "steps = 6, stairs = 1", "modern.stages[1].stairs: no such key in a stage `train`"),
        ('measure = "steps"', 'measure = "height"', "modern.checks[1]: no measure 'height'; there are"),
        ("at_least = 6", "about = 6", "modern.checks[1]: exactly one of at_most, at_least, below, above"),
        ("at_least = 6", "at_least = 6, height = 1", "modern.checks[1].height: no such option"),
        ("at_least = 6", "at_least = true", "expected a number or a measure"),
        ('measure = "steps"', 'measure = "answer", prompt = "x"', "the measure answer needs expected"),
        ('data = "simple_sequence"', "data = [", "not a recipe"),
    ],
)
def test_a_recipe_that_is_wrong_is_refused_in_one_line_that_says_where(tmp_path, old, new, message):
    assert old in RECIPE
    path = written(tmp_path, RECIPE.replace(old, new, 1))
    result = femto("experiment", "run", path, "--folder", tmp_path / "run")
    assert result.exit_code == 1 and result.stderr.count("\n") == 1
    assert str(path) in result.stderr and message in result.stderr
    assert not (tmp_path / "run").exists()


def test_what_only_the_run_can_know_is_refused_too(tmp_path):
    cases = {
        "at = 1": ("at = 2", "stage 3: insert_at must be from 0 to 1"),
        'models = "model1*"': ('models = "none*"', "no model is called none*"),
        'models = "*-early"': ('models = "*-late"', "a check is about *-late"),
    }
    for number, (old, (new, message)) in enumerate(cases.items()):
        path = written(tmp_path, RECIPE.replace(old, new), f"r{number}.toml")
        result = femto("experiment", "run", path, "--folder", tmp_path / f"run{number}", "--quiet")
        assert result.exit_code == 1 and message in result.stderr and result.stderr.count("\n") == 1, result.output
    numbered = written(tmp_path, RECIPE, "22.toml")
    assert "numbers alone are the journal's" in femto("experiment", "run", numbered).stderr
    continuation = written(tmp_path, "", "bytes.bin")
    continuation.write_bytes(b"\x80" * 20_000)
    code = written(tmp_path, RECIPE.replace("simple_sequence", "code").replace("char", "byte"), "code.toml")
    refused = femto("experiment", "run", code, "--dataset", continuation, "--folder", tmp_path / "bytes")
    assert refused.exit_code == 1 and "nothing is left to train on" in refused.stderr


def test_a_model_that_was_not_trained_meets_no_check_and_is_not_kept(tmp_path):
    stages = """stages = [
  { do = "init", name = "a" },
  { do = "train", steps = 8 },
  { do = "init", name = "b" },
  { do = "keep", best = 1 },
]
checks = ["""
    text = RECIPE[: RECIPE.index("stages = [")] + stages + RECIPE[RECIPE.index("checks = [") + len("checks = [") :]
    text = text.replace('models = "*-early", at_least = 6', "at_least = 0")
    run = Run(reading.load(written(tmp_path, text)), "modern", tmp_path / "kept", sources.load("simple_sequence"))
    all_of(run)
    assert run.state.models == ["a"] and verdict.judge(run).passed
    unkept = Run(
        reading.load(written(tmp_path, text.replace('  { do = "keep", best = 1 },\n', ""))),
        "modern",
        tmp_path / "unkept",
        run.source,
    )
    all_of(unkept)
    judged = verdict.judge(unkept)
    assert unkept.state.models == ["a", "b"] and not judged.passed and math.isnan(judged.checks[0].value)
    assert "—" in results.outcome(judged.to_json()["checks"][0])


def test_run_tells_the_verdict_by_its_exit_status(tmp_path):
    path, folder = written(tmp_path, RECIPE), tmp_path / "run"
    result = femto("experiment", "run", path, "--folder", folder, "--quiet")
    assert result.exit_code == 0 and "success: loss" in result.stdout and "met     training_loss" in result.stdout
    again = femto("experiment", "run", path, "--folder", folder, "--json")
    document = json.loads(again.stdout)
    assert again.exit_code == 0 and document["passed"] and document["complete"] and document["steps"] >= 11
    assert document["checks"][1]["figure"] == "steps of *-early" and document["figures"]["steps of *-early"] == 6
    assert json.loads((folder / "verdict.json").read_text())["passed"]
    hard = written(tmp_path, RECIPE.replace("at_most = 9.0", "at_most = 0.1"), "hard.toml")
    result = femto("experiment", "run", hard, "--folder", tmp_path / "hard", "--quiet")
    assert result.exit_code == 3 and "NOT met training_loss" in result.stdout
    longer = written(tmp_path, RECIPE.replace("steps = 6", "steps = 7"), "longer.toml")
    other = femto("experiment", "run", longer, "--folder", folder)
    assert other.exit_code == 1 and "holds a run with another recipe" in other.stderr
    assert femto("experiment", "run", path, "--dataset", path).stderr.startswith(
        "Error: --dataset: this experiment generates its own text"
    )


def test_an_experiment_that_starts_from_another_runs_that_one_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stages = '{ do = "init-with", parents = ["first/model2"] }, { do = "init-with", parents = ["first/model2"], NAMED }'
    stages = stages.replace("NAMED", 'name = "knowing", keep_tokens = true')
    child = RECIPE.replace('{ do = "init", count = 2 }', stages)
    child = child.replace('models = "model1*"', 'models = "inherited*"')
    first, second = written(tmp_path, RECIPE, "first.toml"), written(tmp_path, child, "second.toml")
    missing = femto("experiment", "run", second, "--quiet")
    assert missing.exit_code == 0, missing.output
    parent = checkpoint.load("experiments/first-modern/model2.dat").history
    assert parent.num_steps == 6 and first.exists()
    made = checkpoint.load("experiments/second-modern/inherited.dat").history.entries[0]
    assert (made["kind"], made["parent"], made["parent_steps"]) == ("init-with", parent.entries[-1]["id"], 6)
    assert "kept_tokens" not in made
    knowing = checkpoint.load("experiments/second-modern/knowing.dat")
    assert knowing.history.entries[0]["kept_tokens"] == knowing.tokenizer.vocab_size


def test_parents_are_found_through_parents_and_circles_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    start = '{ do = "init", count = 2 }'
    for name, parent in (
        ("second", "first/model2"),
        ("third", "second/inherited"),
        ("loop", "loop/inherited"),
        ("bad", "first/x"),
    ):
        child = RECIPE.replace(start, f'{{ do = "init-with", parents = ["{parent}"] }}').replace("model1*", "inherited*")
        written(tmp_path, child, f"{name}.toml")
    written(tmp_path, RECIPE, "first.toml")
    result = femto("experiment", "run", "third.toml")
    assert result.exit_code == 0, result.output
    assert "first experiment first, whose models it starts from" in result.stderr
    assert checkpoint.load("experiments/third-modern/inherited.dat").history.entries[0]["kind"] == "init-with"
    assert "starts from loop, which starts from it" in femto("experiment", "run", "loop.toml").stderr
    assert "that experiment makes model1-early, model2-early" in femto("experiment", "run", "bad.toml").stderr


@pytest.mark.parametrize("events_before", [4, 9])  # in the middle of a model's training, and when it had all its steps
def test_metrics_have_every_step_once_although_a_run_was_killed(tmp_path, events_before):
    run = small_run(tmp_path, "killed", side_by_side=False)
    with run.locked(), closing(run.run()) as events:
        for number, _ in enumerate(events):
            if number == events_before:
                break
    path = run.folder / "model1.jsonl"
    whole = path.read_bytes()
    reached = checkpoint.load(run.path("model1")).history.num_steps
    assert reached == min(6, events_before - 1)
    # what a kill leaves, and lost power
    torn = ["\0\0\0", "[]", f'{{"step": {"9" * 400}}}', "[" * 5000, '{"event": "st']
    path.write_bytes(whole + "\n".join([f'{{"event": "step", "step": {reached + 1}}}', *torn]).encode())
    again = small_run(tmp_path, "killed")
    all_of(again)
    written_steps = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["step"] for line in written_steps if line["event"] == "step"] == list(range(1, 7))


def test_list_and_show_tell_the_log_beside_ours():
    listed = femto("experiment", "list")
    assert listed.exit_code == 0 and len(listed.stdout.splitlines()) == 44
    rows = json.loads(femto("experiment", "list", "--json").stdout)
    assert [row["number"] for row in rows] == list(range(1, 44)) and rows[21]["log"] == "fail"
    shown = femto("experiment", "show", "22")
    assert shown.exit_code == 0
    for part in ("fail", "loss 2.7072", "1,143 steps", "Is it trapped in a bad local optimum?", "modern:", "reference:"):
        assert part in shown.stdout
    document = json.loads(femto("experiment", "show", "22", "--json").stdout)
    assert document["plans"]["modern"]["model"]["embedding_degree"] == 144
    assert femto("experiment", "show", "44").stderr == "Error: there is no experiment 44; the journal has 1 to 43\n"
    assert femto("experiment", "show", "none.toml").exit_code == 1
    told = femto("experiment", "measures").stdout
    assert all(f"\n{name}" in f"\n{told}" for name in measures.MEASURES)
    assert set(json.loads(femto("experiment", "measures", "--json").stdout)) == measures.MEASURES.keys()


def test_recorded_figures_fill_the_answers(monkeypatch):
    fake = {
        "3.modern": {"seconds": 125.0, "steps": 12345, "loss": 1.25, "figures": {"rules": 0.985, "training_loss of none*": 0.75}}
    }
    monkeypatch.setattr(results, "recorded", lambda: fake)
    figures = ("modern.loss", "modern.rules", "modern.training_loss of none*", "modern.steps", "modern.seconds", "reference.loss")
    assert results.filled(" ".join(f"{{3.{figure}}}" for figure in figures)) == "1.250 98.5% 0.750 12,345 2 min 05 s ?"


def test_search_grows_and_keeps_the_best(tmp_path):
    assert set(commands.search.SIZES) == search.SIZES.keys()
    text = tmp_path / "dataset.txt"
    text.write_text(sources.load("simple_sequence").text)
    folder = tmp_path / "search"
    arguments = ["search", "--size", "tiny", "--dataset", text, "--folder", folder, "--tokenizer", "char", "--num-tokens", 16,
                 "--batch-size", 2, "--steps", 20]  # fmt: skip
    result = femto(*arguments, "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    ((name, best),) = document["models"].items()
    assert document["finished"] and (best["num_layers"], best["steps"]) == (6, 30 + 60 + 2 * (30 + 60) + 20)
    rivals = {
        n: checkpoint.load(folder / f"{n}.dat").history.losses[:270][-10:].mean() for n in ("model1-ext-ext", "model2-ext-ext")
    }
    assert min(rivals, key=rivals.get) == name
    assert (folder / "model1-chk1.dat").exists() and checkpoint.load(folder / "model1-chk1.dat").history.num_steps == 30
    again = femto(*arguments)
    assert again.exit_code == 0 and f"{name}.dat: 6 layers, 290 steps, loss" in again.stdout
    other = femto(*arguments, "--seed", 1)
    assert other.exit_code == 1 and "another seed" in other.stderr


def test_a_text_is_held_out_from_tokenizer_training_and_bar_alike(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("the cat sat on the mat; " * 900 + "ZZ the dog sat on the log; " * 85)  # Z in the last tenth only
    document = RECIPE.replace("simple_sequence", "prose").replace('"training_loss"', '"five_gram"')
    document = document.replace("at_most = 9.0", 'above = { measure = "bits_per_byte" }').replace("steps = 6", "steps = 260")
    source = sources.load("prose", text)
    run = Run(reading.load(written(tmp_path, document)), "modern", tmp_path / "run", source)
    all_of(run)
    first, last = (b"".join(part.documents) for part in source.split(0.1))
    assert b"Z" not in first and b"ZZ" in last and first + last == text.read_bytes()
    subject = run.subject(run.state.models[0])
    assert b"Z" not in b"".join(subject.checkpoint.tokenizer.tokens)
    sessions = [entry for entry in subject.checkpoint.history.entries if entry["kind"] == "session"]
    assert {session["dataset"]["bytes"] for session in sessions} == {len(first)}
    ids = subject.checkpoint.tokenizer.encode(last)
    loss = evaluate(subject.checkpoint.model, ids, subject.checkpoint.tokenizer)
    figures = verdict.judge(run).figures
    assert (figures["bits_per_byte"], figures["five_gram"]) == pytest.approx(
        (loss.bits_per_byte, ngram.bits_per_byte(first, last))
    )
    metrics = [json.loads(line) for line in (run.folder / "model1.jsonl").read_text().splitlines()]
    validations = [line for line in metrics if line["event"] == "validation"]
    assert [line["step"] for line in validations] == [250, 260] and validations[0]["tokens"] == len(ids) - 1
    assert subject.peak_memory > 10 << 20  # of the training, whoever judges
    with run.locked():
        assert run.subject(run.state.models[0]).peak_memory == subject.peak_memory


def test_the_library_runs_a_recipe(tmp_path):
    found = experiments.load(written(tmp_path, RECIPE))
    run = experiments.Run(found, "modern", tmp_path / "run", sources.load(found.data))
    all_of(run)
    judged = experiments.judge(run)
    assert judged.passed and judged.to_json()["figures"]["training_loss"] == pytest.approx(judged.loss)
    assert verdict.label(Measured("answer", "a*", {"prompt": "x", "expected": "y"})) == "answer prompt='x' expected='y' of a*"


def test_what_is_recorded_is_consistent_and_shown_as_it_is():
    compare = dict(RELATIONS.values())
    for key, found in results.recorded().items():
        number, preset = key.split(".")
        assert (found["name"], found["preset"]) == (number, preset)
        for check in found["checks"]:
            if check["value"] is None:  # the training ended before it could be measured
                assert not check["passed"]
                continue
            assert check["passed"] == compare[check["relation"]](check["value"], check["limit"])
            assert check["value"] in [value for name, value in found["figures"].items() if name.startswith(check["figure"])]
        assert found["passed"] == all(check["passed"] for check in found["checks"])
        assert found["plan"] == reading.load(number).plan(preset).digest, (
            f"{key} was recorded with other settings: record it anew"
        )
        assert not found["complete"] or found["steps"] == found["planned_steps"]
    for name in ("experiments.md", "journal.md", "recipes.md"):
        page = (Path(__file__).parents[1] / "docs" / name).read_text(encoding="utf-8")
        assert report.PART.search(page) and report.updated(page) == page, "python benches/experiments.py page"
    spec = importlib.util.spec_from_file_location("ablation", Path(__file__).parents[1] / "benches" / "ablation.py")
    assert spec is not None and spec.loader is not None
    ablation = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(ablation)
    page = ablation.PAGE.read_text(encoding="utf-8")
    assert ablation.updated(page) == page, "python benches/ablation.py page"


def test_every_figure_in_an_answer_was_recorded():
    for number in reading.numbers():
        found = reading.load(number)
        for text in (found.answer, *(plan.note for plan in found.plans.values())):
            for match in results.PLACEHOLDER.finditer(text):
                assert results.filled(match[0]) != "?", f"experiment {number}: {match[0]}"


def test_checks_and_words_of_a_recipe_may_change_under_a_run_but_not_its_plan(tmp_path):
    run = small_run(tmp_path, "changed")
    all_of(run)
    reworded = RECIPE.replace('title = "small"', 'title = "other"').replace("at_most = 9.0", "at_most = 0.1")
    again = Run(reading.load(written(tmp_path, reworded)), "modern", run.folder, run.source)
    assert again.finished and verdict.judge(run).passed and not verdict.judge(again).passed
    for old, new in (("steps = 6", "steps = 7"), ("dropout = 0.1", "dropout = 0.2"), ("num_tokens = 16", "num_tokens = 17")):
        with pytest.raises(RecipeError, match="another recipe"):
            Run(reading.load(written(tmp_path, RECIPE.replace(old, new))), "modern", run.folder, run.source)
