"""A network of Keras 3, on JAX: python examples/frameworks/keras_cnn.py (pip install 'mlcc[keras]')"""

import os
import tempfile
from pathlib import Path

os.environ["KERAS_BACKEND"] = "jax"
import keras
from digits import ROWS, TRAIN, TRAIN_LABELS, check
from keras import layers

keras.utils.set_random_seed(0)
net = keras.Sequential([
    keras.Input((64,)), layers.Reshape((8, 8, 1)),
    layers.Conv2D(12, 3, padding="same", activation="relu"), layers.MaxPooling2D(),
    layers.SeparableConv2D(24, 3, padding="same", activation="relu"), layers.GlobalAveragePooling2D(),
    layers.Dense(10, activation="softmax"),
])  # fmt: skip
net.compile("adam", "sparse_categorical_crossentropy")
net.optimizer.learning_rate = 0.01
net.fit(TRAIN, TRAIN_LABELS, epochs=40, batch_size=64, verbose=0)
path = Path(tempfile.mkdtemp()) / "digits.keras"
net.save(path)
check(path, expected=net.predict(ROWS, verbose=0).argmax(1))
