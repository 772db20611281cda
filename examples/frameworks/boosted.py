"""Boosted trees, from their own files: python examples/frameworks/boosted.py (pip install 'mlcc[boost]')"""

import tempfile
from pathlib import Path

import catboost
import lightgbm
import xgboost
from digits import ROWS, TRAIN, TRAIN_LABELS, check

folder = Path(tempfile.mkdtemp())
gradient = xgboost.XGBClassifier(n_estimators=40, max_depth=4).fit(TRAIN, TRAIN_LABELS)
gradient.save_model(folder / "xgboost_digits.json")
check(folder / "xgboost_digits.json", expected=gradient.predict(ROWS))

leaves = lightgbm.LGBMClassifier(n_estimators=40, verbose=-1).fit(TRAIN, TRAIN_LABELS)
leaves.booster_.save_model(folder / "lightgbm_digits.txt")
check(folder / "lightgbm_digits.txt", expected=leaves.booster_.predict(ROWS).argmax(1))

cat = catboost.CatBoostClassifier(iterations=80, depth=5, verbose=0, allow_writing_files=False).fit(TRAIN, TRAIN_LABELS)
cat.save_model(str(folder / "catboost_digits.cbm"))
check(folder / "catboost_digits.cbm", expected=cat.predict(ROWS).ravel())
