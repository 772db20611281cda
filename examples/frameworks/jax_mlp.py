"""A function of JAX: python examples/frameworks/jax_mlp.py (pip install 'mlcc[jax]')"""

import jax
import jax.numpy as jnp
import numpy as np
from digits import ROWS, TRAIN, TRAIN_LABELS, check


def network(weights: list[tuple[jax.Array, jax.Array]], pixels: jax.Array) -> jax.Array:
    for w, b in weights[:-1]:
        pixels = jax.nn.gelu(pixels @ w + b)
    w, b = weights[-1]
    return jax.nn.softmax(pixels @ w + b)


@jax.jit
def step(weights: list[tuple[jax.Array, jax.Array]], rate: float) -> list[tuple[jax.Array, jax.Array]]:
    def loss(weights: list[tuple[jax.Array, jax.Array]]) -> jax.Array:
        return -jnp.log(network(weights, TRAIN)[jnp.arange(len(TRAIN)), TRAIN_LABELS] + 1e-9).mean()

    return jax.tree.map(lambda w, g: w - rate * g, weights, jax.grad(loss)(weights))


random = np.random.default_rng(0)
weights = [(jnp.asarray(random.standard_normal((a, b)) / np.sqrt(a), jnp.float32), jnp.zeros(b)) for a, b in ((64, 48), (48, 32), (32, 10))]
for _ in range(600):
    weights = step(weights, 0.5)


def digits(pixels: jax.Array) -> jax.Array:
    return network(weights, pixels)


check(digits, args=(ROWS[:1],), expected=np.asarray(digits(ROWS)).argmax(1))
