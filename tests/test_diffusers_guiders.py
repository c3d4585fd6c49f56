"""Our rules of guidance beside diffusers' guiders, where these can be called: the same numbers, and whose formula it is where not."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from scorebed.solvers import RectifiedFlow, convert
from scorebed.solvers.guide import CFG, Rule
from scorebed.solvers.methods.steering.rules import APG, CFGZero, Rescaled

guiders = pytest.importorskip("diffusers.guiders")
NODE = RectifiedFlow().node(0.6)
RNG = torch.Generator().manual_seed(3)
X, GIVEN, NULL = (torch.randn(4, 3, 5, 5, generator=RNG, dtype=torch.float64) for _ in range(3))


def theirs(guider: Any, given: torch.Tensor = GIVEN, null: torch.Tensor = NULL, step: int = 5) -> torch.Tensor:
    guider.set_state(step=step, num_inference_steps=10, timestep=torch.tensor(500.0))
    out: torch.Tensor = guider.forward(given, null).pred
    return out


def flow(rule: Rule, given: torch.Tensor, null: torch.Tensor) -> torch.Tensor:
    """The rule of D on two velocities."""
    means = (convert(value, X, NODE, "flow", "denoised") for value in (given, null))
    return convert(rule(*means, X, NODE), X, NODE, "denoised", "flow")


def test_the_same_numbers() -> None:
    torch.testing.assert_close(theirs(guiders.ClassifierFreeGuidance(guidance_scale=3.0)), CFG(3.0)(GIVEN, NULL, X, NODE))
    zero = guiders.ClassifierFreeZeroStarGuidance(guidance_scale=3.0, zero_init_steps=1)
    # their scale s is computed in float32
    torch.testing.assert_close(theirs(zero), flow(CFGZero(3.0), GIVEN, NULL), rtol=1e-5, atol=1e-5)
    still = theirs(guiders.ClassifierFreeZeroStarGuidance(guidance_scale=3.0, zero_init_steps=1), step=0)
    torch.testing.assert_close(still, flow(CFGZero(3.0, zero=0.0), GIVEN, NULL))
    rescaled = guiders.ClassifierFreeGuidance(guidance_scale=3.0, guidance_rescale=0.7)  # of whatever is predicted; here of D
    torch.testing.assert_close(theirs(rescaled), Rescaled(3.0, 0.7)(GIVEN, NULL, X, NODE))


@pytest.mark.parametrize("momentum", [None, -0.5])
def test_projected_guidance_in_the_papers_form(momentum: float | None) -> None:
    """D_c + (w − 1)(Δ_⊥ + η Δ_∥) is theirs with ``use_original_formulation`` and guidance_scale = w − 1, momentum and norm included."""
    options: dict[str, Any] = {"adaptive_projected_guidance_momentum": momentum, "adaptive_projected_guidance_rescale": 2.5, "eta": 0.2}
    guider = guiders.AdaptiveProjectedGuidance(guidance_scale=3.0, use_original_formulation=True, **options)
    if momentum is not None:  # made where a pipeline prepares its first step
        from diffusers.guiders.adaptive_projected_guidance import MomentumBuffer

        guider.momentum_buffer = MomentumBuffer(momentum)
    rule = APG(4.0, 0.2, 2.5, momentum or 0.0)
    nodes = [RectifiedFlow().node(t) for t in (0.6, 0.5, 0.4)]
    for i, node in enumerate(nodes):
        given, null = GIVEN + 0.1 * i, NULL - 0.2 * i
        torch.testing.assert_close(theirs(guider, given, null, step=i + 1), rule(given, null, X, node))


def test_their_default_form_is_another() -> None:
    """D_u + w (Δ_⊥ + η Δ_∥): near w = 1 the conditional model less a part (1 − η) of the difference along it, which the paper's form keeps;
    and with its default η = 1, below the norm of 15, it is classifier-free guidance."""
    guider = guiders.AdaptiveProjectedGuidance(guidance_scale=1.0 + 1e-4, eta=0.0, adaptive_projected_guidance_rescale=0.0)
    assert float((theirs(guider) - GIVEN).abs().max()) > 0.05
    assert float((APG(1.0 + 1e-4)(GIVEN, NULL, X, NODE) - GIVEN).abs().max()) < 1e-3
    small = 0.1 * NULL + 0.9 * GIVEN
    torch.testing.assert_close(theirs(guiders.AdaptiveProjectedGuidance(guidance_scale=3.0), GIVEN, small), CFG(3.0)(GIVEN, small, X, NODE))
