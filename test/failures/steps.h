// A small model from a file to its last step, by every way that the host has to the device: weights through the staging buffers, prompts, recorded decode
// steps of which two are in flight, penalties, logprobs, masks, pages copied, read and written.
#pragma once
#include <cstdint>
#include <vector>

namespace m2::test {

// What the model said: ids, logprobs and the bytes of a page. Throws what the model throws.
std::vector<int32_t> load_and_step();

}  // namespace m2::test
