"""Decoders on joint tables: exact one at a time where the place is chosen before the value, and what is lost elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from scorebed.analytic.finite import Known, TableLaw, kl, total_correlation, total_variation
from scorebed.solvers.decode import DECODERS, decode, decoder, equal_sizes
from scorebed.solvers.guide_tokens import token_classifier, token_guidance
from scorebed.solvers.methods.decoding import van_der_corput
from scorebed.solvers.process.jump import JumpProcess
from scorebed.toy.problems.decoding import decoded_law
from scorebed.toy.problems.jump import random_table

LAW = TableLaw(random_table(2, 4, 5), JumpProcess(2))
TRUTH = LAW.marginal(LAW.process.node(0.0))


@pytest.mark.parametrize("name", DECODERS)
def test_one_at_a_time_is_exact_where_it_is_claimed(name: str) -> None:
    """And is not where the rule looks at what was drawn: the claim bites both ways."""
    how = DECODERS[name](bound=0.0) if name == "entropy_bound" else DECODERS[name]
    off = total_variation(decoded_law(how, LAW, [1] * 4), TRUTH)
    assert off < 1e-13 if how.exact else off > 0.02
    skewed = Known(LAW)
    wrong = decoded_law(how, LAW, [1] * 4, model=lambda x, n: (q := skewed(x, n) ** 1.1) / q.sum(-1, keepdims=True))
    assert total_variation(wrong, TRUTH) > 0.01


@pytest.mark.parametrize("name", DECODERS)
def test_all_at_once_loses_exactly_the_total_correlation(name: str) -> None:
    how = DECODERS[name](bound=100.0) if name == "entropy_bound" else DECODERS[name]
    how = how(size=4) if name == "blocks" else how
    out = decoded_law(how, LAW, [4])
    assert kl(LAW.table, out[(slice(0, 2),) * 4]) == pytest.approx(total_correlation(LAW.table), rel=1e-12)


@pytest.mark.parametrize("name", DECODERS)
def test_no_masks_are_left_and_known_tokens_stay(name: str) -> None:
    prompt = np.array([2, 1, 2, 2])
    table = decoded_law(DECODERS[name], LAW, [1, 1, 1], start=prompt)
    assert table[(slice(0, 2),) * 4].sum() == pytest.approx(1.0)
    assert table[:, 1].sum() == pytest.approx(1.0)
    if DECODERS[name].exact and name != "entropy_bound":
        conditional = LAW.table[:, 1] / LAW.table[:, 1].sum()
        assert total_variation(table[:2, 1, :2, :2], conditional) < 1e-13
    partly = decoded_law(DECODERS[name], LAW, [1])
    if name != "entropy_bound":
        masked = np.sum(np.indices(partly.shape) == 2, 0)
        assert partly[masked == 3].sum() == pytest.approx(1.0)


@pytest.mark.parametrize("name", DECODERS)
def test_what_is_drawn_has_the_law_that_is_followed(name: str) -> None:
    n = 8000
    ends = decode(DECODERS[name], Known(LAW), np.full((n, 4), 2), LAW.process, [2, 2] if name != "entropy_bound" else [1] * 4, noise=3)
    law = decoded_law(DECODERS[name], LAW, [2, 2] if name != "entropy_bound" else [1] * 4)
    found = np.bincount(np.ravel_multi_index(tuple(ends.T), law.shape), minlength=law.size).reshape(law.shape) / n
    assert total_variation(found, law) < 2.0 * np.sqrt(law / n).sum()


def test_the_order_of_places_matters_to_what_many_at_once_lose() -> None:
    """On a chain, tokens far apart depend less: the van der Corput order loses less than neighbours."""
    stay = np.array([[0.9, 0.1], [0.1, 0.9]])
    chain = np.einsum("a,ab,bc,cd->abcd", [0.5, 0.5], stay, stay, stay)
    law = TableLaw(chain, LAW.process)
    truth = law.marginal(law.process.node(0.0))
    off = {name: total_variation(decoded_law(DECODERS[name], law, [2, 2]), truth) for name in ("halton_order", "left_to_right")}
    assert off["halton_order"] < 0.8 * off["left_to_right"]


def test_torch_shows_the_same() -> None:
    torch = pytest.importorskip("torch")
    x = np.full((20, 4), 2)
    known = Known(LAW)
    for how in DECODERS.values():
        plain = decode(how, known, x, LAW.process, 2, noise=1)
        there = decode(how, lambda y, n: torch.tensor(known(y.numpy(), n)), torch.tensor(x), LAW.process, 2, noise=1)
        np.testing.assert_array_equal(there.numpy().astype(int), plain.astype(int))


def test_sizes_and_sequences() -> None:
    assert equal_sizes(7, 3) == [2, 2, 3]
    assert equal_sizes(3, 9) == [1, 1, 1]
    assert van_der_corput(4) == [0.0, 0.5, 0.25, 0.75]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"process": JumpProcess(2, "uniform")}, "has no mask"),
        ({"x": np.zeros((2, 4))}, "tokens are integers"),
        ({"sizes": [0, 4]}, "each at least 1"),
        ({"sizes": 0}, "steps = 0: give at least 1"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, Any], says: str) -> None:
    usual: dict[str, Any] = {"x": np.full((2, 4), 2), "process": LAW.process, "sizes": 2}
    with pytest.raises((ValueError, TypeError), match=says):
        decode(DECODERS["maskgit"], Known(LAW), **{**usual, **arguments}, noise=0)


def test_a_taken_name_is_refused() -> None:
    with pytest.raises(ValueError, match="'maskgit' is registered already"):
        decoder(exact=False, reference="here")(DECODERS["maskgit"].rule)


def test_guides_of_tokens() -> None:
    """γ = 1 is the conditional, γ = 0 the prior; a classifier at γ = 1, token by token and one at a time, is the conditional too."""
    joint = random_table(2, 3, 9)
    prior, given = joint.sum(2), joint[..., 1] / joint[..., 1].sum()
    process = JumpProcess(2)
    wide, narrow = Known(TableLaw(prior, process)), Known(TableLaw(given, process))

    def classifier(x: np.ndarray, node: Any) -> np.ndarray:
        """p(y = 1 | x with token i = k): the table is small enough to sum."""
        whole = TableLaw(joint, process)
        out = np.empty((*x.shape, 2))
        for i in range(2):
            for k in range(2):
                z = np.concatenate([x, np.full((len(x), 1), 2)], 1)
                z[:, i] = k
                out[:, i, k] = whole.probabilities(z, node)[:, 2, 1]
        return out

    place = TableLaw(given, process)
    for model, wanted in (
        (token_guidance(narrow, wide, 1.0), given),
        (token_guidance(narrow, wide, 0.0), prior),
        (token_classifier(wide, classifier, 1.0), given),
        (token_classifier(wide, classifier, 0.0), prior),
    ):
        found = decoded_law(DECODERS["left_to_right"], place, [1, 1], model=model)[:2, :2]
        assert total_variation(found, wanted) < 1e-13
    strong = decoded_law(DECODERS["left_to_right"], place, [1, 1], model=token_guidance(narrow, wide, 3.0))[:2, :2]
    tilted = prior * (joint[..., 1] / prior) ** 3
    assert total_variation(strong, tilted / tilted.sum()) > 0.02
