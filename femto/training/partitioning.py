"""How a batch is cut: into parts, whose gradients are added as a tree, and these into micro-batches, computed one by one.

Both follow from shapes and settings alone, never from threads or machines, because the order of sums follows from them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import takewhile

from femto import kernels
from femto.config import PARTS, ModelConfig, TrainConfig
from femto.kernels.threads import free_threads
from femto.model import activation_floats
from femto.model.layout import layout_size
from femto.optimizers import OPTIMIZERS
from femto.system import memory
from femto.system.text import counted

ACTIVATION_BYTES = 560 << 20  # what the activations of one micro-batch may take, where there is one part

# Where there are several, measured: how little and how much a thread should compute at a time. Of fewer rows, the gradients of
# weights cost more than they bring; of more, activations leave the caches.
MOST_PARTS = 8  # unless their number is given
FEWEST_ROWS = 256  # tokens in a part, if there are more than two
MOST_ROWS = 640  # tokens in a micro-batch
GRADIENT_SHARE = 0.5  # of what training takes with one part: so much the gradients of more parts may take
MOST_GRADIENT_BYTES = 64 << 20  # of one part: the matrices of larger models leave the caches, and more rows at a time serve them


@dataclass(frozen=True)
class Partition:
    """B = parts * the windows of a part, and these are a multiple of micro_batch_size."""

    parts: int  # P, a power of two
    micro_batch_size: int  # windows computed at a time

    def workers(self) -> int:
        """How many parts are computed side by side, on the threads that there are; 1 where threads work inside the kernels."""
        threads = max(kernels.num_threads(), free_threads())
        return min(threads, self.parts) if 2 * self.parts > threads else 1


def activation_bytes(config: ModelConfig) -> int:
    """Bytes of activations and their gradients that one window of T tokens takes in training."""
    return 4 * config.num_tokens * activation_floats(config)


def partition(config: ModelConfig, training: TrainConfig) -> Partition:
    """How a batch of this training is cut: as set, and what is not set from shapes."""
    parts = training.parts or _most_parts(config, training)
    return Partition(parts, training.micro_batch_size or _micro_batch_size(config, training.batch_size // parts, parts))


def _most_parts(config: ModelConfig, training: TrainConfig) -> int:
    """The largest power of two up to MOST_PARTS that cuts the batch evenly, into parts that are worth their gradients."""
    gradient, batch = 4 * layout_size(config), training.batch_size
    state = OPTIMIZERS[training.optimizer].state_bytes(layout_size(config))
    if gradient > MOST_GRADIENT_BYTES:
        return 1
    one = 2 * gradient + state + 4 * MOST_ROWS * activation_floats(config)

    def worth_it(parts: int) -> bool:
        even = batch % (parts * (training.micro_batch_size or 1)) == 0
        rows = batch // parts * config.num_tokens
        return even and (parts == 2 or rows >= FEWEST_ROWS) and (parts - 1) * gradient <= GRADIENT_SHARE * one

    several: Iterable[int] = takewhile(worth_it, (parts for parts in PARTS if 1 < parts <= MOST_PARTS))
    return max(several, default=1)


def _micro_batch_size(config: ModelConfig, windows: int, parts: int) -> int:
    """The largest divisor of a part's windows that is not too much to compute at a time.

    With one part the rule is that of femto's first version, which counted d - 3 floats a token more: its files go on with it.
    """
    if parts == 1:
        fitting = ACTIVATION_BYTES // (4 * config.num_tokens * (activation_floats(config) + config.embedding_degree - 3))
    else:
        fitting = MOST_ROWS // config.num_tokens
    return max(size for size in range(1, windows + 1) if windows % size == 0 and size <= max(1, fitting))


def require_memory(config: ModelConfig, training: TrainConfig, with_state: bool = True) -> None:
    """Raise ResourceError, with the numbers, if this process cannot have the memory that training takes beside the parameters."""
    cut, optimizer = partition(config, training), OPTIMIZERS[training.optimizer]
    windows = cut.workers() * cut.micro_batch_size
    needs = {
        "gradients" + f" of {cut.parts} parts" * (cut.parts > 1): cut.parts * 4 * layout_size(config),
        f"{optimizer.TITLE}'s state": optimizer.state_bytes(layout_size(config)) * with_state,
        f"activations of {counted(windows, 'window')}": windows * activation_bytes(config),
    }
    advice = "a smaller --batch-size, --parts or --micro-batch-size, context or model needs less"
    memory.require(needs, "training this model", advice)
