"""The last layer fitted anew: the optimum is scikit-learn's, nothing of the network changes, shortcuts are undone."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.preprocessing import StandardScaler
from torch import nn
from training_places import Workplace

from evensight.errors import RunError, UserError
from evensight.training.checkpoint import network_weights, read_checkpoint
from evensight.training.methods.afr import AFR, unsure_weights
from evensight.training.methods.base import DataFacts
from evensight.training.methods.dfr import DFR, balanced_subset, halves
from evensight.training.methods.last_layer import Embedded, LastLayer, embed, parted
from evensight.training.methods.linear_head import Head, Scale, fit_head
from evensight.training.task import SingleLabel
from evensight.training.train import load_best

ZERO = Head(np.zeros((3, 5)), np.zeros(3))


def problem(num: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features [N, 5], labels of 3 classes [N], weights [N]."""
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(num, 5)) * [1, 2, 0.5, 1, 1] + [0, 1, 0, 0, -2]
    logits = features @ generator.normal(size=(5, 3)) + generator.gumbel(size=(num, 3))
    return features, logits.argmax(axis=1), generator.uniform(0.1, 3, num)


@pytest.mark.parametrize("strength", [0.001, 0.03, 1.0])
def test_squared_penalty_has_the_optimum_of_scikit_learn(strength: float) -> None:
    features, label, weights = problem()
    # There: C * sum of weighted losses + half the squared weights, without the bias.
    model = LogisticRegression(C=1 / (strength * weights.sum()), tol=1e-10, max_iter=10000)
    expected = model.fit(features, label, sample_weight=weights)
    found = fit_head(features, np.eye(3)[label], weights, "l2", strength, ZERO, towards_start=False)
    np.testing.assert_allclose(found.weight, expected.coef_, atol=2e-4)
    np.testing.assert_allclose(np.diff(found.bias), np.diff(expected.intercept_), atol=5e-4)


@pytest.mark.parametrize("strength", [0.001, 0.03])
def test_absolute_penalty_has_the_optimum_of_scikit_learn(strength: float) -> None:
    features, label, weights = problem()
    scaled = Scale.of(features).standardised(features)
    model = LogisticRegression(
        C=1 / (strength * weights.sum()), l1_ratio=1.0, solver="saga", tol=1e-9, max_iter=20000, random_state=0
    )
    expected = model.fit(scaled, label, sample_weight=weights)
    start = Head(np.random.default_rng(1).normal(size=(3, 5)), np.ones(3))
    found = fit_head(scaled, np.eye(3)[label], weights, "l1", strength, start, towards_start=False)
    np.testing.assert_allclose(found.weight, expected.coef_, atol=1e-3)
    assert ((np.abs(found.weight) < 1e-9) == (np.abs(expected.coef_) < 1e-9)).mean() > 0.9
    if strength == 0.03:
        assert (found.weight == 0).any()


def test_distance_from_the_start_is_what_is_penalised() -> None:
    features, label, weights = problem()
    start = Head(np.random.default_rng(1).normal(size=(3, 5)), np.array([1.0, -1.0, 0.5]))
    found = fit_head(features, np.eye(3)[label], weights, "l2", 0.1, start, towards_start=True)

    def value(head: Head) -> float:
        probabilities = np.exp(head.logits(features))
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        away = ((head.weight - start.weight) ** 2).sum() + ((head.bias - start.bias) ** 2).sum()
        return float(log_loss(label, probabilities, sample_weight=weights)) + 0.1 / 2 * away

    best = value(found)
    assert best < value(start)
    for position in np.ndindex(3, 5):
        for step in (1e-3, -1e-3):
            moved = found.weight.copy()
            moved[position] += step
            assert value(Head(moved, found.bias)) > best
    for place in range(3):
        for step in (1e-3, -1e-3):
            assert value(Head(found.weight, found.bias + step * (np.arange(3) == place))) > best
    held = fit_head(features, np.eye(3)[label], weights, "l2", 1e6, start, towards_start=True)
    np.testing.assert_allclose(held.weight, start.weight, atol=1e-4)


