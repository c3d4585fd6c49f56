// A runner of the vectors in C++17: c++ -O2 -std=c++17 -o runner runner.cpp && ./runner vectors.txt results.txt [fault]
#include <algorithm>
#include <cmath>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <string>
#include <vector>

using Vector = std::vector<double>;
using Matrix = std::vector<Vector>;
struct Case { std::string id, kind, method; Matrix levels, x, y; std::vector<Matrix> noise; Matrix probabilities; Vector uniforms, options; };
struct Model { Vector weights; Matrix means; Vector variances; };

static void read(std::istream& in, double& value) { std::string word; in >> word; value = std::stod(word); }
template <class T> static void read(std::istream& in, std::vector<T>& values) {
  size_t n = 0;
  in >> n;
  values.resize(n);
  for (auto& value : values) read(in, value);
}
static Vector plus(double a, const Vector& x, double b, const Vector& y) {
  Vector out(x.size());
  for (size_t i = 0; i < x.size(); ++i) out[i] = a * x[i] + b * y[i];
  return out;
}

// E[x0 | x] of the mixture
static Vector denoised(const Model& model, const Vector& x, const Vector& level) {
  const double alpha = level[1], sigma = level[2];
  Vector logs, out(x.size(), 0.0);
  for (size_t k = 0; k < model.weights.size(); ++k) {
    const double total = alpha * alpha * model.variances[k] + sigma * sigma;
    double square = 0.0;
    for (size_t i = 0; i < x.size(); ++i) square += std::pow(x[i] - alpha * model.means[k][i], 2);
    logs.push_back(std::log(model.weights[k]) - 0.5 * x.size() * std::log(total) - 0.5 * square / total);
  }
  const double top = *std::max_element(logs.begin(), logs.end());
  double sum = 0.0;
  for (size_t k = 0; k < logs.size(); ++k) {
    const double gamma = std::exp(logs[k] - top), v = model.variances[k], gain = alpha * v / (alpha * alpha * v + sigma * sigma);
    sum += gamma;
    for (size_t i = 0; i < x.size(); ++i) out[i] += gamma * (model.means[k][i] + gain * (x[i] - alpha * model.means[k][i]));
  }
  for (auto& value : out) value /= sum;
  return out;
}

static Vector trajectory(const Model& model, const Case& c, Vector x, size_t row, const std::string& fault) {
  Vector old, before;
  for (size_t i = 0; i + 1 < c.levels.size(); ++i) {
    const Vector &s = c.levels[i], &t = c.levels[i + 1];
    const double h = t[3] - s[3];
    const Vector d = denoised(model, x, s);
    if (c.method == "heun") {
      const double rho_s = s[2] / s[1], rho_t = t[2] / t[1], step = rho_t - rho_s;
      const Vector y = plus(1.0 / s[1], x, 0.0, x), first = plus(1.0 / rho_s, y, -1.0 / rho_s, d), u = plus(1.0, y, step, first);
      const Vector second = plus(1.0 / rho_t, u, -1.0 / rho_t, denoised(model, plus(t[1], u, 0.0, u), t));
      x = plus(t[1], y, 0.5 * t[1] * step, plus(1.0, first, 1.0, second));
    } else if (c.method == "ddpm") {
      x = plus(t[2] / s[2] * std::exp(-h), x, -t[1] * std::expm1(-2.0 * h), d);
      x = plus(1.0, x, t[2] * std::sqrt(-std::expm1(-2.0 * h)), c.noise[i][row]);
    } else {
      Vector mixed = d;
      if (c.method == "dpmpp_2m" && !old.empty() && fault != "no memory") {
        const double h_old = s[3] - before[3];
        double weight = 0.5 * h / h_old;
        if (fault == "missing factor 1/2") weight = h / h_old;
        if (fault == "step ratio inverted") weight = 0.5 * h_old / h;
        if (fault == "sign of the correction") weight = -weight;
        mixed = plus(1.0 + weight, d, -weight, old);
      }
      old = d, before = s;
      const bool left = fault == "last step left out" && c.method == "dpmpp_2m" && i + 2 == c.levels.size();
      if (!left) x = plus(t[2] / s[2], x, -t[1] * std::expm1(-h), mixed);
    }
  }
  return x;
}

static Vector answer(const Model& model, const Case& c, const std::string& fault) {
  Vector out;
  if (c.kind == "trajectory")
    for (size_t row = 0; row < c.x.size(); ++row)
      for (double value : trajectory(model, c, c.x[row], row, fault)) out.push_back(value);
  if (c.kind == "density")
    for (size_t row = 0; row < c.x.size(); ++row) {
      const Vector &s = c.levels[0], &t = c.levels[1], &x = c.x[row];
      const double h = t[3] - s[3], variance = -t[2] * t[2] * std::expm1(-2.0 * h), pi = std::acos(-1.0);
      const Vector mean = plus(t[2] / s[2] * std::exp(-h), x, -t[1] * std::expm1(-2.0 * h), denoised(model, x, s));
      double square = 0.0;
      for (size_t i = 0; i < x.size(); ++i) square += std::pow(c.y[row][i] - mean[i], 2);
      out.push_back(-0.5 * square / variance - 0.5 * x.size() * std::log(2.0 * pi * variance));
    }
  if (c.kind == "grid") {
    const int n = static_cast<int>(c.options[0]);
    if (c.method == "karras") {
      const double rho = c.options[3], a = std::pow(c.options[1], 1.0 / rho), b = std::pow(c.options[2], 1.0 / rho);
      for (int i = 0; i <= n; ++i) out.push_back(std::pow(a + double(i) / n * (b - a), rho));
    } else {
      const double shift = c.options[1];
      for (int i = 0; i < n; ++i) { const double t = 1.0 + i * (1.0 / n - 1.0) / (n - 1); out.push_back(shift * t / (1.0 + (shift - 1.0) * t)); }
    }
    out.push_back(0.0);
  }
  for (size_t row = 0; row < c.probabilities.size(); ++row) {
    double total = 0.0;
    int token = -1, last = 0;
    for (size_t k = 0; k < c.probabilities[row].size(); ++k) {
      total += c.probabilities[row][k];
      if (c.probabilities[row][k] > 0.0) last = static_cast<int>(k);
      if (token < 0 && c.uniforms[row] < total) token = static_cast<int>(k);
    }
    out.push_back(token < 0 ? last : token);
  }
  return out;
}

int main(int argc, char** argv) {
  if (argc < 3) { std::cerr << "runner vectors.txt results.txt [fault]\n"; return 2; }
  std::ifstream in(argv[1]);
  std::ofstream out(argv[2]);
  const std::string fault = argc > 3 ? argv[3] : "";
  std::string word;
  int version = 0, cases = 0;
  in >> word >> version;
  Model model;
  read(in, model.weights), read(in, model.means), read(in, model.variances);
  in >> cases;
  for (int i = 0; i < cases && in; ++i) {
    Case c;
    in >> c.id >> c.kind >> c.method;
    read(in, c.levels), read(in, c.x), read(in, c.y), read(in, c.noise), read(in, c.probabilities), read(in, c.uniforms), read(in, c.options);
    out << c.id << std::setprecision(17);
    for (double value : answer(model, c, fault)) out << ' ' << value;
    out << '\n';
  }
  return 0;
}
