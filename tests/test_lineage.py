"""Ancestry from histories alone, and what `compare` makes of it."""

import copy
import json
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import femto
from femto import growth, tokenizers
from femto.analysis.compare import compare, cosine
from femto.analysis.lineage import number_of_steps, relation, tree
from femto.checkpoint.history import History
from femto.commands import main

TEXT = "to be, or not to be: that is the question. " * 40


def made(seed=1, vocabulary=TEXT):
    tokenizer = tokenizers.build("char", vocabulary, reserve_tokens=1)
    config = femto.ModelConfig(tokenizer.vocab_size, num_tokens=8, embedding_degree=12, num_layers=2, num_heads=2)
    return femto.create(config, tokenizer, femto.TrainConfig(batch_size=2, seed=seed))


def trained(checkpoint, steps, name="text"):
    """A copy that was trained on, as if from a file."""
    fork = copy.deepcopy(checkpoint)
    list(femto.Session(fork, femto.from_text(name, TEXT, fork.tokenizer), path=None).run(steps))
    return fork


@pytest.fixture(scope="module")
def family():
    parent = trained(made(), 4)
    child = trained(parent, 3)
    middle = copy.deepcopy(child)  # child's own session, stopped half-way and then trained otherwise
    middle.history.entries[-1]["steps"] = 1
    entries, losses, milliseconds = middle.history.entries, middle.history.losses[:5], middle.history.milliseconds[:5]
    middle.history = History.restored(entries, losses, milliseconds, 5)
    return {
        "parent": parent,
        "child": child,
        "sibling": trained(parent, 2),
        "middle": middle,
        "cousin": trained(middle, 1),
        "deeper": trained(growth.insert_layer(child, 1, 3), 2),
        "wider": growth.insert_heads(parent, 1, 3),
        "twice": growth.insert_layer(growth.insert_layer(parent, 0, 3), 2, 4),
        "with": growth.init_with(parent, tokenizers.BpeTokenizer([b"a", b"b", b"<unk>"], 2), seed=3),
        "stranger": trained(made(seed=2), 2),
    }


@pytest.mark.parametrize(
    ("first", "second", "kind", "common", "since"),
    [
        ("parent", "child", "parent", 4, (0, 3)),
        ("child", "parent", "child", 4, (3, 0)),
        ("child", "child", "same", 7, (0, 0)),
        ("child", "sibling", "siblings", 4, (3, 2)),
        ("middle", "child", "parent", 5, (0, 2)),
        ("cousin", "child", "siblings", 5, (1, 2)),
        ("child", "deeper", "parent", 7, (0, 2)),
        ("deeper", "twice", "siblings", 4, (5, 0)),
        ("parent", "with", "parent", 4, (0, 0)),
        ("child", "with", "siblings", 4, (3, 0)),
        ("parent", "stranger", "unrelated", 0, (4, 2)),
    ],
)
def test_two_histories_part_where_they_did(family, first, second, kind, common, since):
    found = relation(family[first].history, family[second].history)
    assert found.kind == kind
    assert number_of_steps(found.common) == common
    assert (number_of_steps(found.first), number_of_steps(found.second)) == since


def names(found):
    return {(tensor.name, tensor.second_name) for tensor in found.tensors}


def test_layers_correspond_through_the_insertions(family):
    found = compare(family["parent"], family["twice"])  # the old layers are 1 and 3 now
    assert len(found.tensors) == len(family["parent"].model.tensors) - 1  # embeddings are compared token by token
    assert {tensor.cosine for tensor in found.tensors} == {1.0}
    assert ("proj_0_weights", "proj_1_weights") in names(found)
    assert ("head_1_1_q", "head_3_1_q") in names(found)
    assert not found.only_first
    assert {name.split("_")[1] for name in found.only_second if name.startswith(("head_", "proj"))} == {"0", "2"}
    # inserted on both sides: neither new layer corresponds to the other's
    both = compare(family["deeper"], family["twice"])
    assert ("norm_0_coeff", "norm_1_coeff") in names(both)
    assert ("norm_2_coeff", "norm_3_coeff") in names(both)
    assert "norm_1_coeff" in both.only_first
    assert {"norm_0_coeff", "norm_2_coeff"} <= set(both.only_second)


