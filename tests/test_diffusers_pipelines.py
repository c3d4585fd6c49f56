"""Unmodified diffusers pipelines of every family, tiny, with random weights: our scheduler in them, their networks as our denoisers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import diffusers
import pytest
import torch
from torch import Tensor

from scorebed.solvers import SOLVERS, NonFinite, sample
from scorebed.solvers.guide import guided, interval
from scorebed.solvers.methods.steering.rules import APG, Rescaled

diffusers.utils.logging.set_verbosity_error()

from scorebed.gpu.diffusers.pipelines import PipelineNetwork, from_pipeline, load, network_of  # noqa: E402
from scorebed.gpu.diffusers.scheduler import ScorebedScheduler  # noqa: E402

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
N = 4


class Case(NamedTuple):
    """A pipeline, what its call needs besides steps and scheduler, and what its network needs as a denoiser."""

    pipe: Any
    call: dict[str, Any]
    latents: Tensor
    network: dict[str, Any]


def normals(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def vae(**more: Any) -> Any:
    return diffusers.AutoencoderKL(block_out_channels=(8,), latent_channels=4, norm_num_groups=4, sample_size=8, **more)


def unet(**more: Any) -> Any:
    return diffusers.UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        block_out_channels=(8, 8),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=4,
        cross_attention_dim=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        **more,
    )


def ddpm() -> Case:
    net = diffusers.UNet2DModel(
        sample_size=8,
        block_out_channels=(8, 8),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=4,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )
    return Case(diffusers.DDPMPipeline(net, diffusers.DDPMScheduler(clip_sample=False)), {}, normals(1, 3, 8, 8), {})


def stable_diffusion() -> Case:
    scheduler = diffusers.PNDMScheduler(**BETAS, skip_prk_steps=True, steps_offset=1)
    parts = dict.fromkeys(("text_encoder", "tokenizer", "safety_checker", "feature_extractor", "image_encoder"))
    pipe = diffusers.StableDiffusionPipeline(vae=vae(), unet=unet(), scheduler=scheduler, requires_safety_checker=False, **parts)
    text, null = normals(1, 3, 8), normals(1, 3, 8, seed=1)
    call = {"prompt_embeds": text, "negative_prompt_embeds": null, "guidance_scale": 3.0, "height": 8, "width": 8}
    return Case(
        pipe, call, normals(1, 4, 8, 8, seed=2), {"encoder_hidden_states": text, "null": {"encoder_hidden_states": null}, "guidance": 3.0}
    )


def sdxl() -> Case:
    net = unet(addition_embed_type="text_time", addition_time_embed_dim=4, projection_class_embeddings_input_dim=32)
    parts = dict.fromkeys(("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"))
    scheduler = diffusers.EulerDiscreteScheduler(**BETAS, timestep_spacing="leading", steps_offset=1)
    pipe = diffusers.StableDiffusionXLPipeline(vae=vae(), unet=net, scheduler=scheduler, add_watermarker=False, **parts)
    text, pooled = normals(1, 3, 8), normals(1, 8, seed=1)
    call = {"prompt_embeds": text, "pooled_prompt_embeds": pooled, "guidance_scale": 1.0, "height": 8, "width": 8}
    sizes = torch.tensor([[8.0, 8.0, 0.0, 0.0, 8.0, 8.0]])
    added = {"text_embeds": pooled, "time_ids": sizes}
    return Case(pipe, call, normals(1, 4, 8, 8, seed=2), {"encoder_hidden_states": text, "added_cond_kwargs": added})


def sd3() -> Case:
    net = diffusers.SD3Transformer2DModel(
        sample_size=8,
        patch_size=1,
        in_channels=4,
        out_channels=4,
        num_layers=1,
        attention_head_dim=4,
        num_attention_heads=2,
        joint_attention_dim=8,
        caption_projection_dim=8,
        pooled_projection_dim=8,
        pos_embed_max_size=8,
    )
    parts = dict.fromkeys(
        (
            "text_encoder",
            "tokenizer",
            "text_encoder_2",
            "tokenizer_2",
            "text_encoder_3",
            "tokenizer_3",
            "image_encoder",
            "feature_extractor",
        )
    )
    pipe = diffusers.StableDiffusion3Pipeline(
        transformer=net, scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0), vae=vae(shift_factor=0.1), **parts
    )
    text, pooled = normals(1, 3, 8), normals(1, 8, seed=1)
    call = {"prompt_embeds": text, "pooled_prompt_embeds": pooled, "guidance_scale": 1.0, "height": 8, "width": 8}
    return Case(pipe, call, normals(1, 4, 8, 8, seed=2), {"encoder_hidden_states": text, "pooled_projections": pooled})


def flux() -> Case:
    net = diffusers.FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=8,
        pooled_projection_dim=8,
        axes_dims_rope=(4, 4, 8),
    )
    parts = dict.fromkeys(("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2", "image_encoder", "feature_extractor"))
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    pipe = diffusers.FluxPipeline(transformer=net, scheduler=scheduler, vae=vae(shift_factor=0.1), **parts)
    text, pooled = normals(1, 3, 8), normals(1, 8, seed=1)
    places = pipe._prepare_latent_image_ids(1, 4, 4, "cpu", torch.float32)
    call = {"prompt_embeds": text, "pooled_prompt_embeds": pooled, "height": 8, "width": 8}
    constant = {"txt_ids": torch.zeros(3, 3), "img_ids": places}
    network = {"encoder_hidden_states": text, "pooled_projections": pooled, "constant": constant}
    return Case(pipe, call, normals(1, 16, 16, seed=2), network)


def dit() -> Case:
    net = diffusers.DiTTransformer2DModel(
        sample_size=8, in_channels=4, out_channels=8, num_layers=1, patch_size=2, attention_head_dim=4, num_attention_heads=2
    )
    pipe = diffusers.DiTPipeline(net, vae(), diffusers.DDIMScheduler(clip_sample=False))
    call = {"class_labels": [7], "guidance_scale": 1.0}
    return Case(pipe, call, normals(1, 4, 8, 8), {"class_labels": torch.tensor([7])})


def pixart() -> Case:
    net = diffusers.PixArtTransformer2DModel(
        sample_size=8,
        in_channels=4,
        out_channels=8,
        num_layers=1,
        patch_size=2,
        attention_head_dim=4,
        num_attention_heads=2,
        cross_attention_dim=8,
        caption_channels=8,
    )
    scheduler = diffusers.DPMSolverMultistepScheduler(beta_end=0.02)
    pipe = diffusers.PixArtAlphaPipeline(transformer=net, vae=vae(), scheduler=scheduler, text_encoder=None, tokenizer=None)
    text, mask = normals(1, 3, 8), torch.ones(1, 3)
    call = {
        "prompt_embeds": text,
        "prompt_attention_mask": mask,
        "guidance_scale": 1.0,
        "height": 8,
        "width": 8,
        "use_resolution_binning": False,
        "negative_prompt": None,
    }
    constant = {"added_cond_kwargs": {"resolution": None, "aspect_ratio": None}}
    return Case(
        pipe, call, normals(1, 4, 8, 8, seed=2), {"encoder_hidden_states": text, "encoder_attention_mask": mask, "constant": constant}
    )


def lumina() -> Case:
    from diffusers.models.embeddings import get_2d_rotary_pos_embed_lumina

    net = diffusers.LuminaNextDiT2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        hidden_size=16,
        num_layers=1,
        num_attention_heads=2,
        num_kv_heads=1,
        cross_attention_dim=8,
        multiple_of=8,
    )
    torch.nn.init.zeros_(net.pad_token)
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
    pipe = diffusers.LuminaPipeline(transformer=net, scheduler=scheduler, vae=vae(), text_encoder=None, tokenizer=None)
    pipe.default_image_size = 16
    text, mask = normals(1, 3, 8), torch.ones(1, 3)
    call = {
        "prompt_embeds": text,
        "prompt_attention_mask": mask,
        "negative_prompt_embeds": text,
        "negative_prompt_attention_mask": mask,
        "guidance_scale": 1.0,
        "height": 16,
        "width": 16,
        "proportional_attn": False,
    }
    turned = get_2d_rotary_pos_embed_lumina(8, 384, 384, linear_factor=1.0, ntk_factor=1.0)
    constant = {"image_rotary_emb": turned, "cross_attention_kwargs": {}}
    return Case(pipe, call, normals(1, 4, 8, 8, seed=2), {"encoder_hidden_states": text, "encoder_mask": mask, "constant": constant})


FAMILIES: dict[str, Callable[[], Case]] = {f.__name__: f for f in (ddpm, stable_diffusion, sdxl, sd3, flux, dit, pixart, lumina)}


@pytest.fixture(scope="module")
def cases() -> dict[str, Case]:
    """Every family once, with weights that make the prediction neither zero nor large."""
    torch.manual_seed(0)
    made = {name: build() for name, build in FAMILIES.items()}
    for case in made.values():
        case.pipe.set_progress_bar_config(disable=True)
        with torch.no_grad():
            for p in network_of(case.pipe).parameters():
                if p.abs().max() == 0.0:  # heads that start at zero would hide a wrong solver
                    p.normal_(std=0.2)
    return made


def drawn(case: Case, n: int = N, **more: Any) -> Tensor:
    """What the pipeline draws from the case's latents."""
    kind = type(case.pipe).__name__
    if kind in ("DDPMPipeline", "DiTPipeline"):  # they make their own latents
        import unittest.mock as mock

        module = __import__(type(case.pipe).__module__, fromlist=["randn_tensor"])
        with mock.patch.object(module, "randn_tensor", return_value=case.latents.clone()):
            if kind == "DDPMPipeline":
                return _without_pictures(case, n, **more)
            return _latent_of_dit(case, n, **more)
    with torch.no_grad():
        done = case.pipe(**case.call, latents=case.latents.clone(), num_inference_steps=n, output_type="latent", **more)
    return done.images


