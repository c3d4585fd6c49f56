"""Hidden chains against their tables; a small masked network on such a text, whose own error and the sampler's stand apart."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from scorebed.analytic.finite import Known, TableLaw, total_variation
from scorebed.analytic.finite.chain import HiddenChain, counted_chain, text_chain
from scorebed.solvers import SOLVERS, sample
from scorebed.solvers.decode import DECODERS, decode
from scorebed.solvers.process.jump import JumpProcess
from scorebed.toy.problems.decoding import decoded_law
from scorebed.toy.problems.dna import COUNTS, counts, dna_chain, sequence
from scorebed.toy.problems.jump_law import output_table

START, MOVE, EMIT = [0.7, 0.3], [[0.9, 0.1], [0.2, 0.8]], [[0.85, 0.15], [0.1, 0.9]]


def chain(length: int, kernel: str = "absorbing") -> HiddenChain:
    return HiddenChain(START, MOVE, EMIT, length=length, process=JumpProcess(2, kernel))


@pytest.mark.parametrize("kernel", ["absorbing", "uniform"])
def test_forward_backward_is_the_table(kernel: str) -> None:
    law = chain(5, kernel)
    table = TableLaw(law.table(), law.process)
    node = law.process.node(0.45)
    x = law.sample(60, np.random.default_rng(0), node)
    np.testing.assert_allclose(law.probabilities(x, node), table.probabilities(x, node), atol=1e-13)
    np.testing.assert_allclose(law.log_prob(x, node), table.log_prob(x, node), atol=1e-12)
    np.testing.assert_allclose(law.hidden(x, node).sum(-1), 1.0, atol=1e-13)
    data = law.sample(60, np.random.default_rng(1))
    np.testing.assert_allclose(law.log_prob(data), table.log_prob(data), atol=1e-12)
    pairs = sum(table.table.sum(tuple(j for j in range(5) if j not in (i, i + 1))) for i in range(4)) / 4.0
    np.testing.assert_allclose(law.pairs(), pairs, atol=1e-14)


def test_draws_of_the_chain_are_its_law() -> None:
    law = chain(4)
    x = law.sample(20_000, np.random.default_rng(2))
    found = np.bincount(np.ravel_multi_index(tuple(x.T), (2,) * 4), minlength=16) / len(x)
    assert total_variation(found, law.table().ravel()) < 0.02


def test_long_sequences_of_real_text() -> None:
    """Letters of a description that a package carries: exact conditionals of 60 letters, and samplers judged by their pairs."""
    law = text_chain(load_digits().DESCR, "abcdefghijklmnopqrstuvwxyz ", length=60)
    node, x = law.process.node(1.0), np.full((150, 60), 27)
    np.testing.assert_allclose(law.probabilities(x[:1], node).sum(-1), 1.0, atol=1e-12)

    def off(states: np.ndarray) -> float:
        found = np.zeros((27, 27))
        np.add.at(found, (states[:, :-1], states[:, 1:]), 1.0 / states[:, 1:].size)
        return total_variation(found, law.pairs())

    exact = off(law.sample(150, np.random.default_rng(0)))
    one_by_one = off(decode(DECODERS["left_to_right"], law.probabilities, x, law.process, 60, noise=1))
    at_once = off(
        sample(SOLVERS["jump_ancestral"], law.probabilities, x, [law.process.node(t) for t in (1.0, 0.5, 0.0)], noise=1, terminal="none")
    )
    assert one_by_one < 1.25 * exact
    assert at_once > 1.5 * exact


def test_dna_is_a_hidden_chain_with_its_place_in_the_codon() -> None:
    """Against its table of five letters; the chain of one period is that of a text."""
    law = dna_chain(5, "uniform")
    table, node = TableLaw(law.table(), law.process), law.process.node(0.4)
    x = law.sample(40, np.random.default_rng(0), node)
    np.testing.assert_allclose(law.probabilities(x, node), table.probabilities(x, node), atol=1e-13)
    np.testing.assert_allclose(law.log_prob(x, node), table.log_prob(x, node), atol=1e-12)
    found = np.array(COUNTS)
    assert found.sum() == 2837
    rng = np.random.default_rng(1)
    gene = dna_chain(300).sample(40, rng)
    told = dna_chain(300).log_prob(gene).mean() / 300
    blind = counted_chain(found.sum(0)[None], length=300, process=JumpProcess(4)).log_prob(gene).mean() / 300
    assert told > blind + 0.005  # the place in the codon says something, though it is hidden
    with pytest.raises(ValueError, match="give \\(P, 4, 4\\)"):
        counted_chain(found[0], length=3, process=JumpProcess(4))


def test_letters_of_dna_sampled_and_judged_by_what_follows_what() -> None:
    """99 letters by masks: one at a time they have the law, two steps lose what neighbours say of each other."""
    law, x = dna_chain(99), np.full((60, 99), 4)
    one = decode(DECODERS["random_order"], law.probabilities, x, law.process, 33, noise=1)
    steps = [law.process.node(t) for t in (1.0, 0.5, 0.0)]
    two = sample(SOLVERS["jump_ancestral"], law.probabilities, x, steps, noise=1, terminal="none")
    nats = {name: float(law.log_prob(s).mean()) for name, s in {"33 steps": one, "2 steps": two}.items()}
    exact = float(law.log_prob(law.sample(4000, np.random.default_rng(2))).mean())
    assert abs(nats["33 steps"] - exact) < 2.0
    assert nats["2 steps"] < exact - 2.0


def test_sequences_are_read_from_the_file_of_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file of three letters, read as that of the package is."""
    (tmp_path / "cogent3/_dataset").mkdir(parents=True)
    (tmp_path / "cogent3/_dataset/brca1.fasta").write_text(">Human\nAC\n-G\n>Cow\nTTT\n")
    (tmp_path / "cogent3-0.dist-info").mkdir()
    (tmp_path / "cogent3-0.dist-info/METADATA").write_text("Name: cogent3\nVersion: 0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert (sequence(), sequence("Cow")) == ("AC-G", "TTT")
    assert np.argwhere(counts(sequence())).tolist() == [[0, 0, 1], [1, 1, 2]]
    with pytest.raises(ValueError, match="give one of Cow, Human"):
        sequence("Dodo")


@pytest.mark.skipif(find_spec("cogent3") is None, reason="cogent3, which carries the gene, is not installed")
def test_the_installed_gene_is_the_one_that_was_counted() -> None:
    assert counts(sequence()).tolist() == np.array(COUNTS).tolist()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"start": [0.5, 0.6]}, "start is no law"),
        ({"transition": [[1.0, 0.0]]}, "transition has shape"),
        ({"emission": [[0.5, 0.25, 0.25]] * 2}, "emission has shape"),
        ({"length": 0}, "at least 1 token"),
    ],
)
def test_chains_that_cannot_be_are_refused(change: dict[str, Any], says: str) -> None:
    usual: dict[str, Any] = {"start": START, "transition": MOVE, "emission": EMIT, "length": 3}
    with pytest.raises(ValueError, match=says):
        HiddenChain(**{**usual, **change}, process=JumpProcess(2))


