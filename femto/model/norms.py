"""Norms of rows, each with its forward beside its backward. NORM_CLASSES has each by its name in `femto.config.NORMS`.

A new one: its class and name here, its name in `femto.config.NORMS`, and its tensors in `femto.model.tensors`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

from femto import kernels
from femto.model.buffers import Floats
from femto.model.linear import Tensors
from femto.model.workspace import NOTHING, Workspace


class Norm(ABC):
    """A norm at one place of the graph: out (R, columns) of x (R, columns), kept for the backward pass."""

    def __init__(self, tensors: Tensors, gradients: Tensors, name: str, place: str, workspace: Workspace) -> None:
        """name: of its tensors, without _coeff and _bias. place: what the norms at the same place of all layers are called."""
        self.gain, self.dgain = tensors[f"{name}_coeff"], gradients.get(f"{name}_coeff")
        self.out = workspace.own(f"{place}_out", workspace.rows, self.gain.size)
        self.x = NOTHING  # what it normalised last
        self.watch: Callable[[Floats, Floats], None] | None = None  # told the gradients of out and of x, after each backward

    @abstractmethod
    def forward(self, x: Floats) -> Floats:
        """out, which is this norm's own memory; x must not change before the backward pass."""

    def backward(self, dout: Floats, dx: Floats, residual: Floats | None = None) -> Floats:
        """dx = gradient of x (+ residual), either of which may be dout; gradients of its tensors are added to."""
        self._backward(dout, dx, residual)
        if self.watch:
            self.watch(dout, dx)
        return dx

    @abstractmethod
    def _backward(self, dout: Floats, dx: Floats, residual: Floats | None) -> None: ...


class LayerNorm(Norm):
    """(x - mean) / standard deviation * gain + bias (Ba, Kiros and Hinton 2016)."""

    def __init__(self, tensors: Tensors, gradients: Tensors, name: str, place: str, workspace: Workspace) -> None:
        super().__init__(tensors, gradients, name, place, workspace)
        self.bias, self.dbias = tensors[f"{name}_bias"], gradients.get(f"{name}_bias")
        self.mean = workspace.own(f"{place}_mean", workspace.rows)
        self.rstd = workspace.own(f"{place}_rstd", workspace.rows)

    def forward(self, x: Floats) -> Floats:
        self.x = x
        return kernels.layer_norm_forward(x, self.gain, self.bias, self.out, self.mean, self.rstd)[0]

    def _backward(self, dout: Floats, dx: Floats, residual: Floats | None) -> None:
        assert self.dgain is not None and self.dbias is not None
        kernels.layer_norm_backward(dout, self.x, self.mean, self.rstd, self.gain, self.dgain, self.dbias, dx, residual)


NORM_CLASSES: dict[str, type[Norm]] = {"layer_norm": LayerNorm}
