"""A Plan with its network as a program that needs torch alone."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from scorebed import gpu
from scorebed.gpu.models import load
from scorebed.solvers import SOLVERS, VP, grid, trace

NODES = grid.uniform_lam(VP(), 5, end=0.01)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.mix = nn.Linear(3, 3)

    def forward(self, x, time):
        return torch.tanh(self.mix(x)) * torch.cos(time)[:, None]


def denoiser(dtype=torch.float64):
    torch.manual_seed(0)
    return gpu.wrap(Net().to(dtype).eval().requires_grad_(False), VP(), "eps")


@pytest.mark.parametrize("name", ["unipc_3", "dpmpp_2m", "ddpm", "heun"])
def test_the_program_is_the_plan(name):
    plan = trace(SOLVERS[name], NODES, terminal="denoise")
    denoise = denoiser()
    program = gpu.export(plan, denoise, torch.zeros(4, 3, dtype=torch.float64)).module()
    for n in (1, 4, 7):
        x = torch.randn(n, 3, dtype=torch.float64)
        noise = gpu.Brownian(3, tuple(x.shape), like=x)
        draws = (torch.stack([noise(s, t) for s, t in plan.noises]),) if plan.stochastic else ()
        expected = gpu.run(plan, denoise, x, noise=3)
        torch.testing.assert_close(program(x, *draws), expected, rtol=1e-12, atol=1e-12)


def test_the_file_runs_where_scorebed_is_not(tmp_path):
    network = load("galaxy-hsc-32")
    plan = trace(SOLVERS["dpmpp_2m"], network.grid(3), terminal="denoise")
    x = network.start(2, 0)
    torch.export.save(gpu.export(plan, network.denoise, x), tmp_path / "sampler.pt2")
    torch.save({"x": x, "out": gpu.run(plan, network.denoise, x)}, tmp_path / "run.pt")
    code = f"""
import sys
sys.modules["scorebed"] = None
import torch
run = torch.load({str(tmp_path / "run.pt")!r}, weights_only=True)
out = torch.export.load({str(tmp_path / "sampler.pt2")!r}).module()(run["x"])
assert (out - run["out"]).abs().max() < 1e-4 * run["out"].abs().max(), (out - run["out"]).abs().max()
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_cannot_be_exported_is_refused():
    plan = trace(SOLVERS["ddim"], NODES)
    with pytest.raises(TypeError, match="like is a list"):
        gpu.export(plan, denoiser(), [0.0])
    with pytest.raises(ValueError, match="at least two samples"):
        gpu.export(plan, denoiser(), torch.zeros(1, 3))


def test_onnx_runs_the_whole_loop(tmp_path):
    """By another engine, for another size of batch, with the same draws."""
    import onnxruntime

    plan = trace(SOLVERS["dpmpp_2m_sde"], NODES, terminal="denoise")
    with pytest.raises(ValueError, match="float64"):
        gpu.save_onnx(gpu.export(plan, denoiser(), torch.zeros(4, 3, dtype=torch.float64)), tmp_path / "wide.onnx")
    denoise = denoiser(torch.float32)
    gpu.save_onnx(gpu.export(plan, denoise, torch.zeros(4, 3)), tmp_path / "sampler.onnx")
    x = torch.randn(7, 3)
    noise = gpu.Brownian(3, (7, 3), like=x)
    draws = torch.stack([noise(s, t) for s, t in plan.noises])
    (found,) = onnxruntime.InferenceSession(tmp_path / "sampler.onnx").run(None, {"x": x.numpy(), "draws": draws.numpy()})
    expected = gpu.run(plan, denoise, x, noise=3)
    assert float((torch.from_numpy(found) - expected).abs().max() / expected.abs().max()) < 1e-5


def test_onnx_says_what_is_missing(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ImportError, match=r"scorebed\[onnx\]"):
        gpu.save_onnx(None, tmp_path / "sampler.onnx")