def test_soft_targets_are_those_of_repeated_images() -> None:
    """A target of (.75, .25) is three images of one class and one of the other."""
    features, label, _ = problem(60)
    target = 0.75 * np.eye(3)[label] + 0.25 * np.eye(3)[(label + 1) % 3]
    soft = fit_head(features, target, np.ones(60), "l2", 0.05, ZERO, towards_start=False)
    repeated = np.eye(3)[np.concatenate([label] * 3 + [(label + 1) % 3])]
    hard = fit_head(np.concatenate([features] * 4), repeated, np.ones(240), "l2", 0.05, ZERO, towards_start=False)
    np.testing.assert_allclose(soft.weight, hard.weight, atol=1e-4)


def test_folding_is_exact() -> None:
    features, _, _ = problem()
    features[:, 3] = 7.0  # a feature that never changes
    scale = Scale.of(features)
    head = Head(np.random.default_rng(1).normal(size=(3, 5)), np.array([1.0, -1.0, 0.5]))
    standardised = scale.standardised(features)
    np.testing.assert_allclose(standardised.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(standardised.std(axis=0), [1, 1, 1, 0, 1], atol=1e-12)
    np.testing.assert_allclose(scale.folded(head).logits(features), head.logits(standardised), atol=1e-12)
    np.testing.assert_allclose(scale.unfolded(head).logits(standardised), head.logits(features), atol=1e-12)


@pytest.mark.parametrize("penalty", ["l1", "l2"])
@pytest.mark.parametrize("label", [[0, 0, 1, 1], [0, 0, 0, 0], [0, 1, 2, 2]])
def test_few_images_and_missing_classes_stay_finite(penalty: str, label: list[int]) -> None:
    features = np.random.default_rng(0).normal(size=(4, 5))
    found = fit_head(features, np.eye(3)[label], np.ones(4), penalty, 1e-4, ZERO, towards_start=False)
    assert np.isfinite(found.weight).all()
    assert np.isfinite(found.bias).all()
    assert (found.logits(features).argmax(axis=1) == label).all()


def test_weights_of_afr_are_the_papers() -> None:
    sure, label = np.array([0.9, 0.1, 0.5, 0.99]), np.array([0, 0, 2, 0])
    expected = [np.exp(-4 * p) / {0: 3, 2: 1}[y] for p, y in zip(sure.tolist(), label.tolist(), strict=True)]
    np.testing.assert_allclose(unsure_weights(sure, label, 4.0), np.array(expected) / sum(expected))
    even = unsure_weights(sure, label, 0.0)
    np.testing.assert_allclose([even[label == 0].sum(), even[label == 2].sum()], 0.5)
    assert (unsure_weights(np.array([0.0, 1.0]), np.array([1, 1]), 100.0) > 0).all()


# 64 cells of very different sizes: one image, two, none, and images of unknown level in the last column.
def cells_of(counts: np.ndarray) -> np.ndarray:
    return np.repeat(np.arange(counts.size), counts.ravel())


def test_balanced_subsets_have_cells_alike_and_every_image_a_weight() -> None:
    counts = np.array([[500, 1, 0, 0], [2, 300, 40, 9], [0, 0, 25, 0]])
    cells = cells_of(counts)
    np.random.default_rng(0).shuffle(cells)
    first, weights = balanced_subset(cells, counts.astype(float), 20, 0)
    assert (weights > 0).all()
    drawn = np.bincount(cells[first], minlength=12).reshape(3, 4)
    # Cut to 20 and no further although a cell has one image; images of unknown level are all there.
    assert drawn.tolist() == [[20, 1, 0, 0], [2, 20, 20, 9], [0, 0, 20, 0]]
    share = np.bincount(cells[first], weights, minlength=12).reshape(3, 4)
    np.testing.assert_allclose(share.sum(axis=1), 1 / 3)
    np.testing.assert_allclose(share[0, :2], 1 / 6)
    np.testing.assert_allclose(share[1, :3], (1 - 9 / 351) / 9)
    assert share[1, 3] == pytest.approx(9 / 351 / 3)
    other, _ = balanced_subset(cells, counts.astype(float), 20, 1)
    assert set(other) != set(first)
    again, _ = balanced_subset(cells, counts.astype(float), 20, 0)
    np.testing.assert_array_equal(again, first)
    # Where all cells have more, the smallest cuts the others down, as in the paper.
    large = np.array([[90, 50, 0], [60, 70, 0]])
    chosen, _ = balanced_subset(cells_of(large), large.astype(float), 20, 0)
    assert np.bincount(cells_of(large)[chosen]).tolist() == [50, 50, 0, 50, 50]


@pytest.mark.parametrize(
    ("counts", "size"),
    [
        ([[90, 50, 0], [60, 70, 0]], 50),
        ([[90, 1, 0], [60, 70, 0]], 1),  # a cell of one image: one image of every cell, as the paper has it
        ([[90, 0, 0], [60, 7, 0]], 7),  # an empty cell, with which the authors' subsets would be empty
    ],
)
def test_with_cells_of_one_image_subsets_are_the_papers(counts: list[list[int]], size: int) -> None:
    """Each cell that has images is there as often as the smallest one, none twice, and every image gets its turn."""
    table = np.array(counts)
    cells = np.random.default_rng(0).permutation(cells_of(table))
    drawn: Counter[int] = Counter()
    for number in range(600):
        chosen, weights = balanced_subset(cells, table.astype(float), 1, number)
        assert len(set(chosen.tolist())) == len(chosen)
        found = np.bincount(cells[chosen], minlength=table.size).reshape(table.shape)
        assert found.tolist() == (size * (table > 0)).tolist()
        np.testing.assert_allclose(np.bincount(cells[chosen] // 3, weights), 0.5)
        drawn.update(chosen.tolist())
    assert len(drawn) == len(cells)
    # An image of a cell of n is drawn with chance size / n: 600 draws, six deviations.
    for cell in np.flatnonzero(table):
        chance = size / table.ravel()[cell]
        times = np.array([drawn[place] for place in np.flatnonzero(cells == cell)])
        assert (np.abs(times - 600 * chance) <= 6 * np.sqrt(600 * chance * (1 - chance))).all()


def test_the_layer_is_the_mean_of_scikit_learns_on_balanced_subsets() -> None:
    """Equal weights, as in the paper: what each subset's own logistic regression finds, averaged."""
    features, label, _ = problem()
    level = np.random.default_rng(1).integers(0, 2, len(label))
    levels = {"colour": 2}
    facts = DataFacts(class_counts=[1, 1, 1], num_images=400, levels=levels, cells={}, default_attribute="colour")
    options = {"penalty": "l2", "strength": 2.0, "cell_images": 1, "num_subsets": 3}
    found = DFR(options, SingleLabel(["a", "b", "c"]), facts).solve(
        Embedded(features, np.eye(3)[label], label, level[:, None]), Head(np.ones((3, 5)), np.zeros(3))
    )
    counts = np.zeros((3, 3))
    np.add.at(counts, (label, level), 1)
    scaled = StandardScaler().fit(features)
    logits = []
    for number in range(3):
        chosen, _ = balanced_subset(label * 3 + level, counts, 1, number)
        model = LogisticRegression(C=1 / 2.0, tol=1e-10, max_iter=10000)
        fitted = model.fit(scaled.transform(features[chosen]), label[chosen])
        logits.append(scaled.transform(features) @ fitted.coef_.T + fitted.intercept_)
    expected, mine = np.mean(logits, axis=0), found.logits(features)
    centred = [part - part.mean(axis=1, keepdims=True) for part in (expected, mine)]
    np.testing.assert_allclose(centred[1], centred[0], atol=2e-3)


def test_halves_part_every_cell() -> None:
    cells = np.random.default_rng(0).permutation(np.repeat(np.arange(4), [1, 2, 7, 30]))
    first = halves(cells)
    assert np.bincount(cells[first]).tolist() == [1, 1, 4, 15]


def test_every_stratum_is_held_back_by_its_share() -> None:
    sizes = [1, 2, 4, 100, 1000]
    strata = np.random.default_rng(0).permutation(np.repeat(np.arange(5), sizes))
    contents = [f"{number:064x}" for number in range(len(strata))]
    trained = np.ones(len(strata), bool)
    seen, held = parted(contents, strata, trained, 0.2)
    assert np.bincount(strata[held]).tolist() == [1, 1, 1, 20, 200]
    assert np.bincount(strata[seen]).tolist() == [1, 1, 3, 80, 800]
    assert (seen & held).sum() == 1  # the stratum of one image
    # The same images whatever their order, and others where others do not take part.
    order = np.random.default_rng(1).permutation(len(strata))
    _, again = parted([contents[place] for place in order], strata[order], trained, 0.2)
    np.testing.assert_array_equal(again, held[order])
    trained[held] = False
    seen, other = parted(contents, strata, trained, 0.2)
    assert not (other & held).any()
    assert not seen[held].any()


FACTS = DataFacts(
    class_counts=[100, 100], num_images=200, levels={"size": 3, "colour": 2}, cells={}, default_attribute="colour"
)


def method(kind: type[LastLayer], **options: Any) -> LastLayer:
    return kind(options, SingleLabel(["a", "b"]), FACTS)


def planted(num: int, tied: float, seed: int) -> tuple[Embedded, np.ndarray]:
    """Two features: a weak one that is the class's own, and a strong one of the colour, which goes with the class."""
    generator = np.random.default_rng(seed)
    label = generator.integers(0, 2, num)
    colour = np.where(generator.random(num) < tied, label, 1 - label)
    sign = np.stack([label, colour], axis=1) * 2 - 1
    features = sign * [1.0, 1.0] + generator.normal(size=(num, 2)) * [0.6, 0.15]
    features = features @ np.array([[3.0, 1.0], [-1.0, 20.0]]) + [5, -3]  # mixed, of other scales
    attributes = np.stack([np.full(num, -1), colour], axis=1)
    return Embedded(features, np.eye(2)[label], label, attributes), colour


def worst(head: Head, seed: int = 9) -> float:
    images, colour = planted(4000, 0.5, seed)
    right = head.logits(images.features).argmax(axis=1) == images.label
    return min(right[(images.label == y) & (colour == c)].mean() for y in (0, 1) for c in (0, 1))


@pytest.mark.parametrize(("kind", "least"), [(DFR, 0.85), (AFR, 0.80)])
def test_a_planted_shortcut_is_undone(kind: type[LastLayer], least: float) -> None:
    fitted, _ = planted(4000, 0.98, 0)
    shortcut = fit_head(
        fitted.features, fitted.target, np.ones(4000), "l2", 0.01, Head(np.zeros((2, 2)), np.zeros(2)), False
    )
    held_back, _ = planted(1000, 0.98, 1)
    assert worst(shortcut) < 0.65  # who sees the weak feature alone: .95
    assert worst(method(kind).solve(held_back, shortcut)) > least


@pytest.mark.parametrize("kind", [DFR, AFR])
@pytest.mark.parametrize("case", ["tiny", "unknown levels", "one cell", "one image"])
def test_odd_cells_stay_finite(kind: type[LastLayer], case: str) -> None:
    images, _ = planted(5 if case == "tiny" else 60, 0.8, 3)
    start = Head(np.ones((2, 2)), np.zeros(2))
    if case == "unknown levels":
        images.attributes[:, 1] = -1
    if case == "one cell":
        images.attributes[:, 1], images.label[:] = 0, 0
    if case == "one image":
        images = Embedded(images.features[:1], images.target[:1], images.label[:1], images.attributes[:1])
    found = method(kind).solve(images, start)
    assert np.isfinite(found.weight).all()
    assert np.isfinite(found.bias).all()


def test_the_attribute_is_found_by_its_place() -> None:
    """Of two attributes the groups are those of the one that was named: with the other nothing would be undone."""
    found = method(DFR)
    assert isinstance(found, DFR)
    assert found.attribute == "colour"
    fitted, _ = planted(4000, 0.98, 0)
    by_size = method(DFR, attribute="size").solve(fitted, Head(np.zeros((2, 2)), np.zeros(2)))
    assert worst(by_size) < 0.9
    with pytest.raises(UserError, match=r"method\.attribute.*colour"):
        method(DFR, attribute="color")


class Embedding(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.head = nn.Linear(2, 2)
        self.value = value

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)[:, :2].float() * self.value


def test_images_of_weight_0_are_no_part_of_the_fit() -> None:
    batch = {
        "image": torch.arange(12).view(3, 1, 2, 2),
        "target": torch.eye(2)[[0, 1, 0]],
        "label": torch.tensor([0, 1, 0]),
        "attributes": torch.tensor([[0, 1], [-1, 0], [1, 1]]),
        "weight": torch.tensor([1.0, 0.0, 1.0]),
    }
    found = embed(Embedding(1.0), [batch])  # type: ignore[arg-type]
    assert found.features.tolist() == [[0, 1], [8, 9]]
    assert found.attributes.tolist() == [[0, 1], [1, 1]]
    with pytest.raises(RunError, match="not finite"):
        embed(Embedding(float("inf")), [batch])  # type: ignore[arg-type]
    with pytest.raises(RunError, match="can be decoded"):
        embed(Embedding(1.0), [{**batch, "weight": torch.zeros(3)}])  # type: ignore[arg-type]
    with pytest.raises(RunError, match="no image was held back"):
        embed(Embedding(1.0), [])  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["dfr", "afr"])
def test_a_fit_holds_images_back_and_changes_the_last_layer_alone(
    name: str, place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: Counter[int] = Counter()
    loss = LastLayer.loss

    def noted(self: LastLayer, model: nn.Module, batch: dict[str, Any]) -> torch.Tensor:
        drawn.update(batch["index"].tolist())
        return loss(self, model, batch)

    monkeypatch.setattr(LastLayer, "loss", noted)
    options = ("method.num_subsets=2", "method.strength=10") if name == "dfr" else ()
    fitted = place.fit(f"method={name}", *options)
    best = read_checkpoint(fitted.run.checkpoints / "best.ckpt")
    assert best["repaired"]
    back = load_best(fitted.config, fitted.run, place.manifest, place.objective).network.state_dict()
    monkeypatch.setattr(LastLayer, "repair", lambda self, model, images: False)
    plain = network_weights(read_checkpoint(place.fit(f"method={name}", *options).run.checkpoints / "best.ckpt"))
    for key, value in fitted.result.network.state_dict().items():
        assert torch.equal(value, back[key]), key
        assert torch.equal(value, plain[key]) != key.startswith("head."), key

    kind = {"dfr": DFR, "afr": AFR}[name]
    facts = DataFacts(**best["hyper_parameters"]["facts"])
    own = kind({}, SingleLabel(list(place.manifest.classes)), facts)
    rows = place.manifest.split("train")["index"].to_numpy()
    seen, held = own.parts(place.manifest)
    assert drawn.keys() <= set(rows[seen].tolist())
    assert held.sum() + seen.sum() >= len(rows)
    assert 0.15 < held.mean() < 0.35  # 256 images in 64 cells: of a cell of one to seven images one is held back


def test_nothing_is_held_back_where_it_is_said(place: Workplace) -> None:
    facts = DataFacts(class_counts=[32] * 8, num_images=1, levels={"colour": 8}, default_attribute="colour")
    own = DFR({"held_back": 0.0}, SingleLabel(list(place.manifest.classes)), facts)
    seen, held = own.parts(place.manifest)
    assert own.sample_weights(place.manifest) is None
    assert seen.all()
    assert held.all()


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("method.held_back=1", r"method\.held_back"),
        ("method.penalty=l3", r"method\.penalty.*l1"),
        ("method.attribute=color", r"method\.attribute.*colour"),
        ("method.strength=-1", r"method\.strength"),
    ],
)
def test_what_is_wrong_is_named(place: Workplace, override: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        place.fit("method=dfr", override)


@pytest.mark.parametrize("by", ["[head]", "[augment,head]"])
def test_focus_by_head_is_the_method_and_goes_with_others(by: str, place: Workplace) -> None:
    cue = ("focus=colour_off",) if "augment" in by else ()
    fitted = place.fit(*cue, f"focus.by={by}", "focus.head=afr", "focus.trial=false")
    best = read_checkpoint(fitted.run.checkpoints / "best.ckpt")
    assert best["repaired"]
    assert best["hyper_parameters"]["method"]["name"] == "afr"
    assert torch.equal(network_weights(best)["head.weight"], fitted.result.network.head.weight)
