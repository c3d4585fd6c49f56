// A runner of the vectors in C++17: c++ -O2 -std=c++17 -o runner runner.cpp && ./runner vectors.txt results.txt [fault]
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <string>
#include <vector>

using Vector = std::vector<double>;
using Matrix = std::vector<Vector>;
struct Case { std::string id, kind, method; Matrix levels, x, y; std::vector<Matrix> noise; Matrix probabilities; Vector uniforms; Matrix rows; Vector options; };
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

// the weight of D_s - D_r
static double memory(double h, double old, const std::string& fault) {
  if (fault == "no memory") return 0.0;
  if (fault == "weights of equal steps") return 0.5;
  if (fault == "missing factor 1/2") return h / old;
  if (fault == "step ratio inverted") return 0.5 * old / h;
  return (fault == "sign of the correction" ? -0.5 : 0.5) * h / old;
}

static Vector trajectory(const Model& model, const Case& c, Vector x, const Matrix& noise, const std::string& fault) {
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
      x = plus(1.0, x, t[2] * std::sqrt(-std::expm1(-2.0 * h)), noise[i]);
    } else {
      Vector mixed = d;
      if (c.method == "dpmpp_2m" && !old.empty()) {
        const double weight = memory(h, s[3] - before[3], fault);
        mixed = plus(1.0 + weight, d, -weight, old);
      }
      old = d, before = s;
      const bool left = fault == "last step left out" && c.method == "dpmpp_2m" && i + 2 == c.levels.size();
      if (!left) x = plus(t[2] / s[2], x, -t[1] * std::expm1(-h), mixed);
    }
  }
  return x;
}

// for every step the weights of x_s, D_s, D_r; for unipc_2 those of the corrector besides: of x_s, D_u, D_s, D_r
static Vector coefficients(const Case& c, const std::string& fault) {
  Vector out;
  double old = 0.0;
  for (size_t i = 0; i + 1 < c.levels.size(); ++i) {
    const Vector &s = c.levels[i], &t = c.levels[i + 1];
    const double h = t[3] - s[3], ratio = t[2] / s[2], gain = -t[1] * std::expm1(-h), w = i && c.method != "ddim" ? memory(h, old, fault) : 0.0;
    const double g = fault == "weights of equal steps" ? h : old, k1 = t[1] * h - gain, k2 = t[1] * h * h - 2.0 * k1;
    const double fresh = i ? (k2 + g * k1) / (h * (h + g)) : 0.5 * gain, last = i ? (k2 - h * k1) / (g * (h + g)) : 0.0;
    Vector row = {ratio, gain * (1.0 + w), -gain * w, ratio, fresh, gain - fresh - last, last};
    row.resize(c.method == "ddim" ? 2 : c.method == "dpmpp_2m" ? 3 : 7);
    out.insert(out.end(), row.begin(), row.end());
    old = h;
  }
  return out;
}

// mean and standard deviation of the output on N(mean, variance): runs from the mean, each with one source of noise
static Vector law(const Case& c, double mean, double variance, const std::string& fault) {
  const Model model = {{1.0}, {{mean}}, {variance}};
  const size_t steps = c.levels.size() - 1;
  const double alpha = c.levels[0][1], sigma = c.levels[0][2], spread = std::sqrt(alpha * alpha * variance + sigma * sigma);
  Matrix noise(steps, Vector{0.0});
  const double centre = trajectory(model, c, {alpha * mean}, noise, fault)[0];
  double total = std::pow(trajectory(model, c, {alpha * mean + spread}, noise, fault)[0] - centre, 2);
  for (size_t i = 0; i < steps; ++i) {
    noise[i][0] = 1.0;
    total += std::pow(trajectory(model, c, {alpha * mean}, noise, fault)[0] - centre, 2);
    noise[i][0] = 0.0;
  }
  return {centre, fault == "variance in place of standard deviation" ? total : std::sqrt(total)};
}

