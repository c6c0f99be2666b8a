// One token from each row of logits, as SampleArgs says. Scores are float32, as the logits are; probabilities and the Gumbel noise are float64. A vocabulary
// is never sorted: the best k come from one pass that skips what is below the k-th so far, the best p from halving what can matter, and a draw from
// the whole vocabulary makes noise only for tokens that it could still lift to the top.
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/philox.h"
#include "cpu/launchers.h"

namespace m2::cpu {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr double kMostNoise = 22.9;  // of -log(-log(u)), u = 1 - 2^-33

struct Candidate {
  float logit;
  int32_t id;
};
bool better(const Candidate& a, const Candidate& b) { return a.logit > b.logit || (a.logit == b.logit && a.id < b.id); }

// A row of scores with the kernels that pass over it. Scores of -inf stand for tokens that cannot come.
struct Row {
  const Kernels& kernels;
  const float* x;
  int64_t size;

  RowFacts facts() const { return kernels.row_facts(x, size); }
  bool usable(const RowFacts& f) const { return !f.has_nan && f.largest > -kInfinity; }
  // The lowest id of the largest score.
  int32_t argmax(float largest) const { return static_cast<int32_t>(kernels.find_greater(x, 0, size, std::nextafter(largest, -kInfinity))); }

  template <class Body>  // body(id) gives the bound from there on
  void each_above(float bound, const Body& body) const {
    for (int64_t i = kernels.find_greater(x, 0, size, bound); i < size; i = kernels.find_greater(x, i + 1, size, bound)) {
      bound = body(static_cast<int32_t>(i));
    }
  }

  // The k best, the best first; fewer where fewer can come.
  std::vector<Candidate> best(int64_t k) const {
    std::vector<Candidate> found;
    const size_t full = 2 * k + 128;
    float bound = -kInfinity;
    each_above(bound, [&](int32_t id) {
      found.push_back({x[id], id});
      if (found.size() == full) {
        std::nth_element(found.begin(), found.begin() + (k - 1), found.end(), better);
        found.resize(k);
        bound = found[k - 1].logit;  // an equal one further on has a higher id
      }
      return bound;
    });
    const int64_t count = std::min<int64_t>(k, found.size());
    std::partial_sort(found.begin(), found.begin() + count, found.end(), better);
    found.resize(count);
    return found;
  }
};

// The mask of row n, or null: every id may come.
const int32_t* mask_of(const SampleArgs& a, int64_t n) {
  const int32_t mask = a.mask_index ? a.mask_index.as<int32_t>()[n] : -1;
  return mask < 0 ? nullptr : a.mask_bits.as<int32_t>() + mask * a.mask_bits.size(1);
}

constexpr std::array<uint32_t, 32> kBit = [] {
  std::array<uint32_t, 32> bit{};
  for (int i = 0; i < 32; i++) bit[i] = uint32_t{1} << i;
  return bit;
}();

// -inf for those of 32 scores whose bits are clear. On words and with the bits from a table: so compilers make vectors of it.
void keep_set(uint32_t bits, float* scores) {
  constexpr uint32_t kNever = std::bit_cast<uint32_t>(-kInfinity);
  std::array<uint32_t, 32> words;
  std::memcpy(words.data(), scores, sizeof words);
  for (int i = 0; i < 32; i++) {
    const uint32_t keep = (bits & kBit[i]) == 0 ? 0 : UINT32_MAX;
    words[i] = (words[i] & keep) | (kNever & ~keep);
  }
  std::memcpy(scores, words.data(), sizeof words);
}

// -inf for what the mask lacks and what is banned, a word of 32 ids at a time: most words are of one kind.
void keep_allowed(const int32_t* mask, const int32_t* banned, float* x, int64_t vocab) {
  const auto allowed = [&](int64_t word) { return static_cast<uint32_t>((mask ? mask[word] : -1) & ~(banned ? banned[word] : 0)); };
  const int64_t whole = vocab / 32, rest = vocab % 32;
  for (int64_t word = 0; word < whole; word++) {
    const uint32_t bits = allowed(word);
    if (bits == UINT32_MAX) continue;
    if (bits == 0) std::fill_n(x + word * 32, 32, -kInfinity);
    else keep_set(bits, x + word * 32);
  }
  if (rest == 0) return;
  std::array<float, 32> last{};
  std::copy_n(x + whole * 32, rest, last.data());
  keep_set(allowed(whole), last.data());
  std::copy_n(last.data(), rest, x + whole * 32);
}

// What the row of sample n has seen, [V].
int32_t* history_of(const SampleArgs& a, int64_t n) { return a.history.as<int32_t>() + a.rows.as<int32_t>()[n] * a.history.size(1); }

// Bias, penalties, then mask and bans.
void adjust(const SampleArgs& a, int64_t n, float* x) {
  const SamplingOptions& o = a.options[n];
  const int64_t vocab = a.logits.size(1);
  if (a.bias_offsets) {
    const int32_t *offsets = a.bias_offsets.as<int32_t>(), *ids = a.bias_ids.as<int32_t>();
    for (int32_t i = offsets[n]; i < offsets[n + 1]; i++) x[ids[i]] += a.bias_values.as<float>()[i];
  }
  if (o.has_penalties()) {
    const int32_t* history = history_of(a, n);
    for (int64_t v = 0; v < vocab; v++) {
      if (history[v] == 0) continue;
      const int32_t count = history[v] / 2;
      x[v] = x[v] > 0 ? x[v] / o.repetition_penalty : x[v] * o.repetition_penalty;
      if (count > 0) x[v] -= o.presence_penalty + o.frequency_penalty * static_cast<float>(count);
    }
  }
  const int32_t *mask = mask_of(a, n), *banned = a.banned ? a.banned.as<int32_t>() : nullptr;
  if (mask || banned) keep_allowed(mask, banned, x, vocab);
}

bool adjusts(const SampleArgs& a, int64_t n) {
  const SamplingOptions& o = a.options[n];
  return a.banned || mask_of(a, n) || (a.bias_offsets && a.bias_offsets.as<int32_t>()[n] != a.bias_offsets.as<int32_t>()[n + 1]) ||
         o.has_penalties();
}

// Gumbel noise of a token; four ids share a Philox block.
class Noise {
 public:
  explicit Noise(const SamplingOptions& o) : position_(o.position), sample_(o.sample_index), key_{static_cast<uint32_t>(o.seed), static_cast<uint32_t>(o.seed >> 32)} {}
  double operator()(int32_t id) {
    const uint32_t block = static_cast<uint32_t>(id) / 4;
    if (block != block_) words_ = philox({position_, sample_, block_ = block, 0}, key_);
    return -std::log(-std::log((words_[id % 4] + 0.5) * 0x1p-32));
  }

