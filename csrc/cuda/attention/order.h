// The order in which attention sums over a context. It decides a row's bits and hangs on the positions of tokens alone, so that a row comes out the same in
// a decode step, in a prompt, in any chunk and batch of them, and however its context is shared out over the device.
//
//   tile   64 tokens: scores by mma over D in order, one step of the online softmax, weights (rounded to bf16) times values by mma over tokens in order
//   chunk  64 tokens up to 1,024, 256 up to 8,192, then 1,024: a fresh state takes in its tiles in order
//   span   1,024 tokens up to 8,192, then 8,192: an empty state takes in the states of its chunks in order
//   row    an empty state takes in the states of its spans in order; the result is o / l
//
// A state of some tokens is m, the largest score (in units of log2), l = sum of 2^(score - m) and o = sum of 2^(score - m) v. Short chunks let a short
// context be decoded by many; spans keep few states where many rows share a long context. To take in a state that has seen nothing (-inf, 0, 0) changes no
// bit but the sign of a zero, and results have no negative zeros: so what a row does not see may be computed or passed over.
//
// l is summed beside the tensor core: of each 8 tokens lane t of a row's four has the weights of tokens 2 t and 2 t + 1, as accumulators of mma and wgmma
// alike hold them. A lane adds those of a tile in order, then the tile's sum to its l; when a chunk is complete, the row's l is (l0 + l1) + (l2 + l3). It takes
// weights as they are and o takes them rounded: to round them for l too would cost two more instructions for each pair and change the error of results by
// 0.3 % of itself (relative to float64 1.716e-3, and 1.711e-3 with both rounded, over the cases of the op's tests).
//
// Where products are in e4m3 (codes.h) all of this holds but for one thing: weights times values of a tile begin at zero, and o takes their sum in by a float32
// addition. Weights, l and o are then 2^8 of what they are otherwise, which results do not show.
//
// A token that a row sees and whose value vector is not finite makes the row's whole result NaN; one that it does not see never touches it.
//
// Ideas: online softmax over tiles from FlashAttention-2 (Dao, 2023), states and their joining from Flash-Decoding and FlashInfer.
#pragma once

namespace m2::cuda {

constexpr int kTileTokens = 64;

// The number of tokens of the chunk and of the span that token t lies in. Each begins at a multiple of its size.
constexpr int chunk_size(int t) { return t < 1024 ? 64 : t < 8192 ? 256 : 1024; }
constexpr int span_size(int t) { return t < 8192 ? 1024 : 8192; }
constexpr bool ends_chunk(int end) { return end % chunk_size(end - 1) == 0; }
constexpr bool ends_span(int end) { return end % span_size(end - 1) == 0; }

// How many chunks, and spans, `tokens` tokens reach into.
constexpr int chunks(int tokens) { return tokens <= 1024 ? (tokens + 63) / 64 : tokens <= 8192 ? 12 + (tokens + 255) / 256 : 36 + (tokens + 1023) / 1024; }
constexpr int spans(int tokens) { return tokens <= 8192 ? (tokens + 1023) / 1024 : 7 + (tokens + 8191) / 8192; }
constexpr int span_begin(int span) { return span <= 8 ? 1024 * span : 8192 * (span - 7); }
static_assert(chunks(1024) == 16 && chunks(1025) == 17 && chunks(8192) == 44 && chunks(8193) == 45);
static_assert(spans(8192) == 8 && spans(8193) == 9 && span_begin(8) == 8192 && span_begin(9) == 16384);

}  // namespace m2::cuda
