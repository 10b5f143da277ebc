"""A numerics version promises bits: whole runs, from start to optimiser state, give what they gave when it was made."""

import json
from pathlib import Path

import pytest

from femto import kernels
from tests.fixed_runs import RUNS

DIGESTS = json.loads(Path(__file__).with_name("fixed_runs.json").read_text("ascii"))


@pytest.mark.parametrize("isa", kernels.supported_isas())
@pytest.mark.parametrize("name", RUNS)
def test_a_fixed_run_gives_the_bytes_that_it_always_gave(name, isa):
    before = kernels.isa()
    kernels.set_isa(isa)
    try:
        checkpoint = RUNS[name]()
    finally:
        kernels.set_isa(before)
    family = "base" if isa == "base" else "fused"
    found = {"parameters": checkpoint.model.parameters_sha256, "optimizer": checkpoint.optimizer_sha256}
    assert found == DIGESTS["1"][family][name]
