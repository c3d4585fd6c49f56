"""What a reader of the scoreboard should know: the samplers read against the installed sources, entry by entry."""

REVIEWED = """\
## Reviewed

Read against the installed sources, entry by entry. Every defect below was measured twice, as shipped and with it mended in memory; where
the order, or a finite result, does not come back, it is not listed as a defect.

What the table shows, in a few sentences:

- Most formulas keep the order they claim: Euler, Heun, KDPM2, DPM-Solver of order 1 and 2 in all forms, single-step DPM-Solver of order
  3, DEIS, UniPC of order 1 and 2, SA-Solver, ancestral and SDE samplers with one Brownian path, azula's Adams methods.
- The third-order multistep formula of DPM-Solver++ lacks a factor 2 in three places of diffusers and in k-diffusion: order 2, on equal
  steps too. Its SDE variants in diffusers have a wrong sign besides, and are worse than second order.
- azula's Rosenbrock sampler mixes two nodes in one square root: order 1.
- As shipped, schedulers are rarely held back by their formula. They stall at about 1e-3 by the last step to sigma = 0, by timesteps cut
  to integers, and, for high orders and many steps, by weights computed in float32.
- skrample's third-order DPM carries the same missing factor, and all its multistep samplers make the last two steps of lower order, so
  that nothing above order 2 is reached; its Runge-Kutta methods take stages at fractions of the time and weights for fractions of
  alpha/sigma.
- torchdiffeq's Adams methods use weights of equal steps on whatever times they are handed.
- The solvers of torchsde, sbi, deepinv, physicsnemo and flow-matching keep what they claim.

Looked at, and found to be no defect:

- DPM-Solver single step, order 3: its intermediate nodes come from the grid, so the ratios 1/3 and 2/3 that third order needs hold only
  up to O(h). On smooth grids that is enough, and the measured order is 3. On steps of unequal length it need not be: 2.0 in the `heun`
  variants.
- HeunDiscrete, KDPM2 and others with a negative slope as shipped: two errors of different sign, that of the formula and that of the last
  step; the floor is the last step's.
- FlowMatchEuler with `stochastic_sampling`, the LCM, TCD, SCM and consistency schedulers: they renew noise in every step for distilled
  networks and are no solvers of the flow.
- azula's ItoSampler starts from alpha = 1e-3 with a left-point rule and overshoots at few steps; it converges with its order.
- azula's PCSampler: its corrector has a bias that grows with delta and that no number of steps removes, as any unadjusted corrector; at
  the default it is small.
- Weak orders are those on Gaussians, where the law of the output is exact; on other targets a method may have less.
- Rounding of timesteps with Karras sigmas costs little beside the last step; with exponential, beta and flow sigmas it is a cut, and
  costs more.

How the further libraries were tried. torchdiffeq, torchsde and flow-matching install as they are. The others ask for far more than their
samplers use, so they were installed with `--no-deps` and only the files of their samplers imported:

- sbi 0.27.0 asks for nflows, skorch, tensorboard, zuko; its predictors need torch alone.
- deepinv 0.5.0 asks for torchvision, whose builds on the registry do not fit a CPU build of torch ("operator torchvision::nms does not
  exist"); `sampling/sde_solver.py` needs torch and tqdm. Its `EDMDiffusionSDE` hands the network float32 whatever the state is.
- physicsnemo 2.2.2 asks for warp, onnx, s3fs, timm and torchvision; its solvers need jaxtyping and tensordict.
- skrample 0.7.0 is of Python 3.12 and asks for NumPy alone. On 3.11 it was measured with its type parameters struck out, `math.sumprod`
  given as the sum of products, and its read-only tables as dictionaries that have a hash, which changes no formula.
- torchcfm 1.0.7 asks for torchdyn; with POT alone it imports. It has no sampler: its examples call torchdiffeq.
- JAX 0.10.2 and diffrax 0.7.2 are no samplers: functions of JAX arrays are taken by `library="jax"`, methods of diffrax by
  `scorebed.toy.foreign.sde.diffrax_step`.
"""
