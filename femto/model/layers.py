"""The layers of the graph: each with its forward beside its backward, over buffers that are allocated once.

Legend: B sequences of T tokens, R = B*T rows, d embedding degree, V vocabulary. Activations are (R, columns), row b*T + t.
A backward takes the gradient of its output and returns that of its input; gradients of parameters are added to. Nothing here
allocates after construction, and nothing multiplies matrices but `femto.kernels`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from femto import kernels
from femto.config import ModelConfig
from femto.kernels import Dropout, Integers
from femto.model.buffers import Floats, aligned
from femto.model.workspace import Workspace

Tensors = dict[str, Floats]

NO_GRADIENTS: Tensors = {}


@dataclass(frozen=True)
class Pass:
    """What one forward (and backward) pass needs beside its tokens."""

    tokens: int  # T of this pass, at most the model's context
    dropout: float = 0.0  # probability; 0 outside training
    seed: int = 0
    step: int = 0
    first_sequence: int = 0  # place of this micro-batch in the batch, so that masks do not depend on the split

    def mask(self, layer: int, kind: int) -> Dropout:
        return Dropout(self.dropout, self.seed, self.step, 3 * layer + kind)


class Linear:
    """y = x W + b, with the neighbours that fuse into the product: a residual, GELU."""

    def __init__(self, tensors: Tensors, gradients: Tensors, weights: str, bias: str | None) -> None:
        self.weights = tensors[weights]
        self.bias = tensors[bias] if bias else None
        self.d_weights = gradients.get(weights)
        self.d_bias = gradients.get(bias) if bias else None

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
        """dx = dout W^T (+ residual, * factor); dW += x^T dout; db += sum of rows."""
        assert self.d_weights is not None
        kernels.matmul(x, dout, self.d_weights, transpose_a=True, accumulate=True, column_sums=self.d_bias)
        return kernels.matmul(dout, self.weights, dx, transpose_b=True, residual=residual, factor=factor)


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


class KeyValueCache:
    """Rotated keys (H, hs, capacity) and values (H, capacity, hs padded to 16) of the tokens that a layer has seen."""

    def __init__(self, config: ModelConfig) -> None:
        capacity, hs = -(-config.num_tokens // 16) * 16, config.head_size
        self.keys = aligned(config.num_heads, hs, capacity)
        self.values = aligned(config.num_heads, capacity, -(-hs // 16) * 16)
        self.head_size = hs

    def store(self, keys: Floats, values: Floats, start: int) -> None:
        """keys and values (n, d) of tokens start … start+n-1."""
        n, heads, hs = len(keys), len(self.keys), self.head_size
        self.keys[:, :, start : start + n] = keys.reshape(n, heads, hs).transpose(1, 2, 0)
        self.values[:, start : start + n, :hs] = values.reshape(n, heads, hs).transpose(1, 0, 2)


class SelfAttention:
    """Queries, keys and values of all heads in one product, causal attention, and the projection back to d."""

    def __init__(self, layer: int, config: ModelConfig, tensors: Tensors, gradients: Tensors, workspace: Workspace) -> None:
        d, rows = config.embedding_degree, workspace.rows
        self.layer, self.num_heads = layer, config.num_heads
        self.to_qkv = Linear(tensors, gradients, f"heads_{layer}_qkv", None)
        self.projection = Linear(tensors, gradients, f"proj_{layer}_weights", f"proj_{layer}_bias")
        self.tables = workspace.table("rotary", lambda: rotary_tables(config))
        self.qkv = workspace.own("qkv", rows, 3 * d)
        self.heads_out = workspace.own("heads_out", rows, d)
        self.row_max = workspace.own("row_max", rows * config.num_heads)
        self.row_scale = workspace.own("row_scale", rows * config.num_heads)
        self.projected = workspace.shared("projected", rows, d)
        self.d_branch = workspace.gradient("d_branch", rows, d)
        self.d_heads = workspace.gradient("d_heads", rows, d)
        self.d_qkv = workspace.gradient("d_qkv", rows, 3 * d)

    def _rotate(self, qkv: Floats, start: int, end: int, inverse: bool = False) -> None:
        """Turn the queries and keys of tokens start … end-1, in place, where positions are rotary."""
        if self.tables:
            cosine, sine = self.tables
            columns = qkv.shape[1] // 3 * 2
            kernels.rotary(qkv[:, :columns], cosine[start:end], sine[start:end], 2 * self.num_heads, inverse)

    def forward(self, x: Floats, residual: Floats, out: Floats, run: Pass) -> Floats:
        """out (R, d) = residual + dropout(attention(x)), dropout also on the probabilities."""
        self.x = x
        self.to_qkv.forward(x, self.qkv)
        self._rotate(self.qkv, 0, run.tokens)
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

    def decode(self, x: Floats, residual: Floats, out: Floats, cache: KeyValueCache, position: int) -> Floats:
        """The same for one row: token `position` of a sequence whose earlier tokens are in the cache."""
        d = x.shape[1]
        self.to_qkv.forward(x, self.qkv)
        self._rotate(self.qkv, position, position + 1)
        cache.store(self.qkv[:, d : 2 * d], self.qkv[:, 2 * d :], position)
        kernels.attention_decode(self.qkv[0, :d], cache.keys, cache.values, position + 1, self.heads_out[0])
        return self.projection.forward(self.heads_out, out, residual=residual)

    def fill(self, cache: KeyValueCache, tokens: int) -> None:
        """Put the keys and values of the last forward pass, of one sequence, into the cache."""
        d = self.qkv.shape[1] // 3
        cache.store(self.qkv[:tokens, d : 2 * d], self.qkv[:tokens, 2 * d :], 0)

    def backward(self, dout: Floats, dx: Floats, run: Pass, residual: Floats | None = None) -> Floats:
        """dx = gradient of x (+ residual); that of the forward's residual is dout itself."""
        d_projected = d_dropped(dout, self.d_branch, run.mask(self.layer, 1), run)
        d_heads = self.projection.backward(d_projected, self.heads_out, self.d_heads)
        d_qkv = kernels.attention_backward(
            d_heads,
            self.qkv,
            self.heads_out,
            self.row_max,
            self.row_scale,
            self.num_heads,
            run.tokens,
            self.d_qkv,
            dropout=run.mask(self.layer, 0),
            first_sequence=run.first_sequence,
        )
        self._rotate(d_qkv, 0, run.tokens, inverse=True)
        return self.to_qkv.backward(d_qkv, self.x, dx, residual=residual)


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
        self.d_branch = workspace.gradient("d_branch", rows, d)
        self.d_inner = workspace.gradient("d_inner", rows, 4 * d)

    def _mask(self, run: Pass) -> Dropout:
        return run.mask(self.layer, 2) if self.dropout else kernels.NO_DROPOUT

    def forward(self, x: Floats, residual: Floats, out: Floats, run: Pass) -> Floats:
        """out (R, d) = residual + dropout(feed-forward(x)); dropout only where the block has it."""
        self.x = x
        self.up.forward(x, self.activation, gelu_slope=self.slope)
        return project(self.down, self.activation, residual, out, self.projected, self._mask(run), run)

    def backward(self, dout: Floats, dx: Floats, run: Pass, residual: Floats | None = None) -> Floats:
        d_projected = d_dropped(dout, self.d_branch, self._mask(run), run)
        d_inner = self.down.backward(d_projected, self.activation, self.d_inner, factor=self.slope)
        return self.up.backward(d_inner, self.x, dx, residual=residual)


