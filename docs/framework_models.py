"""Models that docs/make_frameworks.py makes, saves in their frameworks' own files, builds and has judged: by framework."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

TINY = Path(__file__).resolve().parents[2] / "shared" / "models" / "mlperf-tiny"
Case = tuple[str, str, Path, dict[str, Any]]  # framework, model, its file, what mlcc.build is told


def kept(path: Path, save: Callable[[Path], Any]) -> Path:
    save(path)
    return path


def digits() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return x.astype(np.float32), y


def of_sklearn(folder: Path) -> Iterator[Case]:
    import skops.io
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler
    from sklearn.svm import SVC

    x, labels = digits()
    for name, model in (
        ("scaler and random forest, 30 trees", make_pipeline(StandardScaler(), RandomForestClassifier(30, max_depth=7, random_state=0))),
        ("scaler and support vectors", make_pipeline(StandardScaler(), SVC(gamma=0.02))),
    ):
        fitted = model.fit(x, labels)
        yield "scikit-learn (.skops)", name, kept(folder / f"{name.split()[2]}.skops", lambda p, m=fitted: skops.io.dump(m, p)), {}
    rows = np.array([[float(n), ["bern", "oslo", "rome"][n % 3], ["good film", "bad film", "not bad"][n % 3]] for n in range(60)], object)
    mixed = ColumnTransformer([("n", StandardScaler(), [0]), ("c", OneHotEncoder(), [1]), ("t", TfidfVectorizer(ngram_range=(1, 2)), 2)])
    columns = make_pipeline(mixed, LogisticRegression()).fit(rows, np.arange(60) % 3)
    path = kept(folder / "columns.skops", lambda p: skops.io.dump(columns, p))
    yield "scikit-learn (.skops)", "numbers, categories and text, logistic", path, {}


def of_xgboost(folder: Path) -> Iterator[Case]:
    import xgboost
    from sklearn.datasets import load_diabetes

    forest = xgboost.XGBClassifier(n_estimators=20, max_depth=4).fit(*digits())
    yield "XGBoost (.json)", "20 rounds, 10 classes", kept(folder / "xgboost_classes.json", forest.save_model), {}
    sick, progress = load_diabetes(return_X_y=True)
    line = xgboost.XGBRegressor(n_estimators=50).fit(sick.astype(np.float32), progress)
    yield "XGBoost (.ubj)", "regression, 50 rounds", kept(folder / "xgboost_regression.ubj", line.save_model), {}


def of_lightgbm(folder: Path) -> Iterator[Case]:
    import lightgbm

    leaves = lightgbm.LGBMClassifier(n_estimators=10, verbose=-1).fit(*digits())
    yield "LightGBM (.txt)", "10 rounds, 10 classes", kept(folder / "lightgbm_classes.txt", leaves.booster_.save_model), {}


def of_catboost(folder: Path) -> Iterator[Case]:
    import catboost

    cats = catboost.CatBoostClassifier(iterations=30, depth=5, verbose=0, allow_writing_files=False).fit(*digits())
    yield "CatBoost (.cbm)", "30 rounds, 10 classes", kept(folder / "catboost_classes.cbm", lambda p: cats.save_model(str(p))), {}


def of_tflite(folder: Path) -> Iterator[Case]:
    for file in sorted(TINY.glob("*.tflite")):
        yield "TensorFlow Lite (.tflite)", f"MLPerf Tiny {file.stem}", file, {}


def of_tensorflow(folder: Path) -> Iterator[Case]:
    import tensorflow as tf

    r = np.random.default_rng(0)

    class Net(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            self.k, self.w = (tf.Variable(r.standard_normal(s).astype("f4") / 4) for s in ((3, 3, 3, 8), (8, 5)))

        @tf.function(input_signature=[tf.TensorSpec([1, 16, 16, 3], tf.float32, name="image")])
        def __call__(self, image: Any) -> Any:
            return tf.nn.softmax(tf.reduce_mean(tf.nn.relu6(tf.nn.conv2d(image, self.k, 2, "SAME")), [1, 2]) @ self.w)

    class Steps(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec([12, 6], tf.float32, name="x")])
        def __call__(self, x: Any) -> Any:
            return tf.scan(lambda c, row: tf.tanh(c + row), x, initializer=tf.zeros(6))

    for name, module in (("convolutions", Net()), ("a scan", Steps())):
        place = folder / f"tf_{name.split()[-1]}"
        tf.saved_model.save(module, str(place), signatures=module.__call__)
        yield "TensorFlow (SavedModel)", name, place, {}


def of_torch(folder: Path) -> Iterator[Case]:
    import torch
    from torch import nn

    torch.manual_seed(0)

    class Block(nn.Module):  # type: ignore[misc]
        def __init__(self, n: int) -> None:
            super().__init__()
            self.a, self.b, self.n = nn.Conv2d(n, n, 3, padding=1), nn.Conv2d(n, n, 3, padding=1), nn.BatchNorm2d(n)

        def forward(self, x: Any) -> Any:
            return torch.relu(x + self.b(torch.relu(self.n(self.a(x)))))

    class Encoder(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(50, 32)
            self.layers = nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 4, 64, batch_first=True), 2, enable_nested_tensor=False)

        def forward(self, ids: Any) -> Any:
            return self.layers(self.words(ids)).mean(1)

    class Reader(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.out = nn.LSTM(12, 16, num_layers=2, batch_first=True), nn.Linear(16, 3)

        def forward(self, x: Any) -> Any:
            return self.out(self.lstm(x)[0][:, -1])

    resnet = nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), Block(16), Block(16), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)
    )
    batch = torch.export.Dim("batch", min=1, max=8)
    for name, net, args, open_sizes in (
        ("ResNet-style network", resnet, (torch.randn(1, 3, 32, 32),), None),
        ("transformer encoder", Encoder(), (torch.randint(0, 50, (1, 16)),), None),
        ("LSTM, two layers", Reader(), (torch.randn(1, 20, 12),), None),
        ("dynamic batch, 1 to 8", nn.Sequential(nn.Linear(12, 24), nn.GELU(), nn.Linear(24, 5)), (torch.randn(2, 12),), ({0: batch},)),
    ):
        program = torch.export.export(net.eval(), args, dynamic_shapes=open_sizes)
        path = kept(folder / f"torch_{name.split()[0].lower().replace('-', '_')}.pt2", lambda p, e=program: torch.export.save(e, p))
        yield "PyTorch (.pt2)", name, path, {}


def of_jax(folder: Path) -> Iterator[Case]:
    import jax
    import jax.export
    import jax.numpy as jnp

    r = np.random.default_rng(0)
    weights = [r.standard_normal(s).astype("f4") / 4 for s in ((12, 32), (32, 5))]
    functions: list[tuple[str, Any, tuple[int, ...]]] = [
        ("MLP", lambda x: jax.nn.softmax(jax.nn.gelu(x @ weights[0]) @ weights[1]), (1, 12))
    ]

    def recurrent(x: Any) -> Any:
        return jax.lax.scan(lambda c, row: (jnp.tanh(c @ weights[1].T[:5, :5] + row), c), jnp.zeros(5), x)[1]

    functions.append(("recurrence by lax.scan", recurrent, (20, 5)))
    try:
        from flax import nnx
    except ImportError:
        pass
    else:
        first, second, last = (
            nnx.Conv(3, 8, (3, 3), rngs=nnx.Rngs(0)),
            nnx.Conv(8, 16, (3, 3), strides=2, rngs=nnx.Rngs(1)),
            nnx.Linear(16, 5, rngs=nnx.Rngs(2)),
        )
        functions.append(
            ("Flax CNN", lambda x: last(nnx.relu(second(nnx.max_pool(nnx.relu(first(x)), (2, 2), (2, 2)))).mean((1, 2))), (1, 16, 16, 3))
        )
    for name, function, shape in functions:
        exported = jax.export.export(jax.jit(function), platforms=("cpu",))(jax.ShapeDtypeStruct(shape, jnp.float32))
        path = kept(folder / f"jax_{name.split()[0].lower()}.jax", lambda p, e=exported: p.write_bytes(e.serialize()))
        yield "JAX (.jax)", name, path, {}


def of_keras(folder: Path) -> Iterator[Case]:
    os.environ.setdefault("KERAS_BACKEND", "jax")
    import keras
    from keras import layers as L

    keras.utils.set_random_seed(0)
    cnn = keras.Sequential(
        [keras.Input((16, 16, 3)), L.Conv2D(8, 3, activation="relu"), L.MaxPooling2D(), L.Flatten(), L.Dense(5, activation="softmax")]
    )
    i = keras.Input((12, 12, 3))
    x = L.ReLU()(L.BatchNormalization()(L.Conv2D(8, 3, strides=2, padding="same")(i)))
    functional = keras.Model(i, L.Dense(5)(L.GlobalAveragePooling2D()(L.Add()([x, L.DepthwiseConv2D(3, padding="same")(x)]))))
    for name, model in (("CNN", cnn), ("functional, with a branch", functional)):
        yield "Keras (.keras)", name, kept(folder / f"keras_{name.split(',')[0].lower()}.keras", model.save), {}


def of_qonnx(folder: Path) -> Iterator[Case]:
    import onnx

    from tests import hardware

    for name, model in (
        ("jet tagger, 6 bits", hardware.jet_mlp()), ("convolutions, binary weights", hardware.cnv(1, 4)), ("convolutions, 2 bits", hardware.cnv(2, 4)),
    ):  # fmt: skip
        yield (
            "QONNX (.onnx)",
            name,
            kept(folder / f"qonnx_{name.split()[-2]}_{name.split()[0]}.onnx", lambda p, m=model: onnx.save(m, p)),
            {},
        )


def of_safetensors(folder: Path) -> Iterator[Case]:
    """A trained network's weights beside its graph, which has others."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper
    from safetensors.numpy import save_file
    from sklearn.neural_network import MLPClassifier

    x, labels = digits()
    net = MLPClassifier((32,), max_iter=40, random_state=0).fit(x, labels)
    weights = {f"{part}.{i}": a.astype(np.float32) for part, of in (("w", net.coefs_), ("b", net.intercepts_)) for i, a in enumerate(of)}
    nodes = [helper.make_node("Gemm", ["x", "w.0", "b.0"], ["g"]), helper.make_node("Relu", ["g"], ["r"]),
             helper.make_node("Gemm", ["r", "w.1", "b.1"], ["l"]), helper.make_node("Softmax", ["l"], ["y"])]  # fmt: skip
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", size]) for n, size in (("x", 64), ("y", 10))]
    graph = helper.make_graph(nodes, "digits", ends[:1], ends[1:], [numpy_helper.from_array(a * 0, n) for n, a in weights.items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), folder / "digits_mlp.onnx")
    yield "safetensors (.safetensors)", "digits, two layers", kept(folder / "digits_mlp.safetensors", lambda p: save_file(weights, p)), {}