def _without_pictures(case: Case, n: int, **more: Any) -> Tensor:
    """The states that the scheduler gave back: the pipeline itself clamps and quantises."""
    return _last(case, lambda: case.pipe(num_inference_steps=n, output_type="np", **more))


def _latent_of_dit(case: Case, n: int, **more: Any) -> Tensor:
    return _last(case, lambda: case.pipe(**case.call, num_inference_steps=n, output_type="np", **more))


def _last(case: Case, run: Callable[[], Any]) -> Tensor:
    states: list[Tensor] = []
    step = case.pipe.scheduler.step

    def kept(*args: Any, **kwargs: Any) -> Any:
        out = step(*args, **kwargs)
        states.append(out.prev_sample)
        return out

    case.pipe.scheduler.step = kept
    try:
        run()
    finally:
        del case.pipe.scheduler.step
    return states[-1]


def ours(case: Case, network: PipelineNetwork) -> Tensor:
    """The same run by ``solvers.sample`` on the pipeline's network as a denoiser; from pure noise, one step of DDIM goes before it."""
    scheduler, x, nodes = case.pipe.scheduler, case.latents, case.pipe.scheduler.grid
    with torch.no_grad():
        if nodes[0].rho > 1e3 and not scheduler.method.name.endswith("_t"):
            x = sample(SOLVERS["ddim"], network.denoise, x, nodes[:2], terminal="none")
            nodes = nodes[1:]
        return sample(scheduler.method, network.denoise, x, nodes, noise=scheduler.config.seed)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", ["dpmpp_2m", "heun", "sde_dpmpp_1"])