def project(linear: Linear, x: Floats, residual: Floats, out: Floats, scratch: Floats, mask: Dropout, run: Pass) -> Floats:
    """out = residual + dropout(linear(x)): one product without dropout, one more sweep with it."""
    if mask.probability == 0.0:
        return linear.forward(x, out, residual=residual)
    linear.forward(x, scratch)
    return kernels.dropout(scratch, mask, out, residual, first_row=run.first_sequence * run.tokens)


def d_dropped(dout: Floats, scratch: Floats, mask: Dropout, run: Pass) -> Floats:
    """The gradient of what `project` dropped from."""
    if mask.probability == 0.0:
        return dout
    return kernels.dropout(dout, mask, scratch, first_row=run.first_sequence * run.tokens)


class Block:
    """One transformer layer: LayerNorm and attention, LayerNorm and feed-forward. Subclasses say where the residual adds."""

    dropout_after_feedforward: bool

    def __init__(self, layer: int, config: ModelConfig, tensors: Tensors, gradients: Tensors, workspace: Workspace) -> None:
        rows, d = workspace.rows, config.embedding_degree
        self.norm = LayerNorm(tensors, gradients, f"norm_{layer}", "norm", workspace)
        self.attention = SelfAttention(layer, config, tensors, gradients, workspace)
        self.atten_norm = LayerNorm(tensors, gradients, f"atten_norm_{layer}", "atten_norm", workspace)
        self.feedforward = FeedForward(layer, config, tensors, gradients, workspace, self.dropout_after_feedforward)
        self.middle = workspace.own("middle", rows, d)
        self.out = workspace.own("block_out", rows, d)
        self.d_norm = workspace.gradient("d_norm", rows, d)

    def forward(self, h: Floats, run: Pass) -> Floats:
        raise NotImplementedError

    def decode(self, h: Floats, cache: KeyValueCache, position: int) -> Floats:
        raise NotImplementedError

    def backward(self, dh: Floats, run: Pass) -> Floats:
        """Gradient of the input from that of the output, in place."""
        raise NotImplementedError


class PreNormBlock(Block):
    """h = h + attention(LN(h));  h = h + feedforward(LN(h))  (Radford et al. 2019)."""

    dropout_after_feedforward = True

    def forward(self, h: Floats, run: Pass) -> Floats:
        self.attention.forward(self.norm.forward(h), h, self.middle, run)
        return self.feedforward.forward(self.atten_norm.forward(self.middle), self.middle, self.out, run)

    def decode(self, h: Floats, cache: KeyValueCache, position: int) -> Floats:
        self.attention.decode(self.norm.forward(h), h, self.middle, cache, position)
        return self.feedforward.forward(self.atten_norm.forward(self.middle), self.middle, self.out, Pass(1))

    def backward(self, dh: Floats, run: Pass) -> Floats:
        self.atten_norm.backward(self.feedforward.backward(dh, self.d_norm, run), dh, residual=dh)
        return self.norm.backward(self.attention.backward(dh, self.d_norm, run), dh, residual=dh)


