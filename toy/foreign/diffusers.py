r"""A scheduler in the style of diffusers, class or instance, fed with the exact prediction of a target.

It walks its own grid (``set_timesteps(n)``), or one that is put in its place: by its conversion to Karras sigmas, in place of its
``sigmas``, or by ``set_timesteps(sigmas=…)``, whichever it is seen to follow. Of a grid of ours the scheduler sees one step more, to
sigma = 0, as its users have it; a run that ends at the last node does not take that step. Which node a state is at: ``scheduler_nodes.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from scorebed.solvers import EDM, VP, Node, RectifiedFlow
from scorebed.solvers.model import from_denoised
from scorebed.toy.foreign import scheduler_nodes as at
from scorebed.toy.foreign.candidate import Candidate, Denoise, How, Interface, Own, Refused, parameters, single_is_double
from scorebed.toy.foreign.draws import replaced, seed_all, torch_generator

PREDICTS = {"epsilon": "eps", "sample": "denoised", "v_prediction": "v", "flow_prediction": "flow"}
TABLE = 1 << 17
"""Entries of the fine table that takes the rounding of integer timesteps out: a power of two, so that equal steps stay equal."""
_PLAIN = {"clip_sample": False, "clip_denoised": False, "thresholding": False}
"""Options that change samples for the sake of images; off unless asked for."""
_OTHER_GRIDS = ("use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas")
_FREE = ("scaled", "edm", "flow", "vp")


class SchedulerCandidate(Candidate):
    """A diffusers scheduler.

    Args:
        made: the class, or an instance whose configuration is taken.
        prediction: ``eps``, ``denoised``, ``v`` or ``flow``; None is what the scheduler is configured for.
        config: options of the scheduler.
        step: options of its ``step``.
        claims: ``order`` and ``weak``.
    """

    kind = "diffusers"

    def __init__(
        self,
        made: Any,
        name: str | None = None,
        *,
        prediction: str | None = None,
        config: dict[str, Any] | None = None,
        step: dict[str, Any] | None = None,
        **claims: Any,
    ) -> None:
        self.type = made if isinstance(made, type) else type(made)
        self.known = parameters(self.type)
        base = {} if isinstance(made, type) else {k: v for k, v in dict(made.config).items() if k in self.known}
        plain = {k: v for k, v in _PLAIN.items() if k in self.known}
        self.config = {**plain, **base, **(config or {})}
        if prediction is not None:
            names = {v: k for k, v in PREDICTS.items()}
            if prediction not in names:
                raise ValueError(f"prediction = {prediction!r} is not known: give one of {', '.join(names)}")
            self.config["prediction_type"] = names[prediction]
        self.step_options = dict(step or {})
        self._shift = {"mu": 1.0} if self.config.get("use_dynamic_shifting") else {}  # what a pipeline takes from the size of the image
        probe = self._build(4)
        self.family = at.family(probe)
        self.prediction = at.prediction(probe, self.family, PREDICTS)
        own = "zero" if at.nodes(probe, self.family)[-1].sigma == 0.0 else "none"
        schedule = EDM() if self.family in ("scaled", "edm") else RectifiedFlow() if self.family == "flow" else VP()
        super().__init__(name or self.type.__name__, library="torch", schedule=schedule, **claims)
        self.interface = Interface(grid=False, schedules=False, both_ways=False, ends=(own,), own=True)
        self.path = hasattr(probe, "noise_sampler")
        self.tabled = not probe.timesteps.dtype.is_floating_point or bool((probe.timesteps == probe.timesteps.round()).all())
        self.calls = 1
        self.way = self._way() if self.family in _FREE else ""
        fine = self.family == "table" and {"num_train_timesteps", "beta_start", "beta_end"} <= set(self.known)
        ends = ("none", "zero") if own == "zero" else ("none",)
        self.interface = Interface(
            grid=bool(self.way), schedules=False, both_ways=False, ends=ends if self.way else (own,), own=True, fine=fine
        )

    @property
    def code(self) -> Any:
        return self.type

    def _build(self, n: int | None, **config: Any) -> Any:
        made = self.type(**{**self.config, **config})
        if n is not None:
            made.set_timesteps(n, **self._shift)
        return made

    def own(self, n: int, dtype: str = "float64 state", fine: bool = False, ends: tuple[float, float] | None = None) -> Own:
        if dtype == "float64":
            with single_is_double():
                return self.own(n, fine=fine)
        if not fine:
            return Own(n, at.nodes(self._build(n), self.family))
        made = self._fine(n)
        return Own(n, [at.in_table(made, int(t)) for t in _to_an_eighth(made.timesteps)], fine=True)

    def _fine(self, n: int) -> Any:
        """The same betas in continuous time, on a table of ``TABLE`` entries."""
        config: dict[str, Any] = {"num_train_timesteps": TABLE}
        for end in ("beta_start", "beta_end"):
            config[end] = 1000 / TABLE * self.config.get(end, at.default(self.type, end))
        return self._build(n, **config)

    def _go(self, denoise: Denoise, x: Any, grid: Sequence[Node], how: How) -> Any:
        with self.unwatched():
            s = self._injected(grid) if not isinstance(grid, Own) else self._fine(grid.n) if grid.fine else self._build(grid.n)

        def network(s: Any, y: Any, scaled: Any, i: int, t: Any) -> Any:
            with self.unwatched():
                return self._predict(s, denoise, y, scaled, i, t, how.network)

        return self._walk(s, x, grid, how, network)

    def _walk(self, s: Any, x: Any, grid: Sequence[Node], how: How, network: Any) -> Any:
        """The loop of a pipeline, up to the last node of the grid."""
        times = list(s.timesteps)
        if isinstance(grid, Own) and grid.fine:
            times = list(_to_an_eighth(s.timesteps))[:-1]
        elif self.family == "continuous":
            times = times[:-1]
        elif how.end == "none" and not isinstance(grid, Own):  # without the step to 0, or one of no length
            times = times[:-1] if self.way == "argument" else times[: self.calls * (len(grid) - 1)]
        seed_all(how.seed)
        known = parameters(s.step)
        options = {"generator": torch_generator(how.seed)} if "generator" in known else {}
        if how.draws is not None and hasattr(s, "noise_sampler"):
            s.noise_sampler = lambda a, b: x.new_tensor(how.draws(tuple(x.shape), (float(a), float(b))))
        if "noise_sampler_seed" in self.known and how.draws is None:
            s.noise_sampler_seed = how.seed
        x, memory = x[..., None, None], None
        for i, t in enumerate(times):
            scaled = s.scale_model_input(x, t) if hasattr(s, "scale_model_input") else x
            out = network(s, x, scaled, i, t)
            more = {**options, **self.step_options}
            if "old_pred_original_sample" in known:
                before = times[i - 1] if i else None
                x, memory = s.step(out, memory, t, before, x, return_dict=False, **more)
                continue
            if "prev_timestep" in known:
                more["prev_timestep"] = int(s.timesteps[i + 1]) if i + 1 < len(s.timesteps) else None
            result = s.step(out, t.expand(len(x)) if self.family == "continuous" else t, x, **more)
            x = result[0] if isinstance(result, tuple) else result.prev_sample
        return x[..., 0, 0]

    def _predict(self, s: Any, denoise: Denoise, x: Any, scaled: Any, i: int, t: Any, network: str) -> Any:
        """The network's output at the i-th call."""

        def exact(y: Any, node: Node) -> Any:
            return denoise(y[..., 0, 0], node)[..., None, None]

        node = at.of_call(s, self.family, i, t, x)
        if self.family == "edm":
            none, one = (s.precondition_outputs(x, c + 0.0 * x, s.sigmas[i]) for c in (0.0, 1.0))
            return (exact(x, node) - none) / (one - none)
        if network == "timestep" and self.family not in ("sine", "continuous"):
            node = at.told(s, self.family, t)
        elif self.family == "scaled":
            node = at.of(1.0 / np.hypot(1.0, node.sigma), node.sigma / np.hypot(1.0, node.sigma))
            scaled = x * node.alpha
        out = from_denoised(exact(scaled, node), scaled, node, self.prediction)
        return -out if at.ascends(s) else out

    def _way(self) -> str:
        """How its grid can be replaced: the first way after which its nodes are ours and its steps follow them; "" where none does."""
        import torch

        grids = [[self.schedule.at_lam(-1.0 + r * k) for k in range(5)] for r in (0.4, 0.5)]  # type: ignore[union-attr]
        ends = ("none", "zero") if self.interface.ends == ("zero",) else ("none",)
        kept, self.interface = self.interface, Interface(ends=ends)
        x = torch.ones(2, 1, dtype=torch.float64)
        for self.way in ("hook", "sigmas", "argument"):
            results = []
            try:
                for grid in grids:
                    made = self._injected(grid)
                    seen, self.calls = at.nodes(made, self.family), len(made.timesteps) // (len(grid) - 1)
                    if not np.allclose([n.rho for n in seen[: len(grid)]], [n.rho for n in grid], rtol=1e-4):
                        raise Refused("other nodes")
                    with replaced(lambda shape, _: np.zeros(shape)):
                        results.append(self._walk(made, x, grid, How(), lambda s, y, *_: 0.3 * y + 0.1))
            except Exception:
                continue
            if not torch.equal(*results):  # a network that knows no node: only the steps can tell
                self.interface = kept
                return str(self.way)
        self.interface = kept
        self.remark = "it follows no grid that is put in place of its sigmas: looked at on its own grid only"
        return ""

    def _injected(self, grid: Sequence[Node]) -> Any:
        """The scheduler on our grid, and, where it has one, with a step to 0 after it."""
        import torch

        if not self.way:
            raise Refused(f"{self.name} follows no grid that is put in place of its own: it walks only that")
        level = np.array([node.sigma if self.family == "flow" else node.rho for node in grid])
        zero = "zero" in self.interface.ends
        n = len(level) if zero else len(level) - 1
        if self.way == "argument":
            s = self._build(None)
            s.set_timesteps(sigmas=level.tolist())
        elif self.way == "hook":
            s = self._by_hook(np.array([node.rho for node in grid]))
        else:
            s = self._build(n)
            full = torch.tensor([*level, 0.0] if zero else level, dtype=torch.float32)
            times = torch.tensor([at.time(s, self.family, float(v)) for v in level[:n]], dtype=torch.float32)
            if len(s.timesteps) >= 2 * n - 1 > n:  # a stage between any two nodes
                full = torch.cat([full[:1], full[1:-1].repeat_interleave(2), full[-1:]])
                times = torch.cat([times[:1], times[1:].repeat_interleave(2)])
            elif len(s.timesteps) not in (n, n - 1, n + 1):
                raise Refused(f"{self.name} calls the network {len(s.timesteps)} times on {n} steps: its grid cannot be replaced")
            s.sigmas, s.timesteps, s.num_inference_steps = full, times, n
            if hasattr(s, "get_order_list"):
                s.order_list = s.get_order_list(n)
        if hasattr(s, "set_begin_index"):
            s.set_begin_index(0)
        return s

    def _by_hook(self, rho: np.ndarray) -> Any:
        """Through its own conversion to Karras sigmas, so that whatever it makes from them is made by itself."""
        import torch

        if self.family == "edm":
            s = self._build(None)
            s._compute_karras_sigmas = lambda ramp, *_, **__: torch.tensor(rho)
        elif "use_karras_sigmas" in self.known:
            s = self._build(None, use_karras_sigmas=True, **{k: False for k in _OTHER_GRIDS if k in self.known})
            s._convert_to_karras = lambda in_sigmas, num_inference_steps=None: rho.copy()
        else:
            raise Refused(f"{self.name} has no conversion to Karras sigmas")
        s.set_timesteps(len(rho))
        if self.family == "flow" and float(s.sigmas[0]) > 1.0:
            s.sigmas = s.sigmas / (1.0 + s.sigmas)
        return s


def _to_an_eighth(timesteps: Any) -> Any:
    """Of a fine table, the timesteps from its noisy end to an eighth."""
    return timesteps[timesteps > TABLE / 8 - 1]
