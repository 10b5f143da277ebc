"""The feed-forward half of a layer."""

from femto.config import ModelConfig
from femto.kernels.arguments import NO_DROPOUT, Dropout
from femto.model.buffers import Floats
from femto.model.linear import Linear, Pass, Tensors, dropped_backward, project
from femto.model.workspace import Workspace


class FeedForward:
    """W2 gelu(W1 x + b1) + b2, inner width 4d."""

    def __init__(
        self, layer: int, config: ModelConfig, tensors: Tensors, gradients: Tensors, workspace: Workspace, dropout: bool
    ) -> None:
        d, rows = config.embedding_degree, workspace.rows
        self.layer, self.dropout = layer, dropout
        self.up = Linear(tensors, gradients, f"feedforward1_{layer}_weights", f"feedforward1_{layer}_bias")
        self.down = Linear(tensors, gradients, f"feedforward2_{layer}_weights", f"feedforward2_{layer}_bias")
        self.slope = workspace.own("slope", rows, 4 * d)  # GELU's, at every activation
        self.activation = workspace.own("activation", rows, 4 * d)
        self.projected = workspace.shared("projected", rows, d)
        self.dbranch = workspace.gradient("dbranch", rows, d)
        self.dinner = workspace.gradient("dinner", rows, 4 * d)

    def _mask(self, run: Pass) -> Dropout:
        return run.mask(self.layer, 2) if self.dropout else NO_DROPOUT

    def forward(self, x: Floats, residual: Floats, out: Floats, run: Pass) -> Floats:
        """out (R, d) = residual + dropout(feed-forward(x)); dropout only where the block has it."""
        self.x = x
        self.up.forward(x, self.activation, gelu_slope=self.slope)
        return project(self.down, self.activation, residual, out, self.projected, self._mask(run), run)

    def backward(self, dout: Floats, dx: Floats, run: Pass, residual: Floats | None = None) -> Floats:
        dprojected = dropped_backward(dout, self.dbranch, self._mask(run), run)
        dinner = self.down.backward(dprojected, self.activation, self.dinner, factor=self.slope)
        return self.up.backward(dinner, self.x, dx, residual=residual)
