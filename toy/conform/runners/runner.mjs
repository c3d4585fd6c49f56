// A runner of the vectors in JavaScript: node runner.mjs vectors.json results.json [fault]
import { readFileSync, writeFileSync } from "node:fs";

const plus = (...terms) => terms[0][1].map((_, i) => terms.reduce((sum, [c, v]) => sum + c * v[i], 0));

// E[x0 | x] of the mixture
function denoised(model, x, [, alpha, sigma]) {
  const parts = model.weights.map((w, k) => {
    const [m, v] = [model.means[k], model.variances[k]];
    const total = alpha * alpha * v + sigma * sigma;
    const square = x.reduce((sum, a, i) => sum + (a - alpha * m[i]) ** 2, 0);
    return {
      log: Math.log(w) - 0.5 * x.length * Math.log(total) - (0.5 * square) / total,
      mean: m.map((b, i) => b + ((alpha * v) / total) * (x[i] - alpha * b)),
    };
  });
  const top = Math.max(...parts.map((p) => p.log));
  const gammas = parts.map((p) => Math.exp(p.log - top));
  const sum = gammas.reduce((a, b) => a + b, 0);
  return x.map((_, i) => parts.reduce((total, p, k) => total + gammas[k] * p.mean[i], 0) / sum);
}

// the weight of D_s - D_r
function memory(h, old, fault) {
  if (fault === "no memory") return 0;
  if (fault === "weights of equal steps") return 0.5;
  if (fault === "missing factor 1/2") return h / old;
  if (fault === "step ratio inverted") return (0.5 * old) / h;
  return ((fault === "sign of the correction" ? -0.5 : 0.5) * h) / old;
}

function trajectory(model, { method, levels }, x, noise, fault) {
  let past = null;
  for (let i = 0; i + 1 < levels.length; i++) {
    const [s, t] = [levels[i], levels[i + 1]];
    const h = t[3] - s[3];
    const d = denoised(model, x, s);
    if (method === "heun") {
      const [rhoS, rhoT] = [s[2] / s[1], t[2] / t[1]];
      const y = plus([1 / s[1], x]);
      const first = plus([1 / rhoS, y], [-1 / rhoS, d]);
      const u = plus([1, y], [rhoT - rhoS, first]);
      const second = plus([1 / rhoT, u], [-1 / rhoT, denoised(model, plus([t[1], u]), t)]);
      const half = 0.5 * (rhoT - rhoS);
      x = plus([t[1], plus([1, y], [half, first], [half, second])]);
    } else if (method === "ddpm") {
      const std = t[2] * Math.sqrt(-Math.expm1(-2 * h));
      x = plus([(t[2] / s[2]) * Math.exp(-h), x], [-t[1] * Math.expm1(-2 * h), d], [std, noise[i]]);
    } else {
      let mixed = d;
      if (method === "dpmpp_2m" && past !== null) {
        const weight = memory(h, s[3] - past[0][3], fault);
        mixed = plus([1 + weight, d], [-weight, past[1]]);
      }
      past = [s, d];
      const left = fault === "last step left out" && method === "dpmpp_2m" && i === levels.length - 2;
      if (!left) x = plus([t[2] / s[2], x], [-t[1] * Math.expm1(-h), mixed]);
    }
  }
  return x;
}

// for every step the weights of x_s, D_s, D_r; for unipc_2 those of the corrector besides: of x_s, D_u, D_s, D_r
function coefficients(method, levels, fault) {
  return levels.slice(1).map((t, i) => {
    const s = levels[i];
    const h = t[3] - s[3];
    const [ratio, gain] = [t[2] / s[2], -t[1] * Math.expm1(-h)];
    if (method === "ddim") return [ratio, gain];
    const old = i ? s[3] - levels[i - 1][3] : 0;
    const w = i ? memory(h, old, fault) : 0;
    const row = [ratio, gain * (1 + w), -gain * w];
    if (method === "dpmpp_2m") return row;
    const g = fault === "weights of equal steps" ? h : old;
    const k1 = t[1] * h - gain;
    const k2 = t[1] * h * h - 2 * k1;
    const fresh = i ? (k2 + g * k1) / (h * (h + g)) : 0.5 * gain;
    const last = i ? (k2 - h * k1) / (g * (h + g)) : 0;
    return row.concat(ratio, fresh, gain - fresh - last, last);
  });
}

// mean and standard deviation of the output on N(mean, variance): runs from the mean, each with one source of noise
function law(c, [mean, variance], fault) {
  const model = { weights: [1], means: [[mean]], variances: [variance] };
  const [, alpha, sigma] = c.levels[0];
  const steps = [...c.levels.keys()].slice(1);
  const end = (x, hit) => trajectory(model, c, [x], steps.map((i) => [i === hit ? 1 : 0]), fault)[0];
  const centre = end(alpha * mean, 0);
  const ends = [end(alpha * mean + Math.sqrt(alpha ** 2 * variance + sigma ** 2), 0), ...steps.map((i) => end(alpha * mean, i))];
  const total = ends.reduce((sum, e) => sum + (e - centre) ** 2, 0);
  return [centre, fault === "variance in place of standard deviation" ? total : Math.sqrt(total)];
}

