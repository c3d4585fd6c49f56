// A runner of the vectors in Rust: rustc -O -o runner runner.rs && ./runner vectors.txt results.txt [fault]
use std::{env, fs};

type Vector = Vec<f64>;
type Matrix = Vec<Vector>;
struct Model { weights: Vector, means: Matrix, variances: Vector }
struct Case { id: String, kind: String, method: String, levels: Matrix, x: Matrix, y: Matrix, noise: Vec<Matrix>, probabilities: Matrix, uniforms: Vector, rows: Matrix, options: Vector }

struct Words<'a>(std::str::SplitWhitespace<'a>);
impl<'a> Words<'a> {
    fn word(&mut self) -> String { self.0.next().expect("the vectors end too early").to_string() }
    fn count(&mut self) -> usize { self.word().parse().expect("a length") }
    fn vector(&mut self) -> Vector { (0..self.count()).map(|_| self.word().parse().expect("a number")).collect() }
    fn matrix(&mut self) -> Matrix { (0..self.count()).map(|_| self.vector()).collect() }
    fn cube(&mut self) -> Vec<Matrix> { (0..self.count()).map(|_| self.matrix()).collect() }
}

fn plus(a: f64, x: &Vector, b: f64, y: &Vector) -> Vector { x.iter().zip(y).map(|(p, q)| a * p + b * q).collect() }
fn square(x: &Vector, y: &Vector) -> f64 { x.iter().zip(y).map(|(a, b)| (a - b).powi(2)).sum() }

/// E[x0 | x] of the mixture
fn denoised(model: &Model, x: &Vector, level: &Vector) -> Vector {
    let (alpha, sigma) = (level[1], level[2]);
    let total = |k: usize| alpha * alpha * model.variances[k] + sigma * sigma;
    let centre = |k: usize| -> Vector { model.means[k].iter().map(|m| alpha * m).collect() };
    let logs: Vector = (0..model.weights.len())
        .map(|k| model.weights[k].ln() - 0.5 * x.len() as f64 * total(k).ln() - 0.5 * square(x, &centre(k)) / total(k))
        .collect();
    let top = logs.iter().cloned().fold(f64::NEG_INFINITY, f64::max);
    let gammas: Vector = logs.iter().map(|value| (value - top).exp()).collect();
    let sum: f64 = gammas.iter().sum();
    let mean = |k: usize, i: usize| model.means[k][i] + alpha * model.variances[k] / total(k) * (x[i] - alpha * model.means[k][i]);
    (0..x.len()).map(|i| (0..gammas.len()).map(|k| gammas[k] * mean(k, i)).sum::<f64>() / sum).collect()
}

/// The weight of D_s - D_r
fn memory(h: f64, old: f64, fault: &str) -> f64 {
    match fault {
        "no memory" => 0.0,
        "weights of equal steps" => 0.5,
        "missing factor 1/2" => h / old,
        "step ratio inverted" => 0.5 * old / h,
        "sign of the correction" => -0.5 * h / old,
        _ => 0.5 * h / old,
    }
}

fn trajectory(model: &Model, c: &Case, mut x: Vector, noise: &Matrix, fault: &str) -> Vector {
    let mut past: Option<(f64, Vector)> = None;
    for i in 0..c.levels.len() - 1 {
        let (s, t) = (&c.levels[i], &c.levels[i + 1]);
        let h = t[3] - s[3];
        let d = denoised(model, &x, s);
        if c.method == "heun" {
            let (rho_s, rho_t) = (s[2] / s[1], t[2] / t[1]);
            let y = plus(1.0 / s[1], &x, 0.0, &x);
            let first = plus(1.0 / rho_s, &y, -1.0 / rho_s, &d);
            let u = plus(1.0, &y, rho_t - rho_s, &first);
            let second = plus(1.0 / rho_t, &u, -1.0 / rho_t, &denoised(model, &plus(t[1], &u, 0.0, &u), t));
            x = plus(t[1], &y, 0.5 * t[1] * (rho_t - rho_s), &plus(1.0, &first, 1.0, &second));
        } else if c.method == "ddpm" {
            x = plus(t[2] / s[2] * (-h).exp(), &x, -t[1] * (-2.0 * h).exp_m1(), &d);
            x = plus(1.0, &x, t[2] * (-(-2.0 * h).exp_m1()).sqrt(), &noise[i]);
        } else {
            let mut mixed = d.clone();
            if let (Some((lam, old)), "dpmpp_2m") = (&past, c.method.as_str()) {
                let weight = memory(h, s[3] - lam, fault);
                mixed = plus(1.0 + weight, &d, -weight, old);
            }
            past = Some((s[3], d));
            if !(fault == "last step left out" && c.method == "dpmpp_2m" && i + 2 == c.levels.len()) {
                x = plus(t[2] / s[2], &x, -t[1] * (-h).exp_m1(), &mixed);
            }
        }
    }
    x
}

