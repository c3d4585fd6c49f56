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
      if (method === "dpmpp_2m" && past !== null && fault !== "no memory") {
        const hOld = s[3] - past[0][3];
        let weight = (0.5 * h) / hOld;
        if (fault === "missing factor 1/2") weight = h / hOld;
        if (fault === "step ratio inverted") weight = (0.5 * hOld) / h;
        if (fault === "sign of the correction") weight = -weight;
        mixed = plus([1 + weight, d], [-weight, past[1]]);
      }
      past = [s, d];
      const left = fault === "last step left out" && method === "dpmpp_2m" && i === levels.length - 2;
      if (!left) x = plus([t[2] / s[2], x], [-t[1] * Math.expm1(-h), mixed]);
    }
  }
  return x;
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
