"""What the layers are made of: the settings of a pass, and a linear map with what fuses into its product.

Legend: B sequences of T tokens, R = B*T rows, d embedding degree, V vocabulary. Activations are (R, columns), row b*T + t.
In every layer of this folder forward stands beside backward. A backward takes the gradient of its output and returns that of its
input; gradients of parameters are added to. No layer allocates after construction, and none multiplies matrices but through
`femto.kernels`.
"""

from dataclasses import dataclass

from femto import kernels
from femto.kernels import Dropout, Live
from femto.model.buffers import Floats

Tensors = dict[str, Floats]

NO_GRADIENTS: Tensors = {}


@dataclass(frozen=True)
class Pass:
    """What one forward (and backward) pass needs beside its tokens."""

    tokens: int  # T of this pass, at most the model's context
    dropout: float = 0.0  # probability; 0 outside training
    seed: int = 0
    step: int | Live = 0
    first_sequence: int | Live = 0  # place of this micro-batch in the batch, so that masks do not depend on the split

    def mask(self, layer: int, kind: int) -> Dropout:
        return Dropout(self.dropout, self.seed, self.step, 3 * layer + kind)


class Linear:
    """y = x W + b, with the neighbours that fuse into the product: a residual, GELU."""

    def __init__(self, tensors: Tensors, gradients: Tensors, weights: str, bias: str | None) -> None:
        self.weights = tensors[weights]
        self.bias = tensors[bias] if bias else None
        self.dweights = gradients.get(weights)
        self.dbias = gradients.get(bias) if bias else None

    def forward(self, x: Floats, out: Floats, residual: Floats | None = None, gelu_slope: Floats | None = None) -> Floats:
        return kernels.matmul(x, self.weights, out, residual=residual, bias=self.bias, gelu_slope=gelu_slope)

    def backward(
        self,
        dout: Floats,
        x: Floats,
        dx: Floats,
        residual: Floats | None = None,
        factor: Floats | None = None,
    ) -> Floats:
        """dx = dout W^T (+ residual, * factor); dweights += x^T dout; dbias += sum of rows."""
        assert self.dweights is not None
        kernels.matmul(x, dout, self.dweights, transpose_a=True, accumulate=True, column_sums=self.dbias)
        return kernels.matmul(dout, self.weights, dx, transpose_b=True, residual=residual, factor=factor)


def project(linear: Linear, x: Floats, residual: Floats, out: Floats, scratch: Floats, mask: Dropout, run: Pass) -> Floats:
    """out = residual + dropout(linear(x)): one product without dropout, one more sweep with it."""
    if mask.probability == 0.0:
        return linear.forward(x, out, residual=residual)
    linear.forward(x, scratch)
    return kernels.dropout(scratch, mask, out, residual, first_row=run.first_sequence * run.tokens)


def dropped_backward(dout: Floats, scratch: Floats, mask: Dropout, run: Pass) -> Floats:
    """The gradient of what `project` dropped from."""
    if mask.probability == 0.0:
        return dout
    return kernels.dropout(dout, mask, scratch, first_row=run.first_sequence * run.tokens)
