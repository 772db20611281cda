"""A pipeline of scikit-learn: python examples/frameworks/scikit_learn.py (pip install 'mlcc[sklearn]')"""

import tempfile
from pathlib import Path

import skops.io
from digits import ROWS, TRAIN, TRAIN_LABELS, check
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

forest = RandomForestClassifier(60, max_depth=9, random_state=0)
model = make_pipeline(StandardScaler(), PCA(24, random_state=0), forest).fit(TRAIN, TRAIN_LABELS)
path = Path(tempfile.mkdtemp()) / "forest.skops"  # no pickle: reading it runs nothing
skops.io.dump(model, path)
check(path, expected=model.predict(ROWS))
