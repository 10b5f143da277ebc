"""The GPT of femto's modern preset and its training step in PyTorch, as a good PyTorch user writes them."""

import math

import torch
from compare_problem import CHECK_CLIP_NORM
from torch import nn
from torch.nn import functional


def rotary_tables(tokens, head_size, base):
    """Cosines and sines (T, 1, hs // 2) of the angles t / base^(2c/hs)."""
    pairs = torch.arange(head_size // 2, dtype=torch.float64)
    angles = torch.outer(torch.arange(tokens, dtype=torch.float64), base ** (-2.0 * pairs / head_size))
    return angles.cos().float()[:, None], angles.sin().float()[:, None]


def rotate(x, cosine, sine):
    """x (B, T, H, hs) with columns c and c + hs // 2 of each head turned by the angle of the token."""
    first, second = x.chunk(2, -1)
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], -1)


def attention_with_dropout(q, k, v, mask, dropout):
    """Causal attention of (B, H, T, hs); mask (T, T) holds -inf after the diagonal.

    scaled_dot_product_attention has no fused kernel with dropout on CPUs, and what it does instead is up to 8 % slower than this.
    """
    scores = torch.baddbmm(mask, q.flatten(0, 1), k.flatten(0, 1).transpose(1, 2), alpha=1 / math.sqrt(q.shape[-1]))
    return torch.bmm(dropout(scores.softmax(-1)), v.flatten(0, 1)).view(v.shape)


class CausalSelfAttention(nn.Module):
    def __init__(self, problem):
        super().__init__()
        d = problem.embedding_degree
        self.num_heads, self.dropout = problem.num_heads, nn.Dropout(problem.dropout)
        self.qkv, self.projection = nn.Linear(d, 3 * d, bias=False), nn.Linear(d, d)

    def forward(self, x, cosine, sine, mask):
        b, t, d = x.shape
        qk, v = self.qkv(x).split([2 * d, d], 2)
        q, k = rotate(qk.view(b, t, 2 * self.num_heads, -1), cosine, sine).transpose(1, 2).chunk(2, 1)
        v = v.view(b, t, self.num_heads, -1).transpose(1, 2)
        if self.dropout.p:
            out = attention_with_dropout(q, k, v, mask, self.dropout)
        else:
            out = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.projection(out.transpose(1, 2).reshape(b, t, d))


class Block(nn.Module):
    def __init__(self, problem):
        super().__init__()
        d = problem.embedding_degree
        self.norm, self.attention, self.atten_norm = nn.LayerNorm(d), CausalSelfAttention(problem), nn.LayerNorm(d)
        self.up, self.down = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)
        self.dropout = nn.Dropout(problem.dropout)

    def forward(self, h, *tables):
        h = h + self.dropout(self.attention(self.norm(h), *tables))
        return h + self.dropout(self.down(functional.gelu(self.up(self.atten_norm(h)), approximate="tanh")))


class GPT(nn.Module):
    def __init__(self, problem):
        super().__init__()
        v, d = problem.vocab_size, problem.embedding_degree
        self.embedding = nn.Embedding(v, d)
        self.blocks = nn.ModuleList(Block(problem) for _ in range(problem.num_layers))
        self.norm, self.head = nn.LayerNorm(d), nn.Linear(d, v)
        cosine, sine = rotary_tables(problem.num_tokens, d // problem.num_heads, problem.rotary_base)
        self.register_buffer("cosine", cosine)
        self.register_buffer("sine", sine)
        self.register_buffer("mask", torch.full((problem.num_tokens, problem.num_tokens), -math.inf).triu(1))

    def forward(self, tokens, targets):
        h = self.embedding(tokens)
        for block in self.blocks:
            h = block(h, self.cosine, self.sine, self.mask)
        return functional.cross_entropy(self.head(self.norm(h)).flatten(0, 1), targets.flatten())

    @torch.no_grad()
    def load(self, problem):
        """Take femto's parameters. Its weights are (inputs, outputs), PyTorch's (outputs, inputs)."""
        modules = {"token_embedding": self.embedding, "head_norm": self.norm, "head_map": self.head}
        for index, block in enumerate(self.blocks):
            modules |= {
                f"norm_{index}": block.norm,
                f"heads_{index}_qkv": block.attention.qkv,
                f"proj_{index}": block.attention.projection,
                f"atten_norm_{index}": block.atten_norm,
                f"feedforward1_{index}": block.up,
                f"feedforward2_{index}": block.down,
            }
        for name in problem.parameter_names():
            module = modules[name.removesuffix("_weights").removesuffix("_coeff").removesuffix("_bias")]
            tensor = torch.from_numpy(problem.parameter(name))
            if name.endswith("_bias"):
                module.bias.copy_(tensor)
            else:
                module.weight.copy_(tensor.T if isinstance(module, nn.Linear) else tensor)


class TorchTraining:
    def __init__(self, problem, threads, compiled):
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        self.problem, self.model = problem, GPT(problem)
        self.model.load(problem)
        # Inductor's own random numbers make a step with dropout a third slower on CPUs than those of eager mode.
        self.run = torch.compile(self.model, options={"fallback_random": True}) if compiled else self.model
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(),
            lr=problem.learning_rate,
            betas=(problem.beta1, problem.beta2),
            eps=problem.epsilon,
            weight_decay=problem.weight_decay,
            fused=True,
        )

    def facts(self):
        return {"version": torch.__version__, "threads": torch.get_num_threads()}

    def step(self, check=False):
        """One step; its loss and the norm of its gradient before clipping."""
        self.model.train(not check)  # evaluation mode is the same computation without dropout
        windows = torch.from_numpy(self.problem.draw())
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.run(windows[:, :-1], windows[:, 1:])
        loss.backward()
        clip_norm = CHECK_CLIP_NORM if check else self.problem.clip_norm
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), clip_norm)
        self.optimizer.step()
        return loss.item(), norm.item()

    def parameter_norm(self):
        return math.sqrt(sum(parameter.double().square().sum().item() for parameter in self.model.parameters()))