 private:
  uint32_t position_, sample_, block_ = UINT32_MAX;
  std::array<uint32_t, 2> key_;
  std::array<uint32_t, 4> words_{};
};

// The draw from one row: what the truncations leave, then the largest of scores with noise.
class Draw {
 public:
  Draw(const Row& row, const SamplingOptions& o, float largest) : row_(row), o_(o), largest_(largest), noise_(o) {}

  int32_t token() {
    if (o_.top_k > 0 && o_.top_k < row_.size) keep(row_.best(o_.top_k));
    if (o_.top_p < 1) keep_top_p();
    if (o_.min_p > 0) keep_min_p();
    int32_t best = row_.argmax(largest_);
    double most = noise_(best);
    const auto consider = [&](int32_t id) {
      const double score = exponent(row_.x[id]) + noise_(id);
      if (score > most || (score == most && id < best)) {
        most = score;
        best = id;
      }
      return below(most - kMostNoise);
    };
    if (truncated_) {
      for (const Candidate& c : left_) consider(c.id);
    } else {
      row_.each_above(below(most - kMostNoise), consider);
    }
    return best;
  }

 private:
  double exponent(float logit) const { return (static_cast<double>(logit) - largest_) / o_.temperature; }
  double weight(float logit) const { return std::exp(exponent(logit)); }
  // A bound under every logit whose exponent is at least `exponent`.
  float below(double exponent) const { return std::nextafter(static_cast<float>(largest_ + exponent * o_.temperature), -kInfinity); }

  void keep(std::vector<Candidate> left) {
    left_ = std::move(left);
    truncated_ = true;
  }

  void keep_above(float bound) {
    std::vector<Candidate> found;
    row_.each_above(bound, [&](int32_t id) {
      found.push_back({row_.x[id], id});
      return bound;
    });
    keep(std::move(found));
  }