/// For every step the weights of x_s, D_s, D_r; for unipc_2 those of the corrector besides: of x_s, D_u, D_s, D_r
fn coefficients(c: &Case, fault: &str) -> Vector {
    let (mut out, mut old) = (Vector::new(), 0.0);
    for (i, pair) in c.levels.windows(2).enumerate() {
        let (s, t) = (&pair[0], &pair[1]);
        let h = t[3] - s[3];
        let (ratio, gain) = (t[2] / s[2], -t[1] * (-h).exp_m1());
        let w = if i > 0 && c.method != "ddim" { memory(h, old, fault) } else { 0.0 };
        let g = if fault == "weights of equal steps" { h } else { old };
        let k1 = t[1] * h - gain;
        let k2 = t[1] * h * h - 2.0 * k1;
        let (fresh, last) = if i > 0 { ((k2 + g * k1) / (h * (h + g)), (k2 - h * k1) / (g * (h + g))) } else { (0.5 * gain, 0.0) };
        let row = [ratio, gain * (1.0 + w), -gain * w, ratio, fresh, gain - fresh - last, last];
        out.extend(&row[..match c.method.as_str() { "ddim" => 2, "dpmpp_2m" => 3, _ => 7 }]);
        old = h;
    }
    out
}

/// Mean and standard deviation of the output on N(mean, variance): runs from the mean, each with one source of noise
fn law(c: &Case, mean: f64, variance: f64, fault: &str) -> Vector {
    let model = Model { weights: vec![1.0], means: vec![vec![mean]], variances: vec![variance] };
    let (alpha, sigma, steps) = (c.levels[0][1], c.levels[0][2], c.levels.len() - 1);
    let end = |x: f64, hit: usize| {
        let noise: Matrix = (0..steps).map(|i| vec![if i == hit { 1.0 } else { 0.0 }]).collect();
        trajectory(&model, c, vec![x], &noise, fault)[0]
    };
    let centre = end(alpha * mean, steps);
    let start = (end(alpha * mean + (alpha * alpha * variance + sigma * sigma).sqrt(), steps) - centre).powi(2);
    let total = start + (0..steps).map(|i| (end(alpha * mean, i) - centre).powi(2)).sum::<f64>();
    vec![centre, if fault == "variance in place of standard deviation" { total } else { total.sqrt() }]
}

/// Philox4x32-10 and, where asked for, the normals of its words by Box-Muller
fn noise(row: &Vector, normals: bool, fault: &str) -> Vector {
    let mut c: Vec<u64> = row.iter().map(|word| *word as u64).collect();
    let low = 0xFFFFFFFF_u64;
    for _ in 0..if fault == "seven rounds in place of ten" { 7 } else { 10 } {
        let (p0, p1) = (0xD2511F53 * c[0], 0xCD9E8D57 * c[2]);
        c = vec![(p1 >> 32) ^ c[1] ^ c[4], p1 & low, (p0 >> 32) ^ c[3] ^ c[5], p0 & low, (c[4] + 0x9E3779B9) & low, (c[5] + 0xBB67AE85) & low];
    }
    if !normals { return c[..4].iter().map(|word| *word as f64).collect(); }
    let (pi, unit) = (std::f64::consts::PI, 2.0_f64.powi(-32));
    c[..4].chunks(2).flat_map(|w| {
        let (r, phi) = ((-2.0 * ((w[0] as f64 + 0.5) * unit).ln()).sqrt(), 2.0 * pi * (w[1] as f64 + 0.5) * unit - pi);
        if fault == "sine and cosine swapped" { [r * phi.sin(), r * phi.cos()] } else { [r * phi.cos(), r * phi.sin()] }
    }).collect()
}