// Philox4x32-10 and, where asked for, the normals of its words by Box-Muller
static Vector noise(const Vector& row, bool normals, const std::string& fault) {
  std::vector<uint64_t> c(row.begin(), row.end());
  const uint64_t low = 0xFFFFFFFF;
  for (int i = 0; i < (fault == "seven rounds in place of ten" ? 7 : 10); ++i) {
    const uint64_t p0 = 0xD2511F53 * c[0], p1 = 0xCD9E8D57 * c[2];
    c = {(p1 >> 32) ^ c[1] ^ c[4], p1 & low, (p0 >> 32) ^ c[3] ^ c[5], p0 & low, (c[4] + 0x9E3779B9) & low, (c[5] + 0xBB67AE85) & low};
  }
  if (!normals) return Vector(c.begin(), c.begin() + 4);
  const double pi = std::acos(-1.0), unit = std::ldexp(1.0, -32);
  Vector out;
  for (int i = 0; i < 4; i += 2) {
    const double r = std::sqrt(-2.0 * std::log((c[i] + 0.5) * unit)), phi = 2.0 * pi * (c[i + 1] + 0.5) * unit - pi;
    out.push_back(r * std::cos(phi)), out.push_back(r * std::sin(phi));
    if (fault == "sine and cosine swapped") std::swap(out[i], out[i + 1]);
  }
  return out;
}

// P(x_t = y | x_s = x) of one token
static Vector step(const std::string& method, const Vector& p, const Vector& row, const std::string& fault) {
  const size_t n = p.size(), x = static_cast<size_t>(row[0]);
  const double a = row[1], b = row[2], h = row[3], falls = row[4];
  const bool absorbing = method.find("absorbing") == 0, euler = method.find("euler") != std::string::npos;
  const auto kernel = [n](double share, size_t k, size_t y) { return share * (k == y) + (1.0 - share) / n; };
  Vector jumps(absorbing ? n + 1 : n, 0.0);
  double total = 0.0;
  for (size_t y = 0; y < n; ++y) {
    double bayes = 0.0;
    for (size_t k = 0; k < n; ++k) bayes += p[k] * kernel(euler ? a : b, k, y) / kernel(a, k, x);
    if (absorbing) jumps[y] = x == n ? (euler ? h * falls : b - a) / (1.0 - a) * p[y] : 0.0;
    else jumps[y] = bayes * (!euler ? kernel(a / b, y, x) : y == x ? 0.0 : h * falls / (a * n));
    total += jumps[y];
  }
  if (total > 1.0 && fault != "probabilities not renormalised") for (double& jump : jumps) jump /= total;
  jumps[x] += std::max(0.0, 1.0 - total);
  return jumps;
}

static Vector answer(const Model& model, const Case& c, const std::string& fault) {
  Vector out;
  if (c.kind == "trajectory")
    for (size_t row = 0; row < c.x.size(); ++row) {
      Matrix noise;
      for (const Matrix& draws : c.noise) noise.push_back(draws[row]);
      for (double value : trajectory(model, c, c.x[row], noise, fault)) out.push_back(value);
    }
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
  if (c.kind == "coefficients") return coefficients(c, fault);
  for (size_t i = 0; i < c.rows.size(); ++i) {
    const Vector& row = c.rows[i];
    const Vector values = c.kind == "noise" ? noise(row, c.method == "box-muller", fault)
                          : c.kind == "law" ? law(c, row[0], row[1], fault) : step(c.method, c.probabilities[i], row, fault);
    out.insert(out.end(), values.begin(), values.end());
  }
  if (c.kind == "draw") for (size_t row = 0; row < c.probabilities.size(); ++row) {
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
    read(in, c.levels), read(in, c.x), read(in, c.y), read(in, c.noise), read(in, c.probabilities), read(in, c.uniforms), read(in, c.rows), read(in, c.options);
    out << c.id << std::setprecision(17);
    for (double value : answer(model, c, fault)) out << ' ' << value;
    out << '\n';
  }
  return 0;
}
