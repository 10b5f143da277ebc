"""nanoGPT's model and optimiser as its CPU recipe for character Shakespeare makes them, in PyTorch (benches/time_to_loss.py).

What that recipe leaves out (dropout, biases, torch.compile, mixed precision) is left out here as well.
"""

import math

import torch
from torch import nn
from torch.nn import functional

LAYERS, HEADS, DEGREE, CONTEXT = 4, 4, 128, 64  # n_layer, n_head, n_embd, block_size
BATCH, STEPS, WARMUP = 12, 2000, 100  # batch_size, max_iters = lr_decay_iters, warmup_iters
RATE, MIN_RATE, BETAS, WEIGHT_DECAY, CLIP = 1e-3, 1e-4, (0.9, 0.99), 0.1, 1.0


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.c_attn = nn.Linear(DEGREE, 3 * DEGREE, bias=False)
        self.c_proj = nn.Linear(DEGREE, DEGREE, bias=False)

    def forward(self, x):
        b, t, d = x.shape
        q, k, v = (part.view(b, t, HEADS, d // HEADS).transpose(1, 2) for part in self.c_attn(x).split(d, dim=2))
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.c_proj(y.transpose(1, 2).contiguous().view(b, t, d))


class FeedForward(nn.Module):
    def __init__(self):
        super().__init__()
        self.c_fc = nn.Linear(DEGREE, 4 * DEGREE, bias=False)
        self.c_proj = nn.Linear(4 * DEGREE, DEGREE, bias=False)

    def forward(self, x):
        return self.c_proj(functional.gelu(self.c_fc(x)))  # the exact GELU


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.ln_1, self.attn = nn.LayerNorm(DEGREE, bias=False), Attention()
        self.ln_2, self.mlp = nn.LayerNorm(DEGREE, bias=False), FeedForward()

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Module):
    def __init__(self, vocabulary):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(vocabulary, DEGREE), nn.Embedding(CONTEXT, DEGREE)
        self.h = nn.ModuleList(Block() for _ in range(LAYERS))
        self.ln_f = nn.LayerNorm(DEGREE, bias=False)
        self.lm_head = nn.Linear(DEGREE, vocabulary, bias=False)
        self.wte.weight = self.lm_head.weight  # tied
        for name, tensor in self.named_parameters():
            if tensor.dim() >= 2:
                nn.init.normal_(tensor, 0.0, 0.02 / math.sqrt(2 * LAYERS) if name.endswith("c_proj.weight") else 0.02)

    def forward(self, tokens, targets):
        """Mean cross entropy; targets of -1 do not count."""
        x = self.wte(tokens) + self.wpe(torch.arange(tokens.shape[1]))
        for block in self.h:
            x = block(x)
        logits = self.lm_head(self.ln_f(x))
        return functional.cross_entropy(logits.view(-1, logits.shape[-1]), targets.reshape(-1), ignore_index=-1)


def optimizer(model):
    """AdamW with weight decay on matrices and embeddings; as in nanoGPT, the fused one is for GPUs only."""
    tensors = list(model.parameters())
    groups = [
        {"params": [tensor for tensor in tensors if tensor.dim() >= 2], "weight_decay": WEIGHT_DECAY},
        {"params": [tensor for tensor in tensors if tensor.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=RATE, betas=BETAS)


def learning_rate(step):
    """Linear over the warm-up, then half a cosine."""
    if step < WARMUP:
        return RATE * (step + 1) / (WARMUP + 1)
    return MIN_RATE + 0.5 * (1.0 + math.cos(math.pi * (step - WARMUP) / (STEPS - WARMUP))) * (RATE - MIN_RATE)
