"""Every kernel runs on every instruction set of the machine, with one and with several threads."""

from collections.abc import Iterator

import numpy as np
import pytest

from femto import kernels


@pytest.fixture(params=kernels.supported_isas())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    before = kernels.isa()
    kernels.set_isa(request.param)
    yield request.param
    kernels.set_isa(before)


@pytest.fixture(params=[1, 3], ids=["1thread", "3threads"])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = kernels.num_threads()
    kernels.set_num_threads(request.param)
    yield request.param
    kernels.set_num_threads(before)


@pytest.fixture
def three_threads() -> Iterator[None]:
    """For the slower tests; test_bits.py shows that one thread gives the same."""
    before = kernels.num_threads()
    kernels.set_num_threads(3)
    yield
    kernels.set_num_threads(before)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20240229)
