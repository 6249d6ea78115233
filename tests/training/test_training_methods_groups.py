"""What each method that evens out groups computes, held against its formula written as a loop in numpy."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import beta
from toy_groups import CLASSES, COUNTS, Table, batch_of, begin, everything, manifest, method

from evensight.errors import UserError
from evensight.training.methods.base import DataFacts
from evensight.training.methods.facts import default_attribute
from evensight.training.methods.fg_ccdb import FGCCDB
from evensight.training.methods.group_dro import GroupDRO
from evensight.training.methods.grouped import attribute_named
from evensight.training.methods.jtt import JTT
from evensight.training.methods.lff import LfF, generalized_cross_entropy
from evensight.training.methods.lisa import LISA, beta_2_2, partners

Array = NDArray[np.float64]


def logits_of(num: int, seed: int) -> torch.Tensor:
    return 3 * torch.randn((num, len(CLASSES)), generator=torch.Generator().manual_seed(seed))


def log_softmax(logits: Array) -> Array:
    shifted = logits - logits.max(axis=1, keepdims=True)
    found: Array = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return found


def cross_entropies(logits: torch.Tensor, batch: dict[str, Any]) -> Array:
    found = log_softmax(logits.detach().numpy().astype(float))
    return -found[np.arange(len(found)), batch["label"].numpy()]


def counted(batch: dict[str, Any]) -> list[int]:
    """Rows of the batch that are images."""
    return [int(row) for row in np.flatnonzero(batch["weight"].numpy())]


def test_adjusted_logits() -> None:
    batch = batch_of([*everything(), -1])
    given = logits_of(len(batch["label"]), 1)
    found = method("logit_adjustment", attribute="colour", tau=0.7, smoothing=2.0).loss(Table(given), batch)
    smooth = COUNTS + 2.0
    losses = []
    for row in counted(batch):
        colour = int(batch["attributes"][row, 0])
        column = smooth[:, 4 if colour < 0 else colour]
        adjusted = given[row].numpy() + 0.7 * np.log(column / column.sum())
        losses.append(-log_softmax(adjusted[None])[0, int(batch["label"][row])])
    assert found.item() == pytest.approx(np.mean(losses), rel=1e-5)
    assert torch.equal(batch["logits"], given)  # accuracy is of the network's own


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
def test_logits_that_say_what_the_level_says_have_nothing_left_to_learn(label_smoothing: float) -> None:
    """A network of no weights is as good as one that has learnt p(class | level): the gradient over a level is 0."""
    batch = batch_of(everything())
    table = Table(torch.zeros(len(batch["label"]), 3))
    given = {"attribute": "colour", "smoothing": 1e-6, "label_smoothing": label_smoothing}
    method("logit_adjustment", **given).loss(table, batch).backward()
    for colour in range(-1, 4):
        of_level = (batch["attributes"][:, 0] == colour) & (batch["weight"] > 0)
        assert table.logits.grad is not None
        torch.testing.assert_close(table.logits.grad[of_level].sum(dim=0), torch.zeros(3), atol=1e-6, rtol=0)


@pytest.mark.parametrize("adjustment", [0.0, 2.0])
def test_weights_of_cells_follow_their_losses(adjustment: float) -> None:
    found = method("group_dro", attribute="colour", eta=0.3, adjustment=adjustment)
    assert isinstance(found, GroupDRO)
    counts = COUNTS.ravel()
    q = np.where(counts > 0, 1 / (counts > 0).sum(), 0.0)
    np.testing.assert_allclose(found.q.numpy(), q, rtol=1e-6)
    for step, positions in enumerate([everything(), [1, 2, 3, -1], [*everything()[5:], -1]]):
        batch = batch_of(positions)
        given = logits_of(len(positions), step)
        table = Table(given)
        loss = found.loss(table, batch)
        losses, cells = cross_entropies(given, batch), [[] for _ in counts]  # type: ignore[var-annotated]
        for row in counted(batch):
            colour = int(batch["attributes"][row, 0])
            cells[int(batch["label"][row]) * 5 + (4 if colour < 0 else colour)].append(losses[row])
        means = np.array([np.mean(cell) if cell else 0.0 for cell in cells])
        q = q * np.exp(0.3 * (means + adjustment / np.sqrt(np.maximum(counts, 1))))
        q /= q.sum()
        np.testing.assert_allclose(found.q.numpy(), q, rtol=1e-5)
        assert loss.item() == pytest.approx((q * means).sum(), rel=1e-5)


def test_a_cell_that_was_easy_for_long_is_heard_again() -> None:
    """Its weight is kept as a logarithm: as a number it would have become 0, and stayed so."""
    found = method("group_dro", attribute="colour", eta=1.0)
    assert isinstance(found, GroupDRO)
    losses = torch.zeros(COUNTS.size)
    losses[0] = 20.0
    for _ in range(50):
        found._hear(losses)
    assert found.q[1] == 0  # as a number
    losses[0], losses[1] = 0.0, 30.0
    for _ in range(50):
        found._hear(losses)
    assert found.q[1] > 0.99


def test_errors_of_the_first_phase_are_drawn_more_often() -> None:
    found = method("jtt", upweight=7.0)
    assert isinstance(found, JTT)
    identify, upweight = found.phases()
    assert (identify.epochs, upweight.epochs, upweight.reset) == (2, None, ("network.*",))
    assert begin(found, identify) is None
    expected = {}
    for step, positions in enumerate([everything(), [3, 4, 5, -1]]):  # three of them are seen again, with other logits
        batch = batch_of(positions)
        given = logits_of(len(positions), step)
        found.loss(Table(given), batch)
        for row in counted(batch):
            wrong = given[row].argmax() != batch["label"][row]
            expected[positions[row]] = 7.0 if wrong else 1.0
    weights = begin(found, upweight)
    trained = manifest().trained()
    assert [weights[i] for i in everything()] == [expected[i] if trained[i] else 0.0 for i in everything()]
    assert set(weights[trained]) == {1.0, 7.0}
    kept = found.errors.clone()
    found.loss(Table(-logits_of(len(everything()), 0)), batch_of(everything()))
    assert torch.equal(found.errors, kept)  # the second phase notes nothing


@pytest.mark.parametrize("q", [0.01, 0.7, 1.0])
def test_generalized_cross_entropy(q: float) -> None:
    given = logits_of(20, 0).requires_grad_()
    label = torch.arange(20) % 3
    losses = torch.nn.functional.cross_entropy(given, label, reduction="none")
    p = np.exp(-losses.detach().numpy().astype(float))
    found = generalized_cross_entropy(losses, q)
    np.testing.assert_allclose(found.detach().numpy(), (1 - p**q) / q, rtol=1e-4, atol=1e-6)
    # As in the paper: the gradient is that of the cross entropy times p^q.
    (easy,) = torch.autograd.grad(found.sum(), given, retain_graph=True)
    (plain,) = torch.autograd.grad(losses.sum(), given)
    torch.testing.assert_close(easy, plain * torch.from_numpy(p**q).float()[:, None], rtol=1e-4, atol=1e-6)


def test_relative_difficulty_of_images() -> None:
    found = method("lff", q=0.7, decay=0.6)
    assert isinstance(found, LfF)
    averages: dict[int, Array] = {}
    of_class = dict(enumerate(manifest().labels("train")))
    for step, positions in enumerate([everything(), [0, 3, 8, 12, -1], everything()]):
        batch = batch_of(positions)
        given, biased = logits_of(len(positions), step), logits_of(len(positions), 100 + step)
        table = Table(given)
        found.biased = Table(biased)
        loss = found.loss(table, batch)
        hard, easy = cross_entropies(given, batch), cross_entropies(biased, batch)
        rows = counted(batch)
        for row in rows:
            new = np.array([easy[row], hard[row]])
            averages[positions[row]] = 0.6 * averages.get(positions[row], np.zeros(2)) + 0.4 * new
        largest = [np.max([value for i, value in averages.items() if of_class[i] == c], axis=0) for c in range(3)]
        total = 0.0
        for row in rows:
            b, d = averages[positions[row]] / largest[int(batch["label"][row])]
            total += b / (b + d) * hard[row] + (1 - np.exp(-easy[row]) ** 0.7) / 0.7
        assert loss.item() == pytest.approx(total / len(rows), rel=1e-4)


def test_the_two_networks_teach_each_other_nothing() -> None:
    """The weights carry no gradient, so each network's is that of its own loss."""
    found = method("lff")
    assert isinstance(found, LfF)
    batch = batch_of(everything())
    table, biased = Table(logits_of(len(batch["label"]), 0)), Table(logits_of(len(batch["label"]), 1))
    found.biased = biased
    found.loss(table, batch).backward()
    alone = Table(biased.logits.detach())
    losses = torch.nn.functional.cross_entropy(alone(batch["image"]), batch["label"], reduction="none")
    (generalized_cross_entropy(losses, 0.7) * batch["weight"]).sum().div(batch["weight"].sum()).backward()
    torch.testing.assert_close(biased.logits.grad, alone.logits.grad)