def test_one_line_switches_a_pipeline(cases: dict[str, Case], family: str, method: str) -> None:
    """``pipe.scheduler = …`` is all: the pipeline then draws what the solver draws on the pipeline's network, to float32."""
    case = cases[family]
    before = case.pipe.scheduler
    network = from_pipeline(case.pipe, **case.network)
    case.pipe.scheduler = ScorebedScheduler.from_config(case.pipe.scheduler.config, solver=method, seed=3)
    try:
        found = drawn(case)
        evaluations = len(case.pipe.scheduler.timesteps)
        expected = ours(case, network)
    finally:
        case.pipe.scheduler = before
    assert evaluations == (2 * N - 1 if method == "heun" else N)
    assert torch.isfinite(found).all()
    assert float((found - expected).abs().max()) < 2e-4 * float(expected.abs().max())
    assert float((expected - case.latents).abs().max()) > 0.1


@pytest.mark.parametrize("family", ["sd3", "flux", "lumina"])
def test_a_flow_pipeline_keeps_its_result_under_ddim(cases: dict[str, Case], family: str) -> None:
    """Euler on a flow is DDIM: our ddim draws what FlowMatchEuler draws."""
    case = cases[family]
    before, theirs = case.pipe.scheduler, drawn(case)
    case.pipe.scheduler = ScorebedScheduler.from_config(before.config, solver="ddim")
    try:
        found = drawn(case)
    finally:
        case.pipe.scheduler = before
    assert float((found - theirs).abs().max()) < 2e-4 * float(theirs.abs().max())


