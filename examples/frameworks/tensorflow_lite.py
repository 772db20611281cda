"""TensorFlow, as a SavedModel and as int8 of TensorFlow Lite: python examples/frameworks/tensorflow_lite.py
(pip install 'mlcc[tensorflow,tflite]')"""

import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf
from digits import ROWS, TRAIN, TRAIN_LABELS, check

tf.random.set_seed(0)
folder = Path(tempfile.mkdtemp())


class Net(tf.Module):
    def __init__(self) -> None:
        self.layers = [(tf.Variable(tf.random.normal([a, b]) / a**0.5), tf.Variable(tf.zeros(b))) for a, b in ((64, 48), (48, 10))]

    @tf.function(input_signature=[tf.TensorSpec([None, 64], tf.float32, name="pixels")])
    def __call__(self, pixels: tf.Tensor) -> tf.Tensor:
        (w, b), (v, c) = self.layers
        return tf.nn.relu(pixels @ w + b) @ v + c


net = Net()
for _ in range(400):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(TRAIN_LABELS, net(TRAIN)))
    for variable, gradient in zip(net.trainable_variables, tape.gradient(loss, net.trainable_variables)):
        variable.assign_sub(0.5 * gradient)
tf.saved_model.save(net, str(folder / "saved"), signatures=net.__call__)
check(folder / "saved", expected=net(ROWS).numpy().argmax(1), shapes={"pixels": [1, 64]})

converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / "saved"))
converter.optimizations = [tf.lite.Optimize.DEFAULT]
converter.representative_dataset = lambda: ([row[None]] for row in TRAIN[:200])
converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
converter.inference_input_type = converter.inference_output_type = tf.int8
(folder / "digits.tflite").write_bytes(converter.convert())
lite = tf.lite.Interpreter(str(folder / "digits.tflite"), experimental_op_resolver_type=tf.lite.experimental.OpResolverType.BUILTIN_REF)
lite.allocate_tensors()
(given,), (result,) = lite.get_input_details(), lite.get_output_details()
scale, zero = given["quantization"]
bytes_in = np.clip(np.round(ROWS / scale) + zero, -128, 127).astype(np.int8)
said = []
for row in bytes_in:
    lite.set_tensor(given["index"], row[None])
    lite.invoke()
    said.append(int(lite.get_tensor(result["index"]).argmax()))
check(folder / "digits.tflite", feed=bytes_in, expected=np.array(said))
