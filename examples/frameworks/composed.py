"""A program of several frameworks: a stage that scales, scikit-learn's PCA, a network of PyTorch, probabilities; the first is what training
uses, too: python examples/frameworks/composed.py (pip install 'mlcc[torch,sklearn]')"""

import tempfile
from pathlib import Path

import skops.io
import torch
from digits import ROWS, TEST_LABELS, TRAIN, TRAIN_LABELS
from sklearn.decomposition import PCA
from torch import nn

import mlcc

folder = Path(tempfile.mkdtemp())
(folder / "scale.toml").write_text('kind = "scaler"\noffset = [0.3]\nscale = [2.5]\nshape = ["rows", 64]\ndims = { rows = "1..2000" }\n')
scale = mlcc.stage(folder / "scale.toml")  # its bits are those of every device

reduce = PCA(20, random_state=0).fit(scale(TRAIN))
skops.io.dump(reduce, folder / "reduce.skops")

torch.manual_seed(0)
net = nn.Sequential(nn.Linear(20, 40), nn.ReLU(), nn.Linear(40, 10))
features, labels = torch.from_numpy(reduce.transform(scale(TRAIN)).astype("float32")), torch.from_numpy(TRAIN_LABELS)
optimiser = torch.optim.Adam(net.parameters(), 0.01)
for _ in range(300):
    optimiser.zero_grad()
    nn.functional.cross_entropy(net(features), labels).backward()
    optimiser.step()
torch.export.save(torch.export.export(net.eval(), (features[:1],)), folder / "net.pt2")

(folder / "mlcc.toml").write_text("""name = "digits"
targets = ["native", "cortex-m7"]
[[stage]]
file = "scale.toml"
[[stage]]
model = "reduce.skops"
[[stage]]
model = "net.pt2"
[[stage]]
kind = "softmax"
""")
built = mlcc.build(folder / "mlcc.toml", ["native", "cortex-m7"], out=folder / "dist", dims={"rows": 1})
artifact = mlcc.load(Path(built["artifacts"][0]["path"]))
(given,), (result,) = artifact.inputs, artifact.outputs
found = [int(artifact({given.name: row[None]})[result.name].argmax()) for row in ROWS]
share = sum(a == b for a, b in zip(found, TEST_LABELS)) / len(found)
assert share > 0.9
ran = ", ".join(f"{a['target']} {a['class']}, {a['conformance']}" for a in built["artifacts"])
print(f"{share:.1%} of {len(found)} digits, program {built['program_digest'][:16]}, {ran}")
