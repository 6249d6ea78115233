"""Figures that the cue tests compare before and after, by NumPy and SciPy alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from evensight.cues.base import Cue

WEIGHTS = np.array([0.299, 0.587, 0.114])


def luma(images: Tensor) -> NDArray[np.float64]:
    """Returns the Rec. 601 luma `[N, H, W]`."""
    result: NDArray[np.float64] = np.einsum("k,nkhw->nhw", WEIGHTS, images.numpy().astype(float))
    return result


def edge_agreement(images: Tensor, others: Tensor, sigma: float = 2.0) -> NDArray[np.float64]:
    """Returns, for each image, the correlation of the two maps of edges at a scale of `sigma` pixels."""
    maps = [[ndimage.gaussian_gradient_magnitude(plane, sigma).ravel() for plane in luma(x)] for x in (images, others)]
    return np.array([np.corrcoef(a, b)[0, 1] for a, b in zip(*maps, strict=True)])


def distances(cue: Cue, moved: Tensor, extra: dict[str, Tensor], images: Tensor) -> NDArray[np.float64]:
    """Returns how far the features of each moved image are from those of each image, `[N, N]`, in spreads."""
    features = cue.describe(images, extra).numpy().astype(float)
    spread = np.maximum(features.std(axis=0), 1e-3)
    difference = (cue.describe(moved, extra).numpy().astype(float)[:, None] - features[None]) / spread
    result: NDArray[np.float64] = np.sqrt((difference**2).sum(axis=2))
    return result


def taken_from(cue: Cue, operator: str, images: Tensor, extra: dict[str, Tensor]) -> tuple[float, float, Tensor]:
    """Transplants from the image before, the first one's donor being the last.

    Returns:
        The share of images whose features are nearer to their donor's than to their own, the share whose nearest of all
        images is the donor, and the images.
    """
    donors = images.roll(1, 0)
    donor_extra = {name: value.roll(1, 0) for name, value in extra.items()}
    moved = cue.transplant(operator, images, donors, extra, donor_extra)
    # A mask goes with its image, so features of what moved are read with the image's own.
    distance = distances(cue, moved, extra, images)
    own = np.arange(len(images))
    donor = (own - 1) % len(images)
    nearer = float((distance[own, donor] < distance[own, own]).mean())
    return nearer, float((distance.argmin(axis=1) == donor).mean()), moved


def named(features: Tensor, labels: Tensor, num_train: int) -> float:
    """Returns how many labels scikit-learn's logistic regression names right, trained on the first `num_train`."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = features.numpy().astype(float), labels.numpy()
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=300))
    model.fit(x[:num_train], y[:num_train])
    return float(model.score(x[num_train:], y[num_train:]))
