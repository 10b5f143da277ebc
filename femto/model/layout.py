"""Where each tensor of a model lies in the flat buffer that holds all parameters."""

from femto.config import ModelConfig
from femto.model import tensors
from femto.model.buffers import ALIGNMENT, Floats
from femto.model.tensors import Tensor, View
from femto.system.text import described


class ParameterLayout:
    """Where each tensor of a model lies in its flat buffer; gradients and optimiser state use the same layout.

    Tensors are stored in the order of the forward pass, each at a multiple of 64 bytes, zeros between.

    tensors: those that are stored, by name, in order. offsets: where each begins, in floats, by name. named: the same numbers by
    the names that users see, where queries, keys and values of each head are apart.
    """

    def __init__(self, config: ModelConfig) -> None:
        self.tensors: dict[str, Tensor] = {}
        self.offsets: dict[str, int] = {}
        self.named: dict[str, View] = {}
        offset = 0
        for tensor in tensors.declared(config):
            name = tensor.name
            self.tensors[name], self.offsets[name] = tensor, offset
            self.named |= {view.name: view for view in tensors.views(tensor, config)}
            offset += _padded(tensor.size)
        self.size = offset  # floats, padding included

    def __repr__(self) -> str:
        return described(self, tensors=len(self.tensors), floats=self.size)

    def stored(self, buffer: Floats) -> dict[str, Floats]:
        """Views of the stored tensors, C-contiguous, in order."""
        return {name: self._of(buffer, name) for name in self.tensors}

    def views(self, buffer: Floats) -> dict[str, Floats]:
        """Views by the names that users see, in order: as stored, but each head's q, k and v apart."""
        stored = self.stored(buffer)
        whole = {name: (stored[view.tensor.name], view.columns) for name, view in self.named.items()}
        return {name: tensor if columns is None else tensor[:, columns] for name, (tensor, columns) in whole.items()}

    def description(self) -> list[dict[str, object]]:
        """The list of tensors as a checkpoint has it: name, shape, and offset in floats."""
        return [
            {"name": name, "shape": list(tensor.shape), "offset": self.offsets[name]} for name, tensor in self.tensors.items()
        ]

    def _of(self, buffer: Floats, name: str) -> Floats:
        tensor, offset = self.tensors[name], self.offsets[name]
        return buffer[offset : offset + tensor.size].reshape(tensor.shape)


def layout_size(config: ModelConfig) -> int:
    """ParameterLayout(config).size without building it: cheap enough to check a size that a file claims."""
    ends = (*tensors.before_layers(config), *tensors.after_layers(config))
    layer = sum(_padded(tensor.size) for tensor in tensors.of_layer(config, 0))
    return sum(_padded(tensor.size) for tensor in ends) + config.num_layers * layer


def _padded(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