class ReferenceBlock(Block):
    """n = LN(h);  m = LN(n + attention(n));  h = m + feedforward(m): the original program, whose residual adds to the norm."""

    dropout_after_feedforward = False

    def forward(self, h: Floats, run: Pass) -> Floats:
        n = self.norm.forward(h)
        m = self.atten_norm.forward(self.attention.forward(n, n, self.middle, run))
        return self.feedforward.forward(m, m, self.out, run)

    def decode(self, h: Floats, cache: KeyValueCache, position: int) -> Floats:
        n = self.norm.forward(h)
        m = self.atten_norm.forward(self.attention.decode(n, n, self.middle, cache, position))
        return self.feedforward.forward(m, m, self.out, Pass(1))

    def backward(self, dh: Floats, run: Pass) -> Floats:
        d_m = self.feedforward.backward(dh, self.d_norm, run, residual=dh)
        d_middle = self.atten_norm.backward(d_m, dh)
        d_n = self.attention.backward(d_middle, self.d_norm, run, residual=d_middle)
        return self.norm.backward(d_n, dh)


BLOCK_CLASSES: dict[str, type[Block]] = {"pre-norm": PreNormBlock, "reference": ReferenceBlock}


class Embedding:
    """h = E[token], plus a row of the positional table where the encoding has one."""

    def __init__(self, config: ModelConfig, tensors: Tensors, gradients: Tensors, workspace: Workspace) -> None:
        self.table = tensors["token_embedding"]
        self.d_table = gradients.get("token_embedding")
        self.positions = tensors.get("position_embedding")
        self.d_positions = gradients.get("position_embedding")
        sines = workspace.table("sinusoids", lambda: absolute_table(config))
        if sines:
            (self.positions,) = sines
        self.out = workspace.shared("embedded", workspace.rows, config.embedding_degree)

    def forward(self, tokens: Integers, start: int, count: int) -> Floats:
        """tokens (R,): sequences of `count` tokens at positions start … start+count-1."""
        positions = None if self.positions is None else self.positions[start : start + count]
        return kernels.embedding_forward(self.table, tokens, self.out, positions)

    def backward(self, dout: Floats, tokens: Integers, count: int) -> None:
        assert self.d_table is not None
        d_positions = None if self.d_positions is None else self.d_positions[:count]
        kernels.embedding_backward(dout, tokens, self.d_table, d_positions)


def rotary_tables(config: ModelConfig) -> tuple[Floats, ...]:
    """Cosines and sines (T, hs // 2) where positions are rotary, else nothing."""
    if config.positional_encoding != "rotary":
        return ()
    return kernels.rotary_tables(config.num_tokens, config.head_size, config.rotary_base)


def absolute_table(config: ModelConfig) -> tuple[Floats, ...]:
    """The sinusoids (T, d) where positions are absolute, else nothing."""
    return (sinusoids(config.num_tokens, config.embedding_degree),) if config.positional_encoding == "absolute" else ()


def sinusoids(num_tokens: int, columns: int) -> Floats:
    """(T, d): sin(t / 10000^(2 (c//2) / d)) in even columns c, cos of the same in odd ones (Vaswani et al. 2017)."""
    c = np.arange(columns)
    angles = np.outer(np.arange(num_tokens), 10000.0 ** (-2.0 * (c // 2) / columns))
    table: Floats = np.where(c % 2 == 0, np.sin(angles), np.cos(angles)).astype(np.float32)
    return table


class Head:
    """Final LayerNorm, the map to V logits, and cross entropy. The logits' memory becomes that of their gradient."""

    def __init__(self, config: ModelConfig, tensors: Tensors, gradients: Tensors, workspace: Workspace) -> None:
        self.norm = LayerNorm(tensors, gradients, "head_norm", "head_norm", workspace)
        self.map = Linear(tensors, gradients, "head_map_weights", "head_map_bias")
        self.logits = workspace.shared("logits", workspace.rows, config.vocab_size)
        self.losses = workspace.shared("losses", workspace.rows)
        self.d_norm = workspace.gradient("d_norm", workspace.rows, config.embedding_degree)

    def forward(self, h: Floats) -> Floats:
        return self.map.forward(self.norm.forward(h), self.logits)

    def loss(self, targets: Integers, gradient_scale: float | None) -> Floats:
        """Cross entropy of each row (R,); with a scale, the logits are overwritten with scale * gradient."""
        d_logits = None if gradient_scale is None else self.logits
        return kernels.cross_entropy(self.logits, targets, self.losses, d_logits, gradient_scale or 0.0)

    def backward(self, dh: Floats) -> Floats:
        """dh (R, d) from the gradient that `loss` left in the logits."""
        return self.norm.backward(self.map.backward(self.logits, self.norm.out, self.d_norm), dh)
