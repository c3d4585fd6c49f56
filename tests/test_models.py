"""The pretrained networks: they load from the installed files, denoise what they should, and draw galaxies, crystals and spectra."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from scorebed.gpu.models import Missing, Pretrained, crystals, load, mixer, names, spectra, weights
from scorebed.solvers import SOLVERS, sample
from scorebed.toy.cli import main

GALAXIES = tuple(mixer.FILES)
SIZES = {"32": 32, "64": 64, "60": 60, "120": 120, "72": 72}


def drawn(model: Pretrained, n: int, steps: int, name: str = "unipc_3", seed: int = 0) -> Tensor:
    return sample(SOLVERS[name], model.denoise, model.start(n, seed), model.grid(steps))


def noised(x: Tensor, model: Pretrained, t: float, seed: int = 5) -> tuple[Tensor, object]:
    node = model.schedule.node(t)
    unit = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))
    return node.alpha * x + node.sigma * unit, node


@pytest.mark.parametrize("name", names())
def test_each_network_loads_and_draws(name: str) -> None:
    """By name, in evaluation mode, frozen; what it draws is finite and neither flat nor noise."""
    model = load(name)
    assert not model.network.training
    assert not any(p.requires_grad for p in model.network.parameters())
    assert model.licence
    n = 1 if "120" in name else 2
    x = drawn(model, n, 4, "dpmpp_2m")
    assert tuple(x.shape) == (n, *model.shape)
    assert torch.isfinite(x).all()
    assert float(x.std()) > 0.02
    assert not any(module.split(".")[0] in ("galaxygrad", "psdenoiser", "diffcrysgen", "jax") for module in sys.modules)


def test_start_is_keyed_by_sample() -> None:
    model = load("galaxy-hsc-32")
    assert torch.equal(model.start(2, 3), model.start(5, 3)[:2])
    assert not torch.equal(model.start(2, 3), model.start(2, 4))


def light(picture: Tensor) -> Tensor:
    """A picture above its own sky, which is the median of its border."""
    border = torch.cat((picture[:, 0], picture[:, -1], picture[:, :, 0], picture[:, :, -1]), dim=1)
    return (picture - border.median(dim=1).values[:, None, None]).clamp(min=0.0)


@pytest.mark.parametrize("name", ["galaxy-hsc-32", "galaxy-hsc-64", "galaxy-ztf-32", "galaxy-lsst-60"])
def test_galaxies_are_recognisable(name: str) -> None:
    """One bright, compact source near the middle of a dark, smooth sky; and no two alike."""
    size = SIZES[name.rpartition("-")[2]]
    x = drawn(load(name), 12, 8)[:, 0]
    above = light(x)
    where = torch.arange(size, dtype=torch.float32) - 0.5 * (size - 1)
    mass = above.sum(dim=(1, 2))
    centre = torch.stack(((above.sum(2) * where).sum(1) / mass, (above.sum(1) * where).sum(1) / mass), dim=1)
    assert float(centre.norm(dim=1).median()) < 0.1 * size
    inner = above[:, size // 4 : -(size // 4), size // 4 : -(size // 4)].sum(dim=(1, 2)) / mass
    assert float(inner.median()) > 0.6  # noise would have a quarter there
    sky = torch.cat((x[:, 0], x[:, -1]), dim=1)
    assert float((sky.std(dim=1) / above.amax(dim=(1, 2))).median()) < 0.05
    together = above.flatten(1) / above.flatten(1).norm(dim=1, keepdim=True)
    alike = (together @ together.T)[~torch.eye(12, dtype=torch.bool)]
    assert float(alike.mean()) < 0.98


def test_lensed_quasars_have_several_images() -> None:
    """Quasars have more than one bright peak in most pictures; stars of the same survey code (ZTF) have one."""

    def peaks(x: Tensor) -> Tensor:
        above = light(x)
        top = torch.nn.functional.max_pool2d(above[:, None], 5, stride=1, padding=2)[:, 0]
        return ((above == top) & (above > 0.3 * above.amax(dim=(1, 2), keepdim=True))).sum(dim=(1, 2)).float()

    assert float(peaks(drawn(load("quasar-lens-72"), 10, 8, "dpmpp_2m")[:, 0]).mean()) > 1.7
    assert float(peaks(drawn(load("galaxy-ztf-64"), 10, 8, "dpmpp_2m")[:, 0]).mean()) < 1.3


@pytest.mark.parametrize("name", ["galaxy-hsc-32", "crystals", "21cm"])
def test_the_denoiser_denoises(name: str) -> None:
    """On noised draws D is nearer to the draw than the noisy picture and than the mean of all, and its residual is nearly orthogonal to it.

    For a true posterior mean E⟨D, x0 − D⟩ = 0 (Tweedie's formula is consistent only then)."""
    model = load(name)
    x0 = drawn(model, 6 if name == "21cm" else 24, 6, "dpmpp_2m", seed=3)
    for level in (0.3, 1.0):
        node = model.schedule.at_lam(-np.log(level))
        x, node = noised(x0, model, node.t)
        kept = model.denoise(x, node)
        error = float((kept - x0).square().mean())
        assert error < 0.3 * level**2
        assert error < 0.5 * float((x0 - x0.mean(0)).square().mean()) + 1e-3
        assert abs(float((kept * (x0 - kept)).mean())) < 0.1 * float((kept**2).mean())


def test_the_schedule_is_the_one_of_training() -> None:
    """The same states told a wrong noise level are denoised worse: the schedule's times are those the network knows."""
    for name, factor, n, steps in (("galaxy-hsc-32", 1.6, 12, 12), ("crystals", 2.0, 16, 16), ("21cm", 1.6, 4, 6)):
        model = load(name)
        x0 = drawn(model, n, steps, "dpmpp_2m", seed=4)
        node = model.schedule.at_lam(0.7)
        x, _ = noised(x0, model, node.t)
        errors = []
        for off in (1.0 / factor, 1.0, factor):
            told = model.schedule.at_lam(0.7 + np.log(off))
            scale = told.alpha / node.alpha
            errors.append(float((model.denoise(scale * x, told) - x0).square().mean()))
        assert errors[1] < min(errors[0], errors[2]), name


def test_crystals_have_valid_one_hot_rows() -> None:
    """Heun, 18 steps: element and site entries are 0 or 1 to 0.02, most tables are sound, and compositions differ."""
    model = load("crystals")
    x = drawn(model, 20, 18, "heun")
    checked = crystals.one_hot(x)
    assert float(checked["distance"].median()) < 0.02
    assert float(checked["elements"].float().mean()) > 0.7
    assert float((checked["elements"] & checked["sites"]).float().mean()) > 0.5
    found = [f for f in crystals.formulas(x) if f != "?"]
    assert len(set(found)) > 0.8 * len(found)
    noise = crystals.one_hot(torch.randn(8, 3, 136, generator=torch.Generator().manual_seed(0)))
    assert not (noise["elements"] & noise["sites"]).any()
    assert float(noise["distance"].min()) > 0.3


def test_crystals_of_a_batch_do_not_see_each_other() -> None:
    """Alone or in any batch the same table, unless the batch is the sequence, as it was in training."""
    model, mixed = load("crystals"), load("crystals", together=True)
    x, node = model.start(4), model.schedule.node(2.0)
    x = x / 40.0
    torch.testing.assert_close(model.denoise(x, node)[:2], model.denoise(x[:2], node), rtol=1e-4, atol=1e-5)
    assert float((mixed.denoise(x, node)[:2] - mixed.denoise(x[:2], node)).abs().max()) > 1e-4
    torch.testing.assert_close(mixed.denoise(x[:1], node), model.denoise(x[:1], node), rtol=1e-4, atol=1e-5)


def test_spectra_lose_their_sample_variance() -> None:
    """One draw is nearer to the truth than its noisy input, on smooth spectra and on spectra that the network drew itself."""
    held, n = spectra.scales(), 3
    truth, noisy = spectra.example(n, seed=2)
    errors = []
    for _ in range(2):
        image, raw = held.image(truth), held.image(noisy)
        found = drawn(load("21cm", condition=held.condition(noisy)), n, 6, "dpmpp_2m")
        error, input_error = float((found - image).square().mean()), float((raw - image).square().mean())
        errors.append(error)
        assert error < 3e-4
        assert error < 0.3 * input_error
        truth = held.power(found)
        noisy = spectra.noisy_realisation(truth, np.random.default_rng(7))
    other = drawn(load("21cm", condition=held.condition(noisy).roll(1, 0)), n, 6, "dpmpp_2m")
    assert float((other - held.image(truth)).square().mean()) > 5.0 * max(errors)  # the condition matters


def test_a_draw_in_mk2_and_back() -> None:
    held = spectra.scales()
    truth, _ = spectra.example(2, seed=1)
    np.testing.assert_allclose(held.power(held.image(truth)), truth, rtol=2e-5)


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The message names the extra and the command that brings the package."""

    def absent(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setenv(weights.FOLDER, str(tmp_path))
    with pytest.raises(Missing, match=r"extra 'models': pip download --no-deps --no-binary diffcrysgen"):
        load("crystals")
    with monkeypatch.context() as patched:
        patched.setattr(importlib.metadata, "files", absent)
        with pytest.raises(Missing, match=r"extra 'models': pip install --no-deps -c constraints.txt galaxygrad"):
            load("galaxy-hsc-32")
    with pytest.raises(Missing, match=r"without galaxygrad/none\.eqx"):
        weights.installed("galaxygrad", "galaxygrad/none.eqx")
    with pytest.raises(ValueError, match="model = 'galaxy' is not known"):
        load("galaxy")
    with pytest.raises(TypeError, match="has no option condition"):
        load("galaxy-hsc-32", condition=torch.zeros(1))
    with pytest.raises(ValueError, match="condition has shape"):
        load("21cm", condition=torch.zeros(1, 32, 16))
    with pytest.raises(ValueError, match="do not make a mixer"):
        mixer.build([np.zeros((1, 1, 1, 1), np.float32)] * 9)
    with pytest.raises(ValueError, match="spacing = 'even'"):
        load("galaxy-hsc-32").grid(3, "even")


def test_no_pickle_is_read(tmp_path: Path) -> None:
    """Object arrays and pickled objects are refused."""
    path = tmp_path / "net.eqx"
    with path.open("wb") as handle:
        np.save(handle, np.array([print], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle"):
        weights.eqx(path)
    torch.save({"a": Path("x")}, tmp_path / "net.pt")
    with pytest.raises(Exception, match=r"[Ww]eights"):
        weights.tensors(tmp_path / "net.pt")
    torch.save({"a": 3}, tmp_path / "net.pt")
    with pytest.raises(ValueError, match="not a dict of tensors"):
        weights.tensors(tmp_path / "net.pt")


@pytest.mark.parametrize(
    ("model", "name", "nfe", "n", "told"),
    [
        ("galaxy-hsc-32", "unipc_3", 10, 9, "licence: none declared"),
        ("crystals", "dpmpp_2m", 12, 4, "crystals sound"),
        ("21cm", "ddim", 3, 2, "licence: MIT"),
    ],
)
def test_the_command_draws_a_picture(tmp_path: Path, model: str, name: str, nfe: int, n: int, told: str) -> None:
    import matplotlib.image

    path = tmp_path / "picture.png"
    done = CliRunner().invoke(
        main, ["sample", "--model", model, "--solver", name, "--nfe", str(nfe), "--n", str(n), "--seed", "1", "--out", str(path)]
    )
    assert done.exit_code == 0, done.output
    assert told in done.output
    picture = matplotlib.image.imread(path)
    assert min(picture.shape[:2]) > 200
    assert float(picture[..., :3].std()) > 0.05


def test_the_command_is_a_function_of_its_arguments(tmp_path: Path) -> None:
    runs = {}
    for key, more in {"a": [], "again": [], "seed": ["--seed", "2"], "grid": ["--grid", "karras"], "one": ["--nfe", "1"]}.items():
        arguments = [
            "sample",
            "--model",
            "galaxy-hsc-32",
            "--nfe",
            "6",
            "--n",
            "2",
            "--solver",
            "sde_dpmpp_1",
            "--out",
            str(tmp_path / f"{key}.npy"),
        ]
        done = CliRunner().invoke(main, [*arguments, *more])
        assert done.exit_code == 0, done.output
        runs[key] = np.load(tmp_path / f"{key}.npy")
    assert np.array_equal(runs["a"], runs["again"])
    assert all(not np.allclose(runs["a"], runs[key]) for key in ("seed", "grid", "one"))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--model", "galaxy"], "quasar-lens-72"),
        (["--model", "galaxy-hsc-32", "--solver", "heum"], "not known"),
        (["--model", "galaxy-hsc-32", "--solver", "dormand_prince"], "nonlinear"),
        (["--model", "galaxy-hsc-32", "--solver", "heun", "--nfe", "2"], "too few"),
        (["--model", "galaxy-hsc-32", "--out", "a.txt"], "ends in none"),
        (["--model", "galaxy-hsc-32", "--grid", "even"], "not known"),
        (["--model", "galaxy-hsc-32", "--device", "tpu7"], "--device"),
    ],
)
def test_bad_commands_are_named(more: list[str], words: str) -> None:
    done = CliRunner().invoke(main, ["sample", *more])
    assert done.exit_code == 2
    assert words in " ".join(done.output.replace("│", " ").split())