def test_what_a_chain_does_not_give_is_refused() -> None:
    law = HiddenChain([1.0, 0.0], [[1.0, 0.0], [0.0, 1.0]], length=3, process=JumpProcess(2))
    with pytest.raises(ValueError, match="does not give: row 0, token 1"):
        law.log_prob(np.array([[0, 1, 0]]))
    with pytest.raises(ValueError, match="more than a table holds"):
        chain(20).table()
    with pytest.raises(ValueError, match="give more of it"):
        text_chain("?", "ab", length=3)


# a network


@cache
def trained(steps: int = 400) -> Any:
    torch = pytest.importorskip("torch")
    law, length = chain(5), 5
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * length, 64), torch.nn.GELU(), torch.nn.Linear(64, 2 * length))

    def logits(x: Any) -> Any:
        return network(torch.nn.functional.one_hot(x, 3).float()).reshape(*x.shape, 2)

    optimiser = torch.optim.Adam(network.parameters(), 5e-3)
    rng = np.random.default_rng(0)
    for _ in range(steps):
        x0 = torch.tensor(law.sample(256, rng))
        rate = torch.rand(256, 1) * 0.98 + 0.02
        masked = torch.rand(x0.shape) < rate
        loss = torch.nn.functional.cross_entropy(logits(torch.where(masked, 2, x0)).transpose(1, 2), x0, reduction="none")
        optimiser.zero_grad()
        ((loss * masked) / rate).sum(1).mean().backward()
        optimiser.step()
    return logits