def test_a_pipeline_that_brings_its_own_scheduler(cases: dict[str, Case]) -> None:
    """DDIMPipeline makes a DDIMScheduler of whatever it is given, and hands eta to every step; ours goes in afterwards all the same."""
    case = cases["ddpm"]
    pipe = diffusers.DDIMPipeline(case.pipe.unet, diffusers.DDIMScheduler(clip_sample=False))
    pipe.set_progress_bar_config(disable=True)
    theirs = _last(
        case._replace(pipe=pipe), lambda: pipe(num_inference_steps=N, generator=torch.Generator().manual_seed(0), output_type="np")
    )
    pipe.scheduler = ScorebedScheduler.from_config(pipe.scheduler.config, solver="ddim")
    found = _last(
        case._replace(pipe=pipe), lambda: pipe(num_inference_steps=N, generator=torch.Generator().manual_seed(0), output_type="np")
    )
    assert float((found - theirs).abs().max()) < 1e-3 * float(theirs.abs().max())
    with pytest.raises(ValueError, match="ddim_eta"):
        pipe(num_inference_steps=N, eta=1.0)


def test_guidance_bf16_and_chunks(cases: dict[str, Case]) -> None:
    """A bfloat16 network on a float32 state, in chunks, with guidance in one call, is the float32 one to bfloat16 accuracy."""
    case = cases["stable_diffusion"]
    wide = from_pipeline(case.pipe, **case.network)
    x, node = normals(3, 4, 8, 8, seed=5), wide.grid(N)[1]
    exact = wide.denoise(x, node)
    split = from_pipeline(case.pipe, **case.network, chunk=2)
    assert torch.allclose(split.denoise(x, node), exact, atol=1e-5)
    plain = from_pipeline(case.pipe, encoder_hidden_states=case.network["encoder_hidden_states"])
    assert float((plain.denoise(x, node) - exact).abs().max()) > 1e-3
    case.pipe.unet.to(torch.bfloat16)
    try:
        half = from_pipeline(case.pipe, **case.network).denoise(x, node)
    except (TypeError, RuntimeError, NonFinite) as error:
        raise AssertionError("a bfloat16 network must take a float32 state") from error
    finally:
        case.pipe.unet.to(torch.float32)
    assert half.dtype == torch.float32
    assert 0.0 < float((half - exact).abs().max()) < 0.1 * float(exact.abs().max())


