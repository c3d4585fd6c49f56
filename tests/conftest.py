"""Enrolment: a test that asks for ``solver`` and is named after a property runs for every registered solver that it speaks of."""

from __future__ import annotations

import matplotlib
import pytest
from hypothesis import HealthCheck, settings

from scorebed.solvers import distinct, methods_on
from scorebed.toy.properties import PROPERTIES

matplotlib.use("Agg")
settings.register_profile("ci", derandomize=True, deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ci")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "solver" in metafunc.fixturenames:
        asked = PROPERTIES.get(metafunc.function.__name__.removeprefix("test_"))
        enrolled = list((methods_on() if asked is None else distinct()).values())  # a method is measured once, under its first name
        enrolled = [s for s in enrolled if asked is None or asked.exempt(s) is None]
        metafunc.parametrize("solver", enrolled, ids=[s.name for s in enrolled])