def test_of_different_shapes_the_block_that_both_have_is_compared(family):
    found = compare(family["parent"], family["wider"])
    by_name = {tensor.name: tensor for tensor in found.tensors}
    assert by_name["head_0_1_k"].shape == (12, 6)
    assert by_name["head_0_1_k"].cosine == 1.0
    assert 0.5 < by_name["proj_0_weights"].cosine < 1.0  # centred
    assert found.only_second == [f"head_{layer}_2_{letter}" for layer in (0, 1) for letter in "qkv"]
    assert len(found.tokens) == 2 * family["parent"].tokenizer.vocab_size


def test_tensors_of_tokens_are_compared_only_between_the_same_tokens(family):
    found = compare(family["parent"], family["with"])
    assert not found.tokens
    assert "token_embedding" in found.only_first
    assert "head_map_bias" in found.only_second
    renamed = copy.deepcopy(family["parent"])
    growth.rename_token(renamed, "question")
    assert compare(family["parent"], renamed).tokens
    more = growth.add_tokens(family["parent"], ["question", "be"])
    for first, second in ((family["parent"], more), (more, family["parent"])):
        found = compare(first, second)
        assert len(found.tokens) == 2 * family["parent"].tokenizer.vocab_size
        assert {cosine.cosine for cosine in [*found.tokens, *found.tensors]} == {1.0}
        assert not found.only_first and not found.only_second


def test_cosines_are_those_of_the_definition(family):
    a, b = family["parent"], family["child"]
    found = compare(a, b)
    for tensor in found.tensors:
        x, y = (np.asarray(model.model.tensors[tensor.name], np.float64).ravel() for model in (a, b))
        assert not np.array_equal(x, y)
        assert tensor.cosine == pytest.approx(x @ y / np.linalg.norm(x) / np.linalg.norm(y), abs=1e-12)
    for token in found.tokens:
        columns = slice(6 * token.head, 6 * token.head + 6)
        x, y = (np.asarray(c.model.tensors["token_embedding"][token.token_id, columns], np.float64) for c in (a, b))
        assert token.cosine == pytest.approx(x @ y / np.linalg.norm(x) / np.linalg.norm(y), abs=1e-12)
    zero, one = np.zeros(3, np.float32), np.ones(3, np.float32)
    assert (cosine(zero, zero), cosine(zero, one), cosine(one, -one)) == (1.0, 0.0, -1.0)


def test_the_tree_has_every_model_once_where_it_ended(family):
    roots = tree({name: checkpoint.history for name, checkpoint in family.items()})
    assert [node.events[0].entry["kind"] for node in roots] == ["init", "init"]
    assert roots[1].models == ["stranger"]

    def walk(node, steps, found):
        steps += number_of_steps(node.events)
        for name in node.models:
            found[name] = steps
        for child in node.children:
            walk(child, steps, found)
        return found

    expected = {"parent": 4, "child": 7, "sibling": 6, "middle": 5, "cousin": 6, "deeper": 9, "wider": 4, "twice": 4, "with": 4}
    assert walk(roots[0], 0, {}) == expected