def test_the_error_of_a_network_and_that_of_a_sampler_stand_apart() -> None:
    from scorebed.gpu.network.tokens import TokenModel, on_arrays

    law = TableLaw(chain(5).table(), JumpProcess(2))
    truth, start = law.marginal(law.process.node(0.0)), law.marginal(law.process.node(1.0))
    exact, network = Known(law), on_arrays(TokenModel(trained(), law.process))

    def by_steps(model: Any, n: int) -> float:
        nodes = [law.process.node(1.0 - i / n) for i in range(n + 1)]
        return total_variation(output_table(SOLVERS["jump_ancestral"], model, start, nodes), truth)

    sampler, both = by_steps(exact, 2), by_steps(network, 2)
    alone = total_variation(decoded_law(DECODERS["left_to_right"], law, [1] * 5, model=network), truth)
    assert total_variation(decoded_law(DECODERS["left_to_right"], law, [1] * 5), truth) < 1e-13
    assert 0.001 < alone < 0.06  # what the network has learned
    assert sampler > 0.1  # what two steps lose, whatever the model
    assert abs(both - sampler) < 1.5 * alone  # and together no more than both
    untrained = on_arrays(TokenModel(lambda x: 0.0 * trained()(x), law.process))
    assert total_variation(decoded_law(DECODERS["left_to_right"], law, [1] * 5, model=untrained), truth) > 5.0 * alone


def test_torch_states_run_on_the_network_itself() -> None:
    torch = pytest.importorskip("torch")
    from scorebed.gpu.network.tokens import TokenModel

    process = JumpProcess(2)
    model = TokenModel(trained(), process)
    nodes = [process.node(t) for t in (1.0, 0.6, 0.3, 0.0)]
    ends = sample(SOLVERS["jump_ancestral"], model, torch.full((7, 5), 2), nodes, noise=1, terminal="none")
    again = sample(SOLVERS["jump_ancestral"], model, torch.full((7, 5), 2), nodes, noise=1, terminal="none")
    assert torch.equal(ends, again)
    assert ends.max() < 2
    known = model(torch.tensor([[0, 1, 2, 2, 0]]), nodes[1])
    assert known.dtype == torch.float64
    assert known[0, :2].tolist() == [[1.0, 0.0], [0.0, 1.0]]
    with_mask = TokenModel(lambda x: torch.zeros(*x.shape, 3), process)
    assert with_mask(torch.full((1, 5), 2), nodes[1])[0, 0].tolist() == [0.5, 0.5]
    timed = TokenModel(lambda x, t: torch.zeros(*x.shape, 2) + t[:, None, None], process, times=True)
    assert timed(torch.full((1, 5), 2), nodes[1]).shape == (1, 5, 2)
    with pytest.raises(ValueError, match="logits of shape"):
        TokenModel(lambda x: torch.zeros(*x.shape, 7), process)(torch.full((1, 5), 2), nodes[1])
    with pytest.raises(TypeError, match="not callable"):
        TokenModel(3, process)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="temperature"):
        TokenModel(trained(), process, temperature=0.0)
