"""What a session of Python shows of an object: one short line with the figures that tell it from others."""

import re

import pytest

import femto
from femto import kernels, optimizers
from femto.analysis.chunks import LossFile
from femto.dummy_data import addition_dummy
from femto.system.signals import StopRequest
from femto.tokenizers import BpeTokenizer, StreamDecoder
from femto.training import Spike

TEXT = addition_dummy.generate(lines=400)


@pytest.fixture(scope="module")
def objects(tmp_path_factory):
    tokenizer = femto.tokenizers.build("char", TEXT)
    config = femto.ModelConfig(tokenizer.vocab_size, num_tokens=8, embedding_degree=16, num_layers=2, num_heads=2)
    checkpoint = femto.create(config, tokenizer, femto.TrainConfig(batch_size=4, validation_split=0.1, seed=1))
    untrained = repr(checkpoint)
    dataset = femto.from_text("sums", TEXT, tokenizer)
    session = femto.Session(checkpoint, dataset, path="sums.dat")
    step, validation, saved = femto.Session(checkpoint, dataset, path=None).run(steps=1)
    decoder = femto.Decoder(checkpoint.model)
    decoder.prefill(tokenizer.encode("1 + "))
    return {
        "untrained": untrained,
        "checkpoint": checkpoint,
        "model": checkpoint.model,
        "config": config,
        "layout": checkpoint.model.layout,
        "tensor": checkpoint.model.layout.tensors["token_embedding"],
        "graph": femto.Graph(checkpoint.model, 2, 8, training=True),
        "decoder": decoder,
        "history": checkpoint.history,
        "optimizer": checkpoint.optimizer,
        "group": optimizers.parameter_groups(checkpoint.model.layout, femto.TrainConfig(weight_decays={"gain": 0.0}))[1],
        "session": session,
        "trainer": femto.Trainer(checkpoint, dataset.ids),
        "step": step,
        "validation": validation,
        "saved": saved,
        "spike": Spike(7, 3.0, 1.0),
        "dataset": dataset,
        "tokenizer": tokenizer,
        "bpe": BpeTokenizer.from_text(TEXT, 24),
        "stream": StreamDecoder(tokenizer),
        "sampling": femto.Sampling(),
        "generated": next(femto.generate(checkpoint, "1 + ", 1, femto.Sampling())),
        "comparison": femto.compare.compare(checkpoint, checkpoint),
        "relation": femto.lineage.relation(checkpoint.history, checkpoint.history),
        "event": femto.lineage.events(checkpoint.history)[1],
        "node": femto.lineage.tree({"sums.dat": checkpoint.history})[0],
        "diagnosis": femto.diagnosis.diagnose(checkpoint, dataset),
        "losses": LossFile(tmp_path_factory.mktemp("losses") / "losses.json", checkpoint.model, dataset, 8),
        "dropout": kernels.Dropout(0.5),
        "tape": kernels.Tape(),
        "stop": StopRequest(),
    }


EXPECTED = {
    "untrained": r"Checkpoint\(Model\(.*\), CharTokenizer\(.*\), steps=0, optimizer=None\)",
    "checkpoint": r"Checkpoint\(Model\(.*\), CharTokenizer\(.*\), steps=1, optimizer=AdamW\(.*\)\)",
    "model": r"Model\(parameters=7024, V=16, T=8, d=16, L=2, H=2\)",
    "stop": r"StopRequest\(None\)",
}


def test_what_is_shown_is_one_short_line_with_figures(objects):
    for name, thing in objects.items():
        shown = thing if isinstance(thing, str) else repr(thing)
        assert "\n" not in shown and " at 0x" not in shown and len(shown) < 250, f"{name}: {shown}"
        assert re.fullmatch(EXPECTED.get(name, r"\w+\(.*\d.*\)"), shown), f"{name}: {shown}"
