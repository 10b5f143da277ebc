"""The whole model in float64 NumPy, written from docs/models.md and from nothing in femto/: the oracle of the graph.

Takes parameters by the names that users see. Dropout masks are arrays, already scaled by 1/(1-p).
"""

import numpy as np


def loss(config, parameters, tokens, targets, masks=None):
    """Mean cross entropy in nats of tokens and targets (B, T). masks: {(layer, kind): array}, kinds attention, proj, ff."""
    logits = forward(config, parameters, tokens, masks or {})
    shifted = logits - logits.max(-1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return -np.take_along_axis(log_probabilities, targets[..., None], -1).mean()


def forward(config, parameters, tokens, masks):
    p, t, d = parameters, tokens.shape[1], config.embedding_degree
    h = p["token_embedding"][tokens]
    if config.positional_encoding == "absolute":
        h = h + sinusoids(t, d)
    if config.positional_encoding == "learned":
        h = h + p["position_embedding"][:t]
    for layer in range(config.num_layers):

        def norm(x, name, layer=layer):
            return layer_norm(x, p[f"{name}_{layer}_coeff"], p[f"{name}_{layer}_bias"])

        def attend(x, layer=layer):
            out = attention(config, p, layer, x, masks.get((layer, "attention"), 1.0))
            out = out @ p[f"proj_{layer}_weights"] + p[f"proj_{layer}_bias"]
            return out * masks.get((layer, "proj"), 1.0)

        def feedforward(x, layer=layer):
            inner = gelu(x @ p[f"feedforward1_{layer}_weights"] + p[f"feedforward1_{layer}_bias"])
            return inner @ p[f"feedforward2_{layer}_weights"] + p[f"feedforward2_{layer}_bias"]

        if config.block == "pre-norm":
            h = h + attend(norm(h, "norm"))
            h = h + feedforward(norm(h, "atten_norm")) * masks.get((layer, "ff"), 1.0)
        else:
            n = norm(h, "norm")
            m = norm(n + attend(n), "atten_norm")
            h = m + feedforward(m)
    h = layer_norm(h, p["head_norm_coeff"], p["head_norm_bias"])
    return h @ p["head_map_weights"] + p["head_map_bias"]


def attention(config, p, layer, x, mask):
    b, t, _ = x.shape
    hs = config.head_size
    mask = np.broadcast_to(mask, (b, config.num_heads, t, t))
    outs = []
    for head in range(config.num_heads):
        q, k, v = (x @ p[f"head_{layer}_{head}_{letter}"] for letter in "qkv")
        if config.positional_encoding == "rotary":
            q, k = rotate(q, config.rotary_base), rotate(k, config.rotary_base)
        scores = q @ k.swapaxes(-1, -2) / np.sqrt(hs)
        scores = np.where(np.tril(np.ones((t, t), bool)), scores, -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights = weights / weights.sum(-1, keepdims=True)
        outs.append((weights * mask[:, head]) @ v)
    return np.concatenate(outs, -1)


def rotate(x, base):
    """Half-split rotary: columns c and c + hs//2 turn by t / base^(2c/hs)."""
    t, hs = x.shape[-2:]
    half = hs // 2
    angles = np.outer(np.arange(t), base ** (-2.0 * np.arange(half) / hs))
    first, second = x[..., :half], x[..., half : 2 * half]
    turned = [first * np.cos(angles) - second * np.sin(angles), second * np.cos(angles) + first * np.sin(angles)]
    return np.concatenate([*turned, x[..., 2 * half :]], -1)


def sinusoids(t, d):
    table = np.empty((t, d))
    for c in range(d):
        angle = np.arange(t) / 10000.0 ** (2 * (c // 2) / d)
        table[:, c] = np.sin(angle) if c % 2 == 0 else np.cos(angle)
    return table


def layer_norm(x, gain, bias):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * gain + bias


def gelu(x):
    return 0.5 * x * (1.0 + np.tanh(np.sqrt(2.0 / np.pi) * (x + 0.044715 * x**3)))
