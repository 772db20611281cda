"""A network of Flax: python examples/frameworks/flax_cnn.py (pip install 'mlcc[jax]' flax optax)"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from digits import ROWS, TRAIN, TRAIN_LABELS, check
from flax import nnx


class Net(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.first, self.second = nnx.Conv(1, 12, (3, 3), rngs=rngs), nnx.Conv(12, 24, (3, 3), rngs=rngs)
        self.norm, self.last = nnx.BatchNorm(12, rngs=rngs), nnx.Linear(24, 10, rngs=rngs)

    def __call__(self, pixels: jax.Array) -> jax.Array:
        x = nnx.relu(self.norm(self.first(pixels.reshape(-1, 8, 8, 1))))
        x = nnx.relu(self.second(nnx.max_pool(x, (2, 2), strides=(2, 2))))
        return self.last(x.mean((1, 2)))


net = Net(nnx.Rngs(0))
optimiser = nnx.Optimizer(net, optax.adam(0.01), wrt=nnx.Param)


@nnx.jit
def step(net: Net, optimiser: nnx.Optimizer, pixels: jax.Array, labels: jax.Array) -> None:
    def loss(net: Net) -> jax.Array:
        return optax.softmax_cross_entropy_with_integer_labels(net(pixels), labels).mean()

    optimiser.update(net, nnx.grad(loss)(net))


for epoch in range(30):
    order = np.random.default_rng(epoch).permutation(len(TRAIN))
    for i in range(0, len(order) - 127, 128):
        step(net, optimiser, jnp.asarray(TRAIN[order[i : i + 128]]), jnp.asarray(TRAIN_LABELS[order[i : i + 128]]))
net.eval()
check(net, args=(ROWS[:1],), expected=np.asarray(net(ROWS)).argmax(1))
