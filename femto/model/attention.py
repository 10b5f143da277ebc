"""Causal self-attention, its key/value cache, and rotary positions.

Legend: B sequences of T tokens, R = B*T rows, d embedding degree, H heads, hs = d/H head size, V vocabulary.
"""

from femto import kernels
from femto.config import ModelConfig
from femto.kernels import Live
from femto.model.buffers import Floats, aligned
from femto.model.linear import Linear, Pass, Tensors, dropped_backward, project
from femto.model.workspace import Workspace


class KeyValueCache:
    """Rotated keys (H, hs, capacity) and values (H, capacity, hs padded to 16) of the tokens that a layer has seen."""

    def __init__(self, config: ModelConfig) -> None:
        capacity, hs = -(-config.num_tokens // 16) * 16, config.head_size
        self.keys = aligned(config.num_heads, hs, capacity)
        self.values = aligned(config.num_heads, capacity, -(-hs // 16) * 16)

    def store(self, qkv: Floats, first: int | Live) -> None:
        """qkv (n, 3d) of tokens first … first+n-1."""
        kernels.cache_store(qkv, self.keys, self.values, first)


class SelfAttention:
    """Queries, keys and values of all heads in one product, causal attention, and the projection back to d."""

    def __init__(self, layer: int, config: ModelConfig, tensors: Tensors, gradients: Tensors, workspace: Workspace) -> None:
        d, rows = config.embedding_degree, workspace.rows
        self.layer, self.num_heads, self.num_tokens = layer, config.num_heads, config.num_tokens
        self.to_qkv = Linear(tensors, gradients, f"heads_{layer}_qkv", None)
        self.projection = Linear(tensors, gradients, f"proj_{layer}_weights", f"proj_{layer}_bias")
        self.tables = workspace.table("rotary", lambda: rotary_tables(config))
        self.qkv = workspace.own("qkv", rows, 3 * d)
        self.heads_out = workspace.own("heads_out", rows, d)
        self.row_max = workspace.own("row_max", rows * config.num_heads)
        self.row_scale = workspace.own("row_scale", rows * config.num_heads)
        self.projected = workspace.shared("projected", rows, d)
        self.dbranch = workspace.gradient("dbranch", rows, d)
        self.dheads = workspace.gradient("dheads", rows, d)
        self.dqkv = workspace.gradient("dqkv", rows, 3 * d)

    def _rotate(self, qkv: Floats, tokens: int, first: int | Live = 0, inverse: bool = False) -> None:
        """Turn queries and keys in place, where positions are rotary: of sequences of `tokens` tokens, or of one from `first`."""
        if self.tables:
            cosine, sine = self.tables
            columns = qkv.shape[1] // 3 * 2
            kernels.rotary(qkv[:, :columns], cosine[:tokens], sine[:tokens], 2 * self.num_heads, inverse, first)

    def forward(self, x: Floats, residual: Floats, out: Floats, run: Pass) -> Floats:
        """out (R, d) = residual + dropout(attention(x)), dropout also on the probabilities."""
        self.x = x
        self.to_qkv.forward(x, self.qkv)
        self._rotate(self.qkv, run.tokens)
        kernels.attention_forward(
            self.qkv,
            self.num_heads,
            run.tokens,
            self.heads_out,
            self.row_max,
            self.row_scale,
            dropout=run.mask(self.layer, 0),
            first_sequence=run.first_sequence,
        )
        return project(self.projection, self.heads_out, residual, out, self.projected, run.mask(self.layer, 1), run)

    def decode(self, x: Floats, residual: Floats, out: Floats, cache: KeyValueCache, position: int | Live) -> Floats:
        """The same for one row: token `position` of a sequence whose earlier tokens are in the cache."""
        d = x.shape[1]
        self.to_qkv.forward(x, self.qkv)
        self._rotate(self.qkv, self.num_tokens, first=position)
        cache.store(self.qkv, position)
        kernels.attention_decode(self.qkv[0, :d], cache.keys, cache.values, position + 1, self.heads_out[0])
        return self.projection.forward(self.heads_out, out, residual=residual)

    def fill(self, cache: KeyValueCache, tokens: int) -> None:
        """Put the keys and values of the last forward pass, of one sequence, into the cache."""
        cache.store(self.qkv[:tokens], 0)

    def backward(self, dout: Floats, dx: Floats, run: Pass, residual: Floats | None = None) -> Floats:
        """dx = gradient of x (+ residual); that of the forward's residual is dout itself."""
        dprojected = dropped_backward(dout, self.dbranch, run.mask(self.layer, 1), run)
        dheads = self.projection.backward(dprojected, self.heads_out, self.dheads)
        dqkv = kernels.attention_backward(
            dheads,
            self.qkv,
            self.heads_out,
            self.row_max,
            self.row_scale,
            self.num_heads,
            run.tokens,
            self.dqkv,
            dropout=run.mask(self.layer, 0),
            first_sequence=run.first_sequence,
        )
        self._rotate(dqkv, run.tokens, inverse=True)
        return self.to_qkv.backward(dqkv, self.x, dx, residual=residual)


def rotary_tables(config: ModelConfig) -> tuple[Floats, ...]:
    """Cosines and sines (T, hs // 2) where positions are rotary, else nothing."""
    if config.positional_encoding != "rotary":
        return ()
    return kernels.rotary_tables(config.num_tokens, config.head_size, config.rotary_base)
