// A runner of the vectors in Rust: rustc -O -o runner runner.rs && ./runner vectors.txt results.txt [fault]
use std::{env, fs};

type Vector = Vec<f64>;
type Matrix = Vec<Vector>;
struct Model { weights: Vector, means: Matrix, variances: Vector }
struct Case { id: String, kind: String, method: String, levels: Matrix, x: Matrix, y: Matrix, noise: Vec<Matrix>, probabilities: Matrix, uniforms: Vector, options: Vector }

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

fn trajectory(model: &Model, c: &Case, mut x: Vector, row: usize, fault: &str) -> Vector {
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
            x = plus(1.0, &x, t[2] * (-(-2.0 * h).exp_m1()).sqrt(), &c.noise[i][row]);
        } else {
            let mut mixed = d.clone();
            if let (Some((lam, old)), "dpmpp_2m", true) = (&past, c.method.as_str(), fault != "no memory") {
                let h_old = s[3] - lam;
                let weight = match fault {
                    "missing factor 1/2" => h / h_old,
                    "step ratio inverted" => 0.5 * h_old / h,
                    "sign of the correction" => -0.5 * h / h_old,
                    _ => 0.5 * h / h_old,
                };
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

fn answer(model: &Model, c: &Case, fault: &str) -> Vector {
    match c.kind.as_str() {
        "trajectory" => c.x.iter().enumerate().flat_map(|(row, x)| trajectory(model, c, x.clone(), row, fault)).collect(),
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
        let c = Case { id, kind, method, levels, x, y, noise, probabilities: words.matrix(), uniforms: words.vector(), options: words.vector() };
        let values: Vec<String> = answer(&model, &c, &fault).iter().map(|value| format!("{value:e}")).collect();
        out += &format!("{} {}\n", c.id, values.join(" "));
    }
    fs::write(&given[2], out).expect("results.txt");
}
