"""Confident learning (Northcutt et al., JAIR 2021) on out-of-fold probabilities: which labels look wrong.

A logistic regression on embeddings is fitted on all folds but one and asked about that one. cleanlab prunes by the
noise rate of each (given, better) pair of classes. Pruned images come first in the ranking, and each part is ranked by
the normalised margin: on 10,000 MNIST digits the average precision was .98 for 5 % of labels wrong at random and .95
for two classes mixed up; by the margin alone .98 and .80.
"""

from __future__ import annotations

import importlib.util
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evensight.audit import embeddings
from evensight.files import replaced
from evensight.progress import Progress, silent

Ints = NDArray[np.int64]

VERSION = 1  # of what is kept in the audit's folder
NUM_FOLDS = 5
# Of scikit-learn: small, since the embeddings have seen the labels. At 1 single wrong labels are learned by heart.
PENALTY = 0.01
FEWEST = 2 * NUM_FOLDS  # images a class needs to be judged
MISSING = "Label errors are found with cleanlab and scikit-learn; install them with: pip install 'evensight[audit]'."


@dataclass(frozen=True)
class Suspects:
    """How far each label is to be believed.

    Attributes:
        quality: `[N]`, 0 to 1, the normalised margin: below .5 another class is likelier than the one given.
        given: `[N]`, the labels as given.
        suggested: `[N]`, the likeliest class.
        is_issue: bool `[N]`, which labels confident learning prunes.
        probabilities: Out of fold, float32 `[N, C]`.
        judged: bool `[N]`, False for images of a class with fewer than `FEWEST`; they have quality 1.
    """

    quality: NDArray[np.float64]
    given: Ints
    suggested: Ints
    is_issue: NDArray[np.bool_]
    probabilities: NDArray[np.float32]
    judged: NDArray[np.bool_]

    @property
    def order(self) -> Ints:
        """All images, the most suspect first `[N]`."""
        return np.argsort(self.quality + ~self.is_issue, kind="stable").astype(np.int64)

    @property
    def accuracy(self) -> float:
        """Share of the judged images whose given label is the likeliest: how well the embeddings tell the classes."""
        return float((self.suggested == self.given)[self.judged].mean()) if self.judged.any() else float("nan")

    @property
    def clarity(self) -> float:
        """As `accuracy`, without the pruned labels: how well the embeddings tell the classes however many are wrong."""
        believed = self.judged & ~self.is_issue
        return float((self.suggested == self.given)[believed].mean()) if believed.any() else 0.0


def available() -> bool:
    """Says whether the extra ``audit`` is installed."""
    return all(importlib.util.find_spec(name) for name in ("cleanlab", "sklearn"))


def suspects(
    images: NDArray[np.uint8] | NDArray[np.float32],
    labels: Ints,
    num_classes: int,
    seed: int,
    progress: Progress = silent,
    folder: Path | None = None,
) -> Suspects:
    """Judges every label.

    Args:
        images: Pixels uint8 `[N, S, S, 3]` (or `[N, 3, S, S]`), on which a small network is trained; or embeddings
            `[N, D]`.
        labels: As given `[N]`, 0 to C - 1.
        num_classes: C.
        seed: Of folds, weights and order.
        progress: Told of what takes time.
        folder: Where epochs and folds are kept, so that a killed audit goes on from there; for these images, labels and
            settings alone.

    Raises:
        ValueError: Fewer than two classes have `FEWEST` images.
    """
    counts = np.bincount(labels, minlength=num_classes)
    kept = np.flatnonzero(counts >= FEWEST)
    if len(kept) < 2:
        raise ValueError(f"labels: {len(kept)} classes have {FEWEST} images; at least 2 must")
    judged = counts[labels] >= FEWEST
    features = _features(images, labels, num_classes, seed, progress, folder)
    dense = np.searchsorted(kept, labels[judged])
    inner = _out_of_fold(features[judged], dense, seed, progress, folder)
    probabilities = np.zeros((len(labels), num_classes), np.float32)
    probabilities[np.ix_(judged, kept)] = inner
    quality, issue = np.ones(len(labels)), np.zeros(len(labels), np.bool_)
    quality[judged], issue[judged] = _judged(dense, inner)
    suggested = labels.copy()
    suggested[judged] = kept[inner.argmax(axis=1)]
    return Suspects(quality, labels, suggested, issue, probabilities, judged)


def _features(
    images: NDArray[np.uint8] | NDArray[np.float32],
    labels: Ints,
    num_classes: int,
    seed: int,
    progress: Progress,
    folder: Path | None,
) -> NDArray[np.float32]:
    if images.ndim == 2:
        return np.asarray(images, np.float32)
    found = _kept(folder, "embeddings.npy")
    if found is not None:
        return found
    pixels = np.asarray(images if images.shape[-1] == 3 else images.transpose(0, 2, 3, 1), np.uint8)
    return keep(folder, "embeddings.npy", embeddings.trained(pixels, labels, num_classes, seed, progress, folder))


def _out_of_fold(
    features: NDArray[np.float32], labels: Ints, seed: int, progress: Progress, folder: Path | None
) -> NDArray[np.float32]:
    """Returns `[N, C]`: of each image, what a regression that did not see it says."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold
    from threadpoolctl import threadpool_limits

    scaled = (features - features.mean(axis=0)) / (features.std(axis=0) + 1e-6)
    found = np.zeros((len(labels), int(labels.max()) + 1), np.float32)
    folds = StratifiedKFold(NUM_FOLDS, shuffle=True, random_state=seed).split(scaled, labels)
    for number, (inside, outside) in enumerate(folds):
        progress("label errors: folds", number, NUM_FOLDS)
        name = f"fold-{number}.npy"
        part = _kept(folder, name)
        if part is None:
            with warnings.catch_warnings(), threadpool_limits(1):  # as in `embeddings.trained`
                warnings.simplefilter("ignore", ConvergenceWarning)  # near enough for a ranking
                model = LogisticRegression(C=PENALTY, max_iter=200).fit(scaled[inside], labels[inside])
            part = keep(folder, name, model.predict_proba(scaled[outside]).astype(np.float32))
        found[outside] = part
    progress("label errors: folds", NUM_FOLDS, NUM_FOLDS)
    return found


def _judged(labels: Ints, probabilities: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    sums = probabilities.astype(np.float64)
    sums /= sums.sum(axis=1, keepdims=True)
    quality = get_label_quality_scores(labels, sums, method="normalized_margin")
    issue = find_label_issues(labels, sums, filter_by="prune_by_noise_rate", n_jobs=1)
    return np.asarray(quality, np.float64), np.asarray(issue, np.bool_)


def _kept(folder: Path | None, name: str) -> NDArray[np.float32] | None:
    if folder is None or not (folder / name).is_file():
        return None
    try:
        found: NDArray[np.float32] = np.load(folder / name, allow_pickle=False)
    except (OSError, ValueError, EOFError):  # a broken file of ours costs its work again, nothing else
        return None
    return found


def keep(folder: Path | None, name: str, array: NDArray[Any]) -> NDArray[Any]:
    """Writes an array where a later call finds it, whole or not at all, and returns it; nothing without a folder."""
    if folder is not None:
        with replaced(folder / name) as temporary, temporary.open("wb") as file:
            np.save(file, array)
    return array
