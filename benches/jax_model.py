"""The GPT of femto's modern preset and its training step in JAX: one jitted function with donated buffers."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from compare_problem import CHECK_CLIP_NORM

LAYER_NORM_EPSILON = 1e-5

# Random numbers that may be sharded over devices cost a step with dropout 7 % more; here is one device.
jax.config.update("jax_threefry_partitionable", False)


def rotary_tables(tokens, head_size, base):
    """Cosines and sines (T, 1, hs // 2) of the angles t / base^(2c/hs)."""
    angles = np.outer(np.arange(tokens), base ** (-2.0 * np.arange(head_size // 2) / head_size))
    return np.cos(angles).astype(np.float32)[:, None], np.sin(angles).astype(np.float32)[:, None]


def rotate(x, cosine, sine):
    """x (B, T, H, hs) with columns c and c + hs // 2 of each head turned by the angle of the token."""
    first, second = jnp.split(x, 2, -1)
    return jnp.concatenate([first * cosine - second * sine, second * cosine + first * sine], -1)


def drop(x, probability, key):
    """Dropout; none at probability 0."""
    if probability == 0.0:
        return x
    return jnp.where(jax.random.bernoulli(key, 1.0 - probability, x.shape), x / (1.0 - probability), 0.0)


def layer_norm(x, gain, bias):
    x = x - x.mean(-1, keepdims=True)
    return x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + LAYER_NORM_EPSILON) * gain + bias


def attention(qkv, num_heads, rotary_base, dropout, key):
    """Causal attention of qkv (B, T, 3d); dropout on the probabilities."""
    b, t, d = qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3
    size = d // num_heads
    cosine, sine = rotary_tables(t, size, rotary_base)
    q, k, v = (x.reshape(b, t, num_heads, size) for x in jnp.split(qkv, 3, -1))
    scores = jnp.einsum("bqhc,bkhc->bhqk", rotate(q, cosine, sine), rotate(k, cosine, sine)) / math.sqrt(size)
    probabilities = jax.nn.softmax(jnp.where(np.tri(t, dtype=bool), scores, -jnp.inf), -1)
    return jnp.einsum("bhqk,bkhc->bqhc", drop(probabilities, dropout, key), v).reshape(b, t, d)


def loss(p, windows, key, shape, dropout):
    """Mean cross entropy of windows (B, T+1) under the parameters p, by femto's names."""
    num_layers, num_heads, rotary_base = shape
    h = p["token_embedding"][windows[:, :-1]]
    for i in range(num_layers):
        key, *keys = jax.random.split(key, 4)
        qkv = layer_norm(h, p[f"norm_{i}_coeff"], p[f"norm_{i}_bias"]) @ p[f"heads_{i}_qkv"]
        heads_out = attention(qkv, num_heads, rotary_base, dropout, keys[0])
        h = h + drop(heads_out @ p[f"proj_{i}_weights"] + p[f"proj_{i}_bias"], dropout, keys[1])
        inner = layer_norm(h, p[f"atten_norm_{i}_coeff"], p[f"atten_norm_{i}_bias"]) @ p[f"feedforward1_{i}_weights"]
        inner = jax.nn.gelu(inner + p[f"feedforward1_{i}_bias"], approximate=True)
        h = h + drop(inner @ p[f"feedforward2_{i}_weights"] + p[f"feedforward2_{i}_bias"], dropout, keys[2])
    logits = layer_norm(h, p["head_norm_coeff"], p["head_norm_bias"]) @ p["head_map_weights"] + p["head_map_bias"]
    chosen = jnp.take_along_axis(logits, windows[:, 1:, None], -1)[..., 0]
    return (jax.nn.logsumexp(logits, -1) - chosen).mean()


@functools.partial(jax.jit, donate_argnames="state", static_argnames=("shape", "dropout"))
def train_step(state, windows, key, shape, optimizer, dropout):
    """Forward, backward, clipping and AdamW; the new state, the loss and the norm of the gradient before clipping."""
    rate, beta1, beta2, epsilon, weight_decay, clip_norm = optimizer
    parameters, first, second, count = state
    value, gradients = jax.value_and_grad(loss)(parameters, windows, jax.random.fold_in(key, count), shape, dropout)
    norm = jnp.sqrt(sum(jnp.sum(jnp.square(gradient)) for gradient in gradients.values()))
    scale = clip_norm / jnp.maximum(norm, clip_norm)
    count += 1

    def adamw(p, m, v, gradient):
        gradient = scale * gradient
        m, v = beta1 * m + (1 - beta1) * gradient, beta2 * v + (1 - beta2) * jnp.square(gradient)
        update = m / (1 - beta1**count) / (jnp.sqrt(v / (1 - beta2**count)) + epsilon)
        return p - rate * (weight_decay * p + update), m, v

    updated = {name: adamw(p, first[name], second[name], gradients[name]) for name, p in parameters.items()}
    parameters, first, second = ({name: entry[i] for name, entry in updated.items()} for i in range(3))
    return (parameters, first, second, count), value, norm


class JaxTraining:
    def __init__(self, problem):
        self.problem, self.key = problem, jax.random.key(0)
        parameters = {name: jnp.array(problem.parameter(name)) for name in problem.parameter_names()}
        first, second = ({name: jnp.zeros_like(p) for name, p in parameters.items()} for _ in range(2))
        self.state = parameters, first, second, jnp.zeros((), jnp.int32)

    def facts(self):
        return {"version": jax.__version__}

    def step(self, check=False):
        """One step; its loss and the norm of its gradient before clipping."""
        p = self.problem
        shape = p.num_layers, p.num_heads, p.rotary_base
        clip_norm = CHECK_CLIP_NORM if check else p.clip_norm
        optimizer = p.learning_rate, p.beta1, p.beta2, p.epsilon, p.weight_decay, clip_norm
        windows = p.draw().astype(np.int32)
        self.state, value, norm = train_step(self.state, windows, self.key, shape, optimizer, 0.0 if check else p.dropout)
        return value.item(), norm.item()

    def parameter_norm(self):
        return math.sqrt(sum(np.square(np.asarray(p), dtype=np.float64).sum() for p in self.state[0].values()))