def of_nir(folder: Path) -> Iterator[Case]:
    import nir

    r = np.random.default_rng(0)
    graph = nir.NIRGraph.from_list(
        nir.Input(np.array([2, 12, 12])),
        nir.Conv2d((12, 12), r.standard_normal((4, 2, 3, 3)).astype(np.float32), 1, 1, 1, 1, np.zeros(4, np.float32)),
        nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])),
        nir.Flatten(np.array([4, 6, 6]), 0, -1),
        nir.Affine(r.standard_normal((5, 144)).astype(np.float32), np.zeros(5, np.float32)),
        nir.Output(np.array([5])),
        type_check=False,
    )
    yield "NIR (.nir)", "convolution, sums, affine", kept(folder / "nir_ordinary.nir", lambda p: nir.write(p, graph)), {}


FRAMEWORKS: dict[str, tuple[Callable[[Path], Iterator[Case]], tuple[str, ...]]] = {  # what makes its models, what that needs
    "scikit-learn": (of_sklearn, ("sklearn", "skops", "skl2onnx")), "XGBoost": (of_xgboost, ("sklearn", "xgboost", "onnxmltools")),
    "LightGBM": (of_lightgbm, ("sklearn", "lightgbm", "onnxmltools")), "CatBoost": (of_catboost, ("sklearn", "catboost")),
    "TensorFlow Lite": (of_tflite, ("tflite", "ai_edge_litert")), "TensorFlow": (of_tensorflow, ("tensorflow", "tf2onnx")),
    "PyTorch": (of_torch, ("torch", "onnxscript")), "JAX": (of_jax, ("jax",)), "Keras": (of_keras, ("keras", "jax2onnx")),
    "QONNX": (of_qonnx, ("onnx",)), "safetensors": (of_safetensors, ("safetensors", "sklearn")), "NIR": (of_nir, ("nir",)),
}  # fmt: skip
