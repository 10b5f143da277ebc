"""Every kernel runs on every instruction set of the machine, with one and with several threads."""

from collections.abc import Iterator

import numpy as np
import pytest

from femto import kernels


@pytest.fixture(params=kernels.supported_isas())
def isa(request: pytest.FixtureRequest) -> str:
    kernels.set_isa(request.param)
    return str(request.param)


@pytest.fixture(params=[1, 3], ids=["1thread", "3threads"])
def threads(request: pytest.FixtureRequest) -> int:
    kernels.set_num_threads(request.param)
    return int(request.param)


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Whatever a test sets by itself does not outlive it."""
    before = kernels.isa(), kernels.num_threads()
    yield
    kernels.set_isa(before[0])
    kernels.set_num_threads(before[1])
    kernels.set_timing_hook(None)


@pytest.fixture
def three_threads() -> None:
    """For the slower tests; test_bits.py shows that one thread gives the same."""
    kernels.set_num_threads(3)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20240229)