@pytest.mark.parametrize("rule", [APG(3.0, 0.2, 5.0), Rescaled(3.0), interval(3.0, 0.1, 1e3)], ids=["apg", "rescaled", "interval"])
def test_our_rules_guide_the_network_of_a_pipeline(cases: dict[str, Case], rule: Any) -> None:
    """In one call for both halves, by any rule: the rule of the two answers."""
    case = cases["stable_diffusion"]
    both = from_pipeline(case.pipe, **{**case.network, "guidance": rule})
    given, null = (from_pipeline(case.pipe, encoder_hidden_states=h["encoder_hidden_states"]) for h in (case.network, case.network["null"]))
    x, node = normals(3, 4, 8, 8, seed=5), both.grid(N)[1]
    apart = guided(given.denoise, null.denoise, rule)(x, node)
    assert torch.allclose(both.denoise(x, node), apart, atol=1e-4 * float(apart.abs().max()))


@pytest.mark.parametrize("method", ["dpmpp_2m", "heun", "unipc_3"])
def test_image_to_image_begins_inside_the_grid(cases: dict[str, Case], method: str) -> None:
    """An image-to-image pipeline slices the timesteps; the solver then runs from that node on."""
    source = cases["stable_diffusion"]
    pipe = diffusers.StableDiffusionImg2ImgPipeline(
        **{k: v for k, v in source.pipe.components.items() if k != "scheduler"},
        scheduler=ScorebedScheduler.from_config(source.pipe.scheduler.config, solver=method),
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    call = {k: v for k, v in source.call.items() if k not in ("height", "width")}
    picture = normals(1, 4, 8, 8, seed=9)  # four channels: taken as latents
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        found = pipe(**call, image=picture, strength=0.5, num_inference_steps=8, output_type="latent", generator=generator).images
    scheduler = pipe.scheduler
    index = scheduler.begin_index
    assert index
    nodes = [node for node in scheduler.grid if node.lam >= scheduler._full.nodes[index].lam]
    noise = torch.randn(picture.shape, generator=torch.Generator().manual_seed(4))
    x = nodes[0].alpha * picture + nodes[0].sigma * noise
    from dataclasses import replace

    begun = replace(scheduler.method, start=SOLVERS["ddim"]) if scheduler.method.start else scheduler.method
    network = from_pipeline(source.pipe, **source.network)
    with torch.no_grad():
        expected = sample(begun, network.denoise, x, nodes)
    assert float((found - expected).abs().max()) < 2e-4 * float(expected.abs().max())


def test_a_pipeline_survives_the_disk(cases: dict[str, Case], tmp_path: Path) -> None:
    """Saved with our scheduler, loaded from the folder (safetensors only), it draws the same; a pickled checkpoint is refused."""
    case = cases["stable_diffusion"]
    before = case.pipe.scheduler
    case.pipe.scheduler = ScorebedScheduler.from_config(before.config, solver="unipc_2", solver_options={"b": "B1"})
    try:
        found = drawn(case)
        case.pipe.save_pretrained(tmp_path / "pipe")
    finally:
        case.pipe.scheduler = before
    names = [path.name for path in (tmp_path / "pipe").rglob("*") if path.suffix in (".safetensors", ".bin")]
    assert names
    assert all(name.endswith(".safetensors") for name in names)
    again = load(tmp_path / "pipe", text_encoder=None, tokenizer=None)
    again.set_progress_bar_config(disable=True)
    assert isinstance(again.scheduler, ScorebedScheduler)
    assert again.scheduler.method.name == "unipc_2(b='B1')"
    assert torch.equal(drawn(case._replace(pipe=again)), found)
    (weights,) = (tmp_path / "pipe" / "unet").glob("*.safetensors")
    torch.save(case.pipe.unet.state_dict(), weights.with_suffix(".bin"))
    weights.unlink()
    with pytest.raises(OSError, match="safetensors"):
        load(tmp_path / "pipe", text_encoder=None, tokenizer=None)
    with pytest.raises(FileNotFoundError, match="model_index"):
        load(tmp_path)
    with pytest.raises(ValueError, match="cannot be chosen"):
        load(tmp_path / "pipe", use_safetensors=False)


def test_a_pipeline_without_a_network_is_refused() -> None:
    class Empty:
        components: dict[str, Any] = {"vae": None}  # noqa: RUF012

    with pytest.raises(TypeError, match="neither a unet nor a transformer"):
        from_pipeline(Empty())