@pytest.fixture
def files(family, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, checkpoint in family.items():
        femto.save(checkpoint, f"{name}.dat")


def run(*arguments):
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_compare_words_it_as_the_log_does(files):
    lines = run("compare", "parent.dat", "child.dat", "--limit", 3).splitlines()
    assert lines[:2] == ["parent.dat is parent of child.dat.", "child.dat is 3-steps further trained version of parent.dat"]
    cosines = [float(line.split("cosine: ")[1]) for line in lines[2:5]]
    assert all(line.startswith("key: ") for line in lines[2:5])
    assert cosines == sorted(cosines)
    assert all(line.startswith("token_id: ") for line in lines[5:8])
    assert len(lines) == 8
    assert run("compare", "child.dat", "parent.dat", "--limit", 0).splitlines() == lines[:2]
    least = run("compare", "parent.dat", "child.dat", "--limit", 3, "--reverse").splitlines()
    assert float(least[2].split("cosine: ")[1]) > max(cosines)
    assert run("compare", "child.dat", "sibling.dat", "--limit", 0).splitlines() == [
        "child.dat and sibling.dat have the same parent.",
        "child.dat is 3-steps further trained version of the parent.",
        "sibling.dat is 2-steps further trained version of the parent.",
    ]
    assert run("compare", "child.dat", "child.dat", "--limit", 2).splitlines() == [
        "child.dat and child.dat have gone through the same training session. There's nothing to compare.",
        "The parent has been trained for 7 steps.",
        "key: atten_norm_0_bias, cosine: 1.000000",
        "key: atten_norm_0_coeff, cosine: 1.000000",
        'token_id: 0, token: " ", head: 0, cosine: 1.000000',
        'token_id: 0, token: " ", head: 1, cosine: 1.000000',
    ]
    assert run("compare", "parent.dat", "stranger.dat").startswith("parent.dat and stranger.dat have no common ancestor.\nkey: ")
    deeper = run("compare", "child.dat", "deeper.dat")
    assert "deeper.dat has also gone through: insert-layer before layer 1." in deeper
    assert "Only in deeper.dat: norm_1_coeff, norm_1_bias, " in deeper
    document = json.loads(run("compare", "parent.dat", "twice.dat", "--json"))
    assert (document["relation"], document["common_steps"]) == ("parent", 4)
    assert document["changes_since"]["second"] == ["insert-layer before layer 0", "insert-layer before layer 2"]
    assert len(document["tensors"]) == len(document["tokens"]) == 10


def test_two_models_made_by_init_with_from_one_are_called_so(family, files):
    other = growth.init_with(family["parent"], tokenizers.BpeTokenizer([b"a", b"b", b"<unk>"], 2), seed=4)
    femto.save(other, "other.dat")
    first = run("compare", "with.dat", "other.dat", "--limit", 0).splitlines()[0]
    assert first == "with.dat and other.dat were both made by init-with from the same model."


def test_history_draws_the_tree(files):
    drawn = run("history", *sorted(path.name for path in Path().glob("*.dat")))
    for path in Path().glob("*.dat"):
        assert drawn.count(f"= {path.name}\n") == 1
    assert drawn.count("init, preset modern") == 2
    assert "├── " in drawn and "└── " in drawn
    (root,) = json.loads(run("history", "parent.dat", "--json"))
    assert root["models"] == ["parent.dat"] and root["children"] == []
    assert [(event["entry"]["kind"], event["steps"]) for event in root["events"]] == [("init", 0), ("session", 4)]


def test_a_grandchild_hangs_from_its_parent_and_that_from_its_own(family):
    grandchild = growth.init_with(family["with"], tokenizers.BpeTokenizer([b"c", b"<unk>"], 1), seed=4)
    chosen = {"grandchild": grandchild, "parent": family["parent"], "with": family["with"]}
    (root,) = tree({name: checkpoint.history for name, checkpoint in chosen.items()})
    (child,) = root.children
    assert (root.models, child.models, child.children[0].models) == (["parent"], ["with"], ["grandchild"])


def test_long_histories_take_linear_time_and_no_depth(family, tmp_path):
    long, count = copy.deepcopy(family["parent"]), 10_000
    for _ in range(count):
        long.history.start_session(dataset={"name": "more"})
        long.history.add_step(1.0, 1.0)
    found = relation(long.history, copy.deepcopy(long.history))
    assert found.kind == "same" and number_of_steps(found.common) == count + 4
    femto.save(long, tmp_path / "long.dat")
    femto.save(family["parent"], tmp_path / "parent.dat")
    drawn = run("history", tmp_path / "long.dat", tmp_path / "parent.dat")
    assert len(drawn.splitlines()) == 2 + count + 2
    (root,) = json.loads(run("history", tmp_path / "long.dat", "--json"))
    assert len(root["events"]) == 2 + count


def test_models_of_many_layers_are_compared_in_linear_time():
    tokenizer = tokenizers.build("char", "ab")
    many = femto.create(femto.ModelConfig(tokenizer.vocab_size, 2, 1, 1200, 1), tokenizer, femto.TrainConfig())
    more = growth.insert_layer(many, 1200)
    started = time.process_time()
    assert len(compare(many, more).only_second) == 13
    assert time.process_time() - started < 4.0  # quadratic: 20 s
