"""If these fail, reliance and advantage are decided wrongly."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special, stats

from evensight.metrics.paired import paired_p, tango_interval, tango_z


def test_published_examples() -> None:
    """Tango 1998, without a correction."""
    assert tango_z(0, 1, 44, -0.1, correction=0) == pytest.approx(1.7086, abs=5e-5)
    assert np.allclose(tango_interval(0, 1, 44, 0.05, correction=0), (-0.0957, 0.0365), atol=6e-5)
    assert np.allclose(tango_interval(1, 7, 21, 0.025, correction=0), (-0.517, -0.026), atol=6e-4)


def test_correction_of_one_image_widens() -> None:
    assert np.allclose(tango_interval(1, 7, 21, 0.025), (-0.561, 0.031), atol=6e-4)


def test_score_by_direct_maximisation() -> None:
    """The chance of "only the second" that makes the counts likeliest, found numerically instead of in closed form."""
    rng = np.random.default_rng(1)
    for _ in range(20):
        n = int(rng.integers(20, 200))
        b, c, rest = rng.multinomial(n, [0.2, 0.1, 0.7])
        d = float(rng.uniform(-0.3, 0.3))
        q = np.linspace(max(0.0, -d), (1 - d) / 2, 400_001)[1:-1]
        likelihood = special.xlogy(b, q + d) + special.xlogy(c, q) + special.xlogy(rest, 1 - 2 * q - d)
        best = q[np.argmax(likelihood)]
        z = (b - c - n * d) / np.sqrt(n * (2 * best + d * (1 - d)))
        assert tango_z(b, c, n, d, correction=0) == pytest.approx(z, abs=2e-3)


def test_mirror_image() -> None:
    rng = np.random.default_rng(2)
    b, c, _ = rng.multinomial(300, [0.1, 0.2, 0.7], size=50).T
    assert np.allclose(tango_z(b, c, 300, 0.07), -tango_z(c, b, 300, -0.07), atol=1e-9)


def test_bounds_are_where_the_score_decides() -> None:
    low, high = tango_interval(12, 5, 200, 0.05)
    z = special.ndtri(0.95)
    assert tango_z(12, 5, 200, high + 1e-9) <= -z <= tango_z(12, 5, 200, high - 1e-9)
    assert tango_z(12, 5, 200, low + 1e-9) <= z <= tango_z(12, 5, 200, low - 1e-9)


def test_edges() -> None:
    assert np.allclose(tango_interval(0, 0, 0, 0.05), (-1, 1))
    assert paired_p(0, 0, 0, 0.05) == 1.0
    assert tango_z(0, 0, 50, 0.0) == 0.0
    assert np.isfinite(paired_p([0, 50, 0], [0, 0, 50], 50, 1.0)).all()
    with pytest.raises(ValueError, match="parts of the n images"):
        tango_z(30, 30, 50, 0.0)


@pytest.mark.parametrize("n", [50, 200, 654, 6016])
@pytest.mark.parametrize("difference", [0.05, 0.10, 0.50])
def test_errs_at_most_nominal(n: int, difference: float) -> None:
    """By enumeration of the counts (to seven standard deviations), over the chance of "only the second"."""
    for q in np.unique(np.minimum([0, 0.002, 0.01, 0.02, 0.05, 0.1, 0.25], (1 - difference) / 2)):
        b, c = np.meshgrid(_likely(n, difference + q), _likely(n, q), indexing="ij")
        chance = stats.multinomial.pmf(
            np.stack([b, c, np.maximum(n - b - c, 0)], axis=-1),
            n,
            [difference + q, q, max(0.0, 1 - difference - 2 * q)],
        )
        possible = b + c <= n
        b, c, chance = b[possible], c[possible], chance[possible]
        assert chance[paired_p(c, b, n, -difference) <= 0.05].sum() <= 0.051  # PASS at the bound
        assert chance[paired_p(b, c, n, difference) <= 0.05].sum() <= 0.051  # FAIL at the bound


def _likely(n: int, p: float) -> np.ndarray:
    middle, reach = n * p, 7 * (np.sqrt(n * p) + 1)
    return np.arange(max(0, int(middle - reach)), min(n, int(middle + reach)) + 1)