def test_a_biased_network_is_trained_again_on_what_it_had_right() -> None:
    found = method("fg_ccdb", q=0.5)
    assert isinstance(found, FGCCDB)
    bias, select, balance = found.phases()
    assert (bias.epochs, select.epochs, balance.epochs) == (2, 2, None)
    assert select.reset == balance.reset == ("network.*",)
    batch = batch_of([*everything(), -1])
    rows = counted(batch)
    first, second, third = (logits_of(len(batch["label"]), seed) for seed in range(3))

    def easy(logits: torch.Tensor) -> Array:
        return (1 - np.exp(-cross_entropies(logits, batch)) ** 0.5) / 0.5

    assert found.loss(Table(first), batch).item() == pytest.approx(easy(first)[rows].mean(), rel=1e-4)
    right = (first.argmax(dim=1) == batch["label"]).numpy()
    assert begin(found, select) is None  # every image is shown
    loss = found.loss(Table(second), batch)
    expected = (easy(second) * right)[rows].sum() / right[rows].sum()
    # The mean over all of the step's images, so that ranks with other numbers of learnt ones add up.
    assert loss.item() == pytest.approx(expected * right[rows].mean(), rel=1e-4)

    weights = begin(found, balance)
    labels, said = manifest().labels("train"), second.argmax(dim=1).numpy()[:-1]
    trained = manifest().trained()
    marginal = np.bincount(said[trained], minlength=3) / trained.sum()
    for c in range(3):
        own = [k for k in range(3) if ((labels == c) & (said == k) & trained).any()]
        for k in own:
            drawn = weights[(labels == c) & (said == k)].sum()
            assert drawn == pytest.approx(1 / 3 * marginal[k] / marginal[own].sum())
    assert not weights[~trained].any()
    plain = cross_entropies(third, batch)[rows].mean()
    assert found.loss(Table(third), batch).item() == pytest.approx(plain, rel=1e-4)


