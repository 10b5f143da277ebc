"""docs/performance.md and README.md say what benches/performance.json holds, and the benches measure what docs say they do."""

import copy
import datetime
import importlib
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from femto import config
from femto.optimizers.schedule import learning_rate, settled

ROOT = Path(__file__).parents[1]


sys.path.append(str(ROOT / "benches"))  # as Python does for a script that lies there
ablation, configurations, performance, scaling, tables, time_to_loss = map(
    importlib.import_module,
    ("ablation", "configurations", "performance", "scaling", "performance_tables", "time_to_loss"),
)
RECORDS = performance.read(performance.RECORDS)
PAGE = performance.PAGE.read_text(encoding="utf-8")


def test_the_pages_are_what_the_records_give() -> None:
    for path in (performance.PAGE, performance.README):
        page = path.read_text(encoding="utf-8")
        assert performance.updated(page, RECORDS) == page, "python benches/performance.py page"


def test_every_table_of_the_page_that_holds_timings_is_generated() -> None:
    shown = re.findall(r"<!-- generated: ([\w-]+) -->", PAGE + performance.README.read_text(encoding="utf-8"))
    assert set(shown) == {*tables.TABLES, *tables.PAGES}
    typed = performance.PART.sub("", PAGE)
    heads = re.findall(r"^\|(.*)\|\n\|-", typed, re.M)
    assert [head for head in heads if re.search(r"\bms\b|tokens/s|GF/s|of peak|seconds", head)] == []


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: f"{record['table']}, {record['processor']}")
def test_every_record_names_machine_instruction_set_date_commit_and_versions(record: dict) -> None:
    assert set(tables.FACTS) <= record.keys()
    assert record["table"] in tables.TABLES and record["rows"]
    assert record["processor"] and record["isa"] in ("avx512", "avx2", "base", "neon") and record["cores"] >= 1
    assert datetime.date.fromisoformat(record["date"]) >= datetime.date(2026, 11, 24)
    assert re.fullmatch(r"[0-9a-f]{7,40}", record["commit"])
    assert {"femto", "Python", "NumPy"} <= record["versions"].keys()
    against_others = any("ratio" in row for row in record["rows"])
    assert not against_others or "PyTorch" in record["versions"]


def test_rows_of_several_machines_stand_side_by_side() -> None:
    found = [record for record in RECORDS if record["table"] == "compare"]
    other = copy.deepcopy(found[0])
    other["processor"] = "another"
    other["rows"] = other["rows"][:1]
    machines = [record["processor"] for record in found]
    expected = [["| #10", name] for name in (*machines, "another")] + [["| #1", name] for name in machines]
    lines = tables.part("compare", [*found, other]).splitlines()
    assert [line.split(" | ")[:2] for line in lines[2 : 2 + len(expected)]] == expected


def test_the_rows_have_the_settings_that_the_page_states() -> None:
    assert "all with batches of 32 windows" in PAGE and "V=257, d=128, L=4, H=4, T=80, B=32" in PAGE
    for row in configurations.ROWS:
        assert configurations.configuration(row)[1].batch_size == 32
    middle = scaling.MIDDLE
    shape = (middle.vocab_size, middle.embedding_degree, middle.num_layers, middle.num_heads, middle.num_tokens)
    assert (*shape, scaling.MIDDLE_TRAINING.batch_size) == (257, 128, 4, 4, 80, 32)


def test_the_recipe_of_the_time_to_a_loss_is_the_one_that_the_page_shows_as_options() -> None:
    commands = re.findall(r"^femto (?:init|train) --model shakespeare.*$", PAGE, re.M)
    told = dict(re.findall(r"--([a-z-]+) ([\d.]+)", " ".join(commands)))
    assert len(told) == 10 and "--schedule life" in commands[1]
    assert time_to_loss.FEMTO_TRAINING["schedule"] == "life"  # the options give more than the numbers that are compared here
    assert float(told.pop("steps")) == time_to_loss.FEMTO_STEPS
    for option, value in told.items():
        assert float(value) == {**time_to_loss.FEMTO_MODEL, **time_to_loss.FEMTO_TRAINING}[option.replace("-", "_")], option
    preset = config.PRESETS["modern"]
    defaults = {**preset.model, **config.to_json(preset.training)}
    for field, value in {**time_to_loss.FEMTO_MODEL, **time_to_loss.FEMTO_TRAINING}.items():
        assert field.replace("_", "-") in {*told, "schedule"} or value == defaults.get(field, value), field


def test_the_ablation_was_recorded_with_the_presets_of_today() -> None:
    """When this fails, the rows "as the preset" of docs/measurements.md are about a preset that is gone: record them anew.

    The schedule of the preset modern may be another, as long as it gives the recorded one's rates one step earlier.
    """
    for name, recorded in ablation.PRESETS.items():
        preset = config.PRESETS[name]
        schedule = {"schedule": "life", "warmup_steps": 100}
        today = {**config.to_json(config.ModelConfig(257, **preset.model)), **config.to_json(preset.training), **schedule}
        assert [(field, value) for field, value in recorded.items() if today[field] != value] == [], name
    training = config.PRESETS["modern"].training
    for steps in {task["steps"] for task in ablation.TASKS.values()}:
        run = settled(training, 0, steps)
        before = replace(run, **schedule, decay_steps=steps - 100)
        assert [learning_rate(step, run) for step in range(steps)] == [learning_rate(step + 1, before) for step in range(steps)]
