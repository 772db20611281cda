"""What the examples share: handwritten digits (they come with scikit-learn), and the check of what was built."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import mlcc

PIXELS, LABELS = load_digits(return_X_y=True)
PIXELS = (PIXELS / 16).astype(np.float32)  # 1,797 pictures of 8 x 8
TRAIN, TEST, TRAIN_LABELS, TEST_LABELS = train_test_split(PIXELS, LABELS, random_state=0)
ROWS = TEST[:90]


def check(model: Any, target: str = "native", expected: np.ndarray | None = None, feed: np.ndarray = ROWS, **options: Any) -> None:
    """Builds a model for this machine and a Cortex-M7, and prints how many digits the artifact reads. expected: what the framework says.

    Each row is asked by itself, as a device would."""
    out = Path(tempfile.mkdtemp(prefix="digits-"))
    built = mlcc.build(model, [target, "cortex-m7"], out=out, **options)
    artifact = mlcc.load(Path(built["artifacts"][0]["path"]))
    (name,) = (t.name for t in artifact.inputs)
    answers = [artifact({name: row[None].astype(artifact.inputs[0].dtype)}) for row in feed]
    scores = np.stack([next(a for a in answer.values() if np.asarray(a).size == 10).reshape(-1) for answer in answers])
    found = scores.argmax(1)
    share = float((found == TEST_LABELS[: len(found)]).mean())
    about = f"program {built['program_digest'][:16]}, {built['artifacts'][1]['conformance']} on cortex-m7"
    print(f"{built['model']}: {share:.1%} of {len(found)} digits, {about}")
    assert share > 0.9, "an artifact that cannot read"
    if expected is not None:
        agree = float((found == expected[: len(found)]).mean())
        print(f"{agree:.1%} as the framework says")
        assert agree == 1.0