// Philox4x32-10
function philox(row, fault) {
  let [c0, c1, c2, c3, k0, k1] = row.map(BigInt);
  const low = 0xffffffffn;
  for (let i = 0; i < (fault === "seven rounds in place of ten" ? 7 : 10); i++) {
    const [p0, p1] = [0xd2511f53n * c0, 0xcd9e8d57n * c2];
    [c0, c1, c2, c3] = [(p1 >> 32n) ^ c1 ^ k0, p1 & low, (p0 >> 32n) ^ c3 ^ k1, p0 & low];
    [k0, k1] = [(k0 + 0x9e3779b9n) & low, (k1 + 0xbb67ae85n) & low];
  }
  return [c0, c1, c2, c3].map(Number);
}

// Box-Muller on two pairs of words
function normals(words, fault) {
  return [0, 2].flatMap((i) => {
    const r = Math.sqrt(-2 * Math.log((words[i] + 0.5) / 2 ** 32));
    const phi = (2 * Math.PI * (words[i + 1] + 0.5)) / 2 ** 32 - Math.PI;
    const pair = [r * Math.cos(phi), r * Math.sin(phi)];
    return fault === "sine and cosine swapped" ? pair.reverse() : pair;
  });
}

// P(x_t = y | x_s = x) of one token
function step(method, p, [x, a, b, h, falls], fault) {
  const n = p.length;
  const euler = method.endsWith("euler");
  const kernel = (share, k, y) => share * (k === y) + (1 - share) / n;
  const sum = (values) => values.reduce((total, value) => total + value, 0);
  let jumps;
  if (method.startsWith("absorbing")) {
    const gain = (euler ? h * falls : b - a) / (1 - a);
    jumps = p.map((q) => (x === n ? gain * q : 0)).concat(0);
  } else {
    jumps = p.map((_, y) => {
      const bayes = sum(p.map((q, k) => (q * kernel(euler ? a : b, k, y)) / kernel(a, k, x)));
      return bayes * (euler ? (y === x ? 0 : (h * falls) / (a * n)) : kernel(a / b, y, x));
    });
  }
  const total = sum(jumps);
  if (total > 1 && fault !== "probabilities not renormalised") jumps = jumps.map((jump) => jump / total);
  jumps[x] += Math.max(0, 1 - total);
  return jumps;
}

function answer(model, c, fault) {
  if (c.kind === "trajectory") return c.x.map((x, b) => trajectory(model, c, x, c.noise.map((step) => step[b]), fault));
  if (c.kind === "density") {
    const [s, t] = c.levels;
    const h = t[3] - s[3];
    const variance = -t[2] * t[2] * Math.expm1(-2 * h);
    return c.x.map((x, b) => {
      const mean = plus([(t[2] / s[2]) * Math.exp(-h), x], [-t[1] * Math.expm1(-2 * h), denoised(model, x, s)]);
      const square = mean.reduce((sum, m, i) => sum + (c.y[b][i] - m) ** 2, 0);
      return (-0.5 * square) / variance - 0.5 * x.length * Math.log(2 * Math.PI * variance);
    });
  }
  if (c.kind === "grid") {
    const o = c.options;
    if (c.method === "karras") {
      const [a, b] = [o.sigma_max ** (1 / o.rho), o.sigma_min ** (1 / o.rho)];
      return [...Array(o.n + 1).keys()].map((i) => (a + (i / o.n) * (b - a)) ** o.rho).concat(0);
    }
    const times = [...Array(o.n).keys()].map((i) => 1 + (i * (1 / o.n - 1)) / (o.n - 1));
    return times.map((t) => (o.shift * t) / (1 + (o.shift - 1) * t)).concat(0);
  }
  if (c.kind === "noise") {
    const words = c.rows.map((row) => philox(row, fault));
    return c.method === "box-muller" ? words.map((w) => normals(w, fault)) : words;
  }
  if (c.kind === "coefficients") return coefficients(c.method, c.levels, fault);
  if (c.kind === "law") return c.rows.map((row) => law(c, row, fault));
  if (c.kind === "step") return c.rows.map((row, i) => step(c.method, c.probabilities[i], row, fault));
  return c.probabilities.map((p, row) => {
    let total = 0;
    for (let k = 0; k < p.length; k++) {
      total += p[k];
      if (c.uniforms[row] < total) return k;
    }
    return p.findLastIndex((q) => q > 0);
  });
}

const [source, target, fault = ""] = process.argv.slice(2);
const pack = JSON.parse(readFileSync(source, "utf8"));
const results = Object.fromEntries(pack.cases.map((c) => [c.id, answer(pack.model, c, fault)]));
writeFileSync(target, JSON.stringify({ runner: "javascript", version: pack.version, results }));