  // The token at which the weights of the best reach their share is found by halving: no sort.
  void keep_top_p() {
    const double rest = 1.0 - o_.top_p;
    double total = 0;
    if (truncated_) {
      for (const Candidate& c : left_) total += weight(c.logit);
    } else {
      const float inverse = std::min(1 / o_.temperature, std::numeric_limits<float>::max());  // finite: 0 times it is 0
      total = row_.kernels.sum_exp(row_.x, row_.size, largest_, inverse);
      keep_above(below(std::log(rest * total / static_cast<double>(row_.size))));  // those of less weight are less than the rest together
    }
    double missing = o_.top_p * total;
    auto first = left_.begin(), last = left_.end();
    while (last - first > 1) {
      const auto middle = first + (last - first) / 2;
      std::nth_element(first, middle, last, better);
      double sum = 0;
      for (auto c = first; c != middle; c++) sum += weight(c->logit);
      if (sum >= missing) {
        last = middle;
      } else {
        missing -= sum;
        first = middle;
      }
    }
    left_.erase(last, left_.end());
  }

  void keep_min_p() {
    if (!truncated_) keep_above(below(std::log(static_cast<double>(o_.min_p))));
    std::erase_if(left_, [&](const Candidate& c) { return weight(c.logit) < o_.min_p; });
  }

  const Row& row_;
  const SamplingOptions& o_;
  float largest_;
  Noise noise_;
  bool truncated_ = false;
  std::vector<Candidate> left_;  // when truncated
};

void write_logprobs(const SampleArgs& a, int64_t n, const Row& raw, float largest, int32_t id) {
  const double log_sum = largest + std::log(raw.kernels.sum_exp(raw.x, raw.size, largest, 1));
  a.logprobs.as<float>()[n] = static_cast<float>(raw.x[id] - log_sum);
  const int64_t count = a.options[n].logprobs;
  if (count == 0) return;
  int32_t* ids = a.top_ids.as<int32_t>() + n * a.top_ids.size(1);
  float* logprobs = a.top_logprobs.as<float>() + n * a.top_ids.size(1);
  const std::vector<Candidate> best = raw.best(count);
  const int64_t found = static_cast<int64_t>(best.size());
  for (int64_t i = 0; i < found; i++) {
    ids[i] = best[i].id;
    logprobs[i] = static_cast<float>(best[i].logit - log_sum);
  }
  for (int64_t i = found, v = 0; i < count; v++) {  // the rest have probability 0, in the order of ids
    if (raw.x[v] > -kInfinity) continue;
    ids[i] = static_cast<int32_t>(v);
    logprobs[i++] = -kInfinity;
  }
}

int32_t sample_row(const SampleArgs& a, int64_t n, const Row& raw, float* scores) {
  const SamplingOptions& o = a.options[n];
  const RowFacts raw_facts = raw.facts();
  if (!raw.usable(raw_facts) || raw_facts.largest == kInfinity) return -1;
  Row row = raw;
  RowFacts facts = raw_facts;
  if (adjusts(a, n)) {
    std::copy(raw.x, raw.x + raw.size, scores);
    adjust(a, n, scores);
    row.x = scores;
    facts = row.facts();
    if (!row.usable(facts)) return mask_of(a, n) && !facts.has_nan ? -2 : -1;
  }
  const int32_t id = o.temperature == 0 || facts.largest == kInfinity ? row.argmax(facts.largest) : Draw(row, o, facts.largest).token();
  if (o.logprobs >= 0) write_logprobs(a, n, raw, raw_facts.largest, id);
  return id;
}

// The row's target, with its logprob.
int32_t score_row(const SampleArgs& a, int64_t n, const Row& raw) {
  const RowFacts facts = raw.facts();
  if (!raw.usable(facts) || facts.largest == kInfinity) return -1;
  const int32_t id = a.targets.as<int32_t>()[n];
  if (a.options[n].logprobs >= 0) write_logprobs(a, n, raw, facts.largest, id);
  return id;
}

}  // namespace

void sample(Machine& m, const SampleArgs& a) {
  const int64_t rows = a.logits.size(0), vocab = a.logits.size(1);
  const float* logits = a.logits.as<float>();
  float* scores = m.shared(m.pool.threads() * vocab);
  m.pool.run(rows, rows * vocab, [&](int64_t n, int worker) {
    if (a.rows.as<int32_t>()[n] < 0) return;
    const Row raw{m.kernels, logits + n * vocab, vocab};
    const int32_t id = a.targets ? score_row(a, n, raw) : sample_row(a, n, raw, scores + worker * vocab);
    a.ids.as<int32_t>()[n] = id;
    if (a.targets) return;
    a.last_ids.as<int32_t>()[a.rows.as<int32_t>()[n]] = std::max(id, 0);
    if (id >= 0 && a.options[n].has_penalties()) history_of(a, n)[id] += 2;
  });
}

}  // namespace m2::cpu
