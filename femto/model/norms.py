"""Norms of a row, each with its forward beside its backward. Their tensors: `femto.model.tensors`."""

from collections.abc import Callable

from femto import kernels
from femto.model.buffers import Floats
from femto.model.linear import Tensors
from femto.model.workspace import Workspace


class LayerNorm:
    """(x - mean) / standard deviation * gain + bias, of each row."""

    def __init__(self, tensors: Tensors, gradients: Tensors, name: str, place: str, workspace: Workspace) -> None:
        """name: of its tensors, without _coeff and _bias. place: what the norms at the same place of all layers are called."""
        self.gain, self.bias = tensors[f"{name}_coeff"], tensors[f"{name}_bias"]
        self.d_gain, self.d_bias = gradients.get(f"{name}_coeff"), gradients.get(f"{name}_bias")
        columns = self.gain.size
        self.out = workspace.own(f"{place}_out", workspace.rows, columns)
        self.mean = workspace.own(f"{place}_mean", workspace.rows)
        self.rstd = workspace.own(f"{place}_rstd", workspace.rows)
        self.watch: Callable[[Floats, Floats], None] | None = None  # told the gradients of out and of x, after each backward

    def forward(self, x: Floats) -> Floats:
        self.x = x
        return kernels.layer_norm_forward(x, self.gain, self.bias, self.out, self.mean, self.rstd)[0]

    def backward(self, dout: Floats, dx: Floats, residual: Floats | None = None) -> Floats:
        assert self.d_gain is not None and self.d_bias is not None
        kernels.layer_norm_backward(dout, self.x, self.mean, self.rstd, self.gain, self.d_gain, self.d_bias, dx, residual)
        if self.watch:
            self.watch(dout, dx)
        return dx
