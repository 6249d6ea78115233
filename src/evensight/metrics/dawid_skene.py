"""What several annotators together say: the truth of each item and the mistakes of each annotator (Dawid, Skene 1979).

An annotator `a` is taken to give label `l` to an item of true class `k` with a chance `confusion[a, k, l]`, whatever
the others say. Truth and confusion are found by expectation and maximisation, which starts from the shares of votes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse, special

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

# Chances are held above this, so that without smoothing one never-seen label cannot make all classes impossible.
_FLOOR = 1e-300


@dataclass(frozen=True)
class DawidSkene:
    """What was found of N items, A annotators and K classes.

    Attributes:
        posterior: `[N, K]`, chance of each class given all labels of the item; the prior where it has none.
        confusion: `[A, K, K]`, annotator x true class x label; rows sum to 1.
        prior: `[K]`, share of each class among the items with labels.
        iterations: Rounds of expectation and maximisation.
        converged: Whether the last round changed no chance of an item by more than the tolerance.
    """

    posterior: FloatArray
    confusion: FloatArray
    prior: FloatArray
    iterations: int
    converged: bool

    @property
    def consensus(self) -> IntArray:
        """The likeliest class of each item `[N]`, the first among equals."""
        return np.asarray(self.posterior.argmax(axis=1), dtype=np.int64)


def dawid_skene(
    items: ArrayLike,
    annotators: ArrayLike,
    labels: ArrayLike,
    num_items: int,
    num_classes: int,
    num_annotators: int | None = None,
    max_iter: int = 300,
    tol: float = 1e-4,
    prior_strength: float = 1.0,
) -> DawidSkene:
    """Finds truth and mistakes together; an annotator may label an item more than once.

    Time is that of a sparse product a round: a second or two for a million labels and ten classes. Memory holds three
    arrays of A x K x K.

    Args:
        items: `[M]` item of each label, 0 to N - 1.
        annotators: `[M]` annotator of each label, 0 to A - 1.
        labels: `[M]` class of each label, 0 to K - 1.
        num_items: N.
        num_classes: K.
        num_annotators: A; None: as many as are named.
        max_iter: Rounds at most.
        tol: The change of a posterior at which it stops.
        prior_strength: Labels' worth of the confusion of all annotators together that each row of an annotator's
            own is mixed with, so that one with few labels is judged like the rest; also items' worth of an even
            prior. 0 is the plain likelihood of the paper.

    Raises:
        ValueError: If the columns differ in length, or hold a number out of range.
    """
    item, annotator, label = (np.asarray(column, dtype=np.int64).ravel() for column in (items, annotators, labels))
    if num_annotators is None:
        num_annotators = int(annotator.max(initial=-1)) + 1
    _check(item, annotator, label, (num_items, num_annotators, num_classes))
    votes = sparse.csr_matrix(  # [N, A K]: how often an annotator gave a label to an item
        (np.ones(item.size), (item, annotator * num_classes + label)),
        shape=(num_items, num_annotators * num_classes),
    )
    number = np.asarray(votes.sum(axis=1)).ravel()
    labelled = number > 0
    posterior = _vote_shares(item, label, number, num_classes)
    transposed = votes.T.tocsr()
    iterations, converged = 0, False
    prior, confusion = _maximise(transposed, posterior, labelled, prior_strength)
    while iterations < max_iter and not converged:
        before = posterior
        posterior = _expect(votes, prior, confusion)
        prior, confusion = _maximise(transposed, posterior, labelled, prior_strength)
        iterations += 1
        converged = float(np.abs(posterior - before)[labelled].max(initial=0.0)) <= tol
    posterior[~labelled] = prior
    return DawidSkene(posterior, confusion, prior, iterations, converged)


def _check(item: IntArray, annotator: IntArray, label: IntArray, sizes: tuple[int, int, int]) -> None:
    if not item.size == annotator.size == label.size:
        raise ValueError(
            f"labels: found {item.size} items, {annotator.size} annotators and {label.size} labels; allowed: as many."
        )
    for name, column, size in zip(("items", "annotators", "labels"), (item, annotator, label), sizes, strict=True):
        if column.size and not 0 <= column.min() <= column.max() < size:
            raise ValueError(f"{name}: found {column.min()} to {column.max()}; allowed: 0 to {size - 1}.")


def _vote_shares(item: IntArray, label: IntArray, number: FloatArray, num_classes: int) -> FloatArray:
    votes = np.bincount(item * num_classes + label, minlength=number.size * num_classes)
    shares: FloatArray = votes.reshape(number.size, num_classes) / np.maximum(number, 1.0)[:, None]
    return shares


def _maximise(
    transposed: sparse.csr_matrix, posterior: FloatArray, labelled: NDArray[np.bool_], strength: float
) -> tuple[FloatArray, FloatArray]:
    """Returns the prior `[K]` and the confusions `[A, K, K]` that fit the posterior."""
    num_classes = posterior.shape[1]
    seen = posterior[labelled].sum(axis=0) + strength / num_classes
    prior = seen / seen.sum() if seen.sum() > 0 else np.full(num_classes, 1.0 / num_classes)
    by_label = np.asarray(transposed @ posterior).reshape(-1, num_classes, num_classes)  # annotator, label, truth
    counts = np.swapaxes(by_label, 1, 2)
    pooled = counts.sum(axis=0) + strength / num_classes
    pooled = _rows(pooled)
    return prior, _rows(counts + strength * pooled)


def _rows(counts: FloatArray) -> FloatArray:
    """Makes the last axis sum to 1; even where there is nothing to count."""
    total = counts.sum(axis=-1, keepdims=True)
    even = 1.0 / counts.shape[-1]
    return np.where(total > 0, counts / np.where(total > 0, total, 1.0), even)


def _expect(votes: sparse.csr_matrix, prior: FloatArray, confusion: FloatArray) -> FloatArray:
    """Returns the posterior `[N, K]`, by sums of logarithms."""
    num_classes = prior.size
    by_label = np.swapaxes(np.log(np.maximum(confusion, _FLOOR)), 1, 2).reshape(-1, num_classes)  # [A K, truth]
    logits = np.asarray(votes @ by_label) + np.log(np.maximum(prior, _FLOOR))
    found: FloatArray = special.softmax(logits, axis=1)
    return found
