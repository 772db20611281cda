"""A network of PyTorch, straight from Python: python examples/frameworks/pytorch.py (pip install 'mlcc[torch]')"""

import torch
from digits import ROWS, TRAIN, TRAIN_LABELS, check
from torch import nn

torch.manual_seed(0)
net = nn.Sequential(
    nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(12, 24, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 10),
)  # fmt: skip
pixels, labels = torch.from_numpy(TRAIN), torch.from_numpy(TRAIN_LABELS)
optimiser = torch.optim.Adam(net.parameters(), 0.01)
for _ in range(25):
    for part in torch.randperm(len(pixels)).split(64):
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(pixels[part]), labels[part]).backward()
        optimiser.step()
net.eval()
with torch.no_grad():
    expected = net(torch.from_numpy(ROWS)).argmax(1).numpy()
check(net, args=(torch.from_numpy(ROWS[:1]),), expected=expected, name="pytorch_digits")
