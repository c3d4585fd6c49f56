"""What ``check_rollout`` may be handed, all as one call: (model, x, nodes, seeds) -> states and log-probabilities of every step."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from scorebed.solvers import SOLVERS, BrownianNoise, Solver, trace
from scorebed.solvers.model import from_denoised
from scorebed.solvers.noise.by_sample import NoiseBySample

Floats = np.ndarray
SAMPLES = 4000


@dataclass
class Rollout:
    """States (N + 1, n, d), log-probabilities (N, n) or None."""

    states: Floats
    log_probs: Floats | None


class Roller:
    """A candidate; ``run(model, x, nodes, seeds)`` with one seed, or one for each sample.

    Attributes:
        own: whether it takes no source of randomness, so that only the global generators can be seeded.
        by_sample: whether it takes seeds, or noise, of each sample.
    """

    def __init__(self, sampler: Any, prediction: str, library: str) -> None:
        if isinstance(sampler, str):
            sampler = SOLVERS[sampler]
        self.sampler, self.prediction, self.library = sampler, prediction, library
        self.name = getattr(sampler, "name", None) or getattr(sampler, "__name__", type(sampler).__name__)
        if isinstance(sampler, Solver):
            if sampler.weak is None:
                raise ValueError(f"sampler = {sampler.name} draws nothing: a roll-out needs a stochastic method")
            self.names: tuple[str, ...] = ("noise",)
            self.one_step = False
        else:
            if not callable(sampler):
                raise TypeError(f"sampler = {sampler!r} is not callable: give (model, x, nodes, …) or a step (model, x, s, t, …)")
            self.names = tuple(inspect.signature(sampler).parameters)
            self.one_step = {"s", "t"} <= set(self.names)
            self._refuse_unknown(inspect.signature(sampler))
        self.by_sample = bool({"seeds", "noise"} & set(self.names))
        self.samples = SAMPLES if "seeds" not in self.names else SAMPLES // 8  # a stream for each of them takes its time
        self.own = not {"seeds", "seed", "noise", "rng", "generator"} & set(self.names)

    def _refuse_unknown(self, signature: inspect.Signature) -> None:
        """Refuse parameters that would be left empty."""
        known = {"seeds", "seed", "noise", "rng", "generator", *(("s", "t") if self.one_step else ())}
        needed = [
            p.name for p in signature.parameters.values() if p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        ]
        left = [name for name in needed[2 if self.one_step else 3 :] if name not in known]
        if len(needed) < (4 if self.one_step else 3) or left:
            raise TypeError(
                f"sampler takes ({', '.join(self.names)}): give (model, x, nodes, …) or (model, x, s, t, …), and after these only noise, "
                "seeds, seed, rng or generator"
            )

    def run(self, model: Callable[[Floats, Any], Floats], x: Floats, nodes: Sequence[Any], seeds: int | list[int]) -> Rollout:
        """The roll-out, in float64.

        Returns:
            the Rollout: states (N + 1, n, d) and log-probabilities (N, n) or None.

        Raises:
            ValueError: what came back is no states for every node.
        """
        shape = x.shape
        noise = BrownianNoise(seeds, shape) if isinstance(seeds, int) else NoiseBySample(seeds, shape)
        if isinstance(self.sampler, Solver):
            steps = trace(self.sampler, nodes).transitions(model).rollout(x, noise)
            ends = [step for step in steps if not step.stage]
            told = len(ends) == len(steps) and all(step.log_prob is not None for step in steps)  # a step with stages is no Gaussian
            logs = np.stack([np.asarray(step.log_prob) for step in steps]) if told else None
            return Rollout(np.stack([x, *(np.asarray(step.next) for step in ends)]), logs)
        first = seeds if isinstance(seeds, int) else seeds[0]
        given = {
            "noise": self._noise(noise),
            "seed": first,
            "seeds": [first * 1_000_003 + i for i in range(len(x))] if isinstance(seeds, int) else seeds,
        }
        given |= dict.fromkeys(("rng", "generator"), self._generator(first))
        asked = {name: given[name] for name in self.names if name in given}
        np.random.seed(first)  # noqa: NPY002
        return (
            self._stepped(model, x, nodes, asked)
            if self.one_step
            else self._read(self.sampler(self._model(model), self._to(x.copy()), list(nodes), **asked), x, nodes)
        )

    def _stepped(self, model: Any, x: Floats, nodes: Sequence[Any], asked: dict[str, Any]) -> Rollout:
        states, logs, state = [x], [], self._to(x.copy())
        for s, t in pairwise(nodes):
            out = self.sampler(self._model(model), state, s=s, t=t, **asked)
            state, *more = out if isinstance(out, tuple | list) else (out,)
            states.append(_plain(state))
            if more and more[0] is not None:
                logs.append(_plain(more[0]))
        return _checked(np.stack(states), np.stack(logs) if logs else None, x, nodes)

    def _read(self, out: Any, x: Floats, nodes: Sequence[Any]) -> Rollout:
        if isinstance(out, dict):
            out = (out.get("states"), out.get("log_probs"))
        elif hasattr(out, "states"):
            out = (out.states, getattr(out, "log_probs", None))
        elif isinstance(out, list) and out and hasattr(out[0], "next"):  # transitions
            out = ([step.next for step in out], [step.log_prob for step in out])
        elif not isinstance(out, tuple):
            out = (out, None)
        states, logs = out[:2]
        states = np.stack([_plain(state) for state in states])
        return _checked(states, None if logs is None else np.stack([_plain(one) for one in logs]), x, nodes)

    def _model(self, model: Any) -> Any:
        def ask(x: Any, node: Any) -> Any:
            plain = _plain(x)
            return self._to(from_denoised(model(plain, node), plain, node, self.prediction))

        return ask

    def _noise(self, noise: Any) -> Any:
        return lambda s, t: self._to(noise(s, t))

    def _to(self, a: Floats) -> Any:
        if self.library == "torch":
            import torch

            return torch.from_numpy(a)
        return a

    def _generator(self, seed: int) -> Any:
        if self.library == "torch":
            import torch

            torch.manual_seed(seed)
            return torch.Generator().manual_seed(seed)
        return np.random.default_rng(seed)


def _plain(a: Any) -> Floats:
    return np.array(a.detach().numpy() if hasattr(a, "detach") else a, dtype=float)


def _checked(states: Floats, logs: Floats | None, x: Floats, nodes: Sequence[Any]) -> Rollout:
    if states.shape == (len(nodes) - 1, *x.shape):
        states = np.concatenate([x[None], states])
    if states.shape != (len(nodes), *x.shape):
        raise ValueError(f"states have shape {states.shape} for {len(nodes)} nodes and x {x.shape}: give one state for every node")
    if logs is not None and logs.shape == (len(nodes) - 1, *x.shape):
        logs = logs.sum(-1)  # of every entry
    if logs is not None and logs.shape != (len(nodes) - 1, len(x)):
        raise ValueError(
            f"log_probs have shape {logs.shape} for {len(nodes) - 1} steps of {len(x)} samples: give ({len(nodes) - 1}, {len(x)})"
        )
    return Rollout(states, logs)