/// P(x_t = y | x_s = x) of one token
fn step(method: &str, p: &Vector, row: &Vector, fault: &str) -> Vector {
    let (x, n, a, b, h, falls) = (row[0] as usize, p.len(), row[1], row[2], row[3], row[4]);
    let (absorbing, euler) = (method.starts_with("absorbing"), method.ends_with("euler"));
    let kernel = |share: f64, k: usize, y: usize| (if k == y { share } else { 0.0 }) + (1.0 - share) / n as f64;
    let jump = |y: usize| {
        if absorbing { return if x == n && y < n { (if euler { h * falls } else { b - a }) / (1.0 - a) * p[y] } else { 0.0 }; }
        let bayes: f64 = (0..n).map(|k| p[k] * kernel(if euler { a } else { b }, k, y) / kernel(a, k, x)).sum();
        bayes * if !euler { kernel(a / b, y, x) } else if y == x { 0.0 } else { h * falls / (a * n as f64) }
    };
    let mut jumps: Vector = (0..n + absorbing as usize).map(jump).collect();
    let total: f64 = jumps.iter().sum();
    if total > 1.0 && fault != "probabilities not renormalised" { jumps.iter_mut().for_each(|value| *value /= total); }
    jumps[x] += (1.0 - total).max(0.0);
    jumps
}

fn answer(model: &Model, c: &Case, fault: &str) -> Vector {
    match c.kind.as_str() {
        "trajectory" => c.x.iter().enumerate().flat_map(|(row, x)| {
            let noise: Matrix = c.noise.iter().map(|draws| draws[row].clone()).collect();
            trajectory(model, c, x.clone(), &noise, fault)
        }).collect(),
        "noise" => c.rows.iter().flat_map(|row| noise(row, c.method == "box-muller", fault)).collect(),
        "coefficients" => coefficients(c, fault),
        "law" => c.rows.iter().flat_map(|row| law(c, row[0], row[1], fault)).collect(),
        "step" => c.rows.iter().zip(&c.probabilities).flat_map(|(row, p)| step(&c.method, p, row, fault)).collect(),
        "density" => {
            let (s, t) = (&c.levels[0], &c.levels[1]);
            let h = t[3] - s[3];
            let variance = -t[2] * t[2] * (-2.0 * h).exp_m1();
            let density = |(x, y): (&Vector, &Vector)| {
                let mean = plus(t[2] / s[2] * (-h).exp(), x, -t[1] * (-2.0 * h).exp_m1(), &denoised(model, x, s));
                -0.5 * square(y, &mean) / variance - 0.5 * x.len() as f64 * (2.0 * std::f64::consts::PI * variance).ln()
            };
            c.x.iter().zip(&c.y).map(density).collect()
        }
        "grid" => {
            let o = &c.options;
            let n = o[0] as usize;
            let mut out: Vector = if c.method == "karras" {
                let (a, b) = (o[1].powf(1.0 / o[3]), o[2].powf(1.0 / o[3]));
                (0..=n).map(|i| (a + i as f64 / o[0] * (b - a)).powf(o[3])).collect()
            } else {
                let times = (0..n).map(|i| 1.0 + i as f64 * (1.0 / o[0] - 1.0) / (o[0] - 1.0));
                times.map(|t| o[1] * t / (1.0 + (o[1] - 1.0) * t)).collect()
            };
            out.push(0.0);
            out
        }
        _ => c.probabilities.iter().zip(&c.uniforms).map(|(p, u)| {
            let mut total = 0.0;
            let hit = p.iter().position(|q| { total += q; *u < total });
            hit.unwrap_or_else(|| p.iter().rposition(|q| *q > 0.0).unwrap_or(0)) as f64
        }).collect(),
    }
}

fn main() {
    let given: Vec<String> = env::args().collect();
    let text = fs::read_to_string(&given[1]).expect("vectors.txt");
    let fault = given.get(3).cloned().unwrap_or_default();
    let mut words = Words(text.split_whitespace());
    let _ = (words.word(), words.word());
    let model = Model { weights: words.vector(), means: words.matrix(), variances: words.vector() };
    let mut out = String::new();
    for _ in 0..words.count() {
        let (id, kind, method) = (words.word(), words.word(), words.word());
        let (levels, x, y, noise) = (words.matrix(), words.matrix(), words.matrix(), words.cube());
        let c = Case { id, kind, method, levels, x, y, noise, probabilities: words.matrix(), uniforms: words.vector(), rows: words.matrix(), options: words.vector() };
        let values: Vec<String> = answer(&model, &c, &fault).iter().map(|value| format!("{value:e}")).collect();
        out += &format!("{} {}\n", c.id, values.join(" "));
    }
    fs::write(&given[2], out).expect("results.txt");
}