def test_without_the_second_phase() -> None:
    assert [phase.name for phase in method("fg_ccdb", select_epochs=0).phases()] == ["bias", "balance"]


def test_quantiles_of_beta() -> None:
    uniform = torch.linspace(0, 1, 201)
    np.testing.assert_allclose(beta_2_2(uniform).numpy(), beta(2, 2).ppf(uniform.numpy()), atol=2e-4)


@pytest.mark.parametrize("within_class", [True, False])
def test_partners_share_what_they_must_and_differ_in_the_rest(within_class: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    label, level = (torch.randint(low, 4, (60,), generator=generator) for low in (0, -1))
    usable = torch.rand(60, generator=generator) > 0.2
    drawn = np.zeros((60, 60))
    for _ in range(400):
        other = partners(label, level, usable, torch.full((60,), within_class), torch.rand(60, generator=generator))
        drawn[np.arange(60), other.numpy()] += 1
    for i in range(60):
        alike, apart = (label, level) if within_class else (level, label)
        fits = [
            j for j in range(60) if alike[i] == alike[j] and apart[i] != apart[j] and level[j] >= 0 and bool(usable[j])
        ]
        fits = fits if level[i] >= 0 and bool(usable[i]) else []
        assert set(np.flatnonzero(drawn[i])) == (set(fits) or {i})
        expected = 400 / len(fits) if fits else 400
        assert (abs(drawn[i, fits] - expected) < 5.5 * np.sqrt(expected)).all()


def test_mixed_images_and_targets() -> None:
    found = method("lisa", attribute="colour", select=1.0)
    assert isinstance(found, LISA)
    batch = batch_of(everything())
    images, targets = found.mixed(batch)
    share = beta(2, 2).ppf(batch["noise"][:, 2].numpy())
    other = partners(
        batch["label"], batch["attributes"][:, 0], batch["weight"] > 0, torch.tensor([True]), batch["noise"][:, 1]
    ).numpy()
    assert (other != np.arange(len(other))).sum() > 20
    given = batch["image"].numpy().astype(float)
    expected = share[:, None, None, None] * given + (1 - share[:, None, None, None]) * given[other]
    assert abs(images.numpy() - expected).max() <= 0.51
    torch.testing.assert_close(targets, batch["target"])  # within a class the target stays
    across = method("lisa", attribute="colour", select=0.0)
    assert isinstance(across, LISA)
    _, targets = across.mixed(batch)
    assert ((targets > 0).sum(dim=1) == 2).sum() > 15
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(len(targets)))


def test_which_attribute_the_groups_are_of() -> None:
    known = DataFacts([1, 1], 2, {"colour": 2, "size": 3}, {}, "size")
    assert attribute_named(known, None) == "size"
    assert attribute_named(known, "colour") == "colour"
    assert default_attribute(manifest()) == "colour"  # the only one with a usual level


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("group_dro", {"attribute": "colr"}, "'colr' is not known; allowed: colour, size. Did you mean 'colour'?"),
        ("resample", {"over": "cel", "attribute": "colour"}, "Did you mean 'cell'?"),
        ("lisa", {"attribute": "colour", "selct": 1}, "Did you mean 'select'?"),
        ("resample", {"class_weights": "balanced"}, "balances the classes by itself"),
        ("fg_ccdb", {"class_weights": "balanced"}, "balances the classes by itself"),
    ],
)
def test_a_wrong_option_is_one_sentence(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as caught:
        method(name, **options)
    assert words in str(caught.value)


def test_images_without_attributes_are_told_what_to_do() -> None:
    with pytest.raises(UserError, match=r"evensight audit.*jtt, lff or fg_ccdb"):
        attribute_named(DataFacts([1, 1], 2), None)
    with pytest.raises(UserError, match="allowed: colour, size"):
        attribute_named(DataFacts([1, 1], 2, {"size": 2, "colour": 2}), None)


def test_drawing_by_class_needs_no_attribute() -> None:
    weights = begin(found := method("resample", over="class"), found.phases()[0])
    labels = manifest().labels("train")
    totals = [weights[labels == c].sum() for c in range(3)]
    assert all(one == pytest.approx(other) for one, other in pairwise(totals))
