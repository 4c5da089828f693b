"""Real series: what is known of them must come out."""

import numpy as np
import pytest

from perdure.memory.data import estimate_memory

datasets = pytest.importorskip("statsmodels.datasets")


def test_sunspots_are_an_autoregression_of_order_two():
    """Next year from the years before: the textbook fit is 1.39 and -0.69 (Yule-Walker on the whole series); lags beyond add little."""
    y = datasets.sunspots.load_pandas().data["SUNACTIVITY"].to_numpy()
    found = estimate_memory(y[:-1], y[1:], horizon=30)
    now, before = found.kernel[:2, 0]
    assert 1.0 < now < 1.5
    assert -0.8 < before < -0.2
    assert found.band()[1][1, 0] < 0
    assert np.abs(found.kernel[15:]).max() < 0.15
    assert found.explained[0] > 0.75
    advice = found.advice
    assert advice.longest <= 12


def test_the_nile_hardly_remembers_the_year_before():
    """Annual flow: the first autocorrelation is 0.5, half of it from the drop of 1898."""
    y = datasets.nile.load_pandas().data["volume"].to_numpy()
    found = estimate_memory(y[:-1], y[1:], horizon=20)
    assert 0.1 < found.kernel[0, 0] < 0.6
    assert found.half_life < 3
    assert found.effective_parameters[0] < 4


def test_the_carbon_dioxide_of_mauna_loa_is_remembered_for_a_year():
    """Next week's deviation from the trailing year, gaps left out: lags about 52 weeks count, those of half a year do not."""
    series = datasets.co2.load_pandas().data["co2"]
    filled, gaps = series.interpolate().to_numpy(), series.isna().to_numpy()
    trend = np.convolve(filled, np.ones(52) / 52)[: filled.size]
    u = filled - trend
    y = np.where(gaps, np.nan, u)
    found = estimate_memory(u[52:-1], y[53:], dt=1 / 52, horizon=80)
    assert found.missing == gaps[53:].sum()
    assert found.explained[0] > 0.95
    k = np.abs(found.kernel[:, 0])
    assert k[0] > 5 * k[1:].max() / 2
    assert k[49:56].max() > 2 * k[20:35].max()
