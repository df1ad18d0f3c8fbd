// Runs a fuzz target on a fixed set of seeded random inputs, so that every ordinary build also exercises it.
// Usage: narke_<module>_<x>_fuzz [FILE...]; with files it replays those inputs instead.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <random>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size_bytes);

namespace {

constexpr uint32_t kInputs = 2000, kLeastInputs = 200;
constexpr std::chrono::seconds kEnough{20};  // some hosts take long for what an input opens and closes
constexpr size_t kMaxSizeBytes = 1024;

std::vector<uint8_t> RandomInput(uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<uint8_t> input(random() % kMaxSizeBytes);
  for (uint8_t& byte : input) byte = static_cast<uint8_t>(random());
  return input;
}

bool ReplayFile(const char* path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    std::fprintf(stderr, "cannot open the input %s; check the path\n", path);
    return false;
  }
  const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
  LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    if (!ReplayFile(argv[i])) return 1;
  }
  if (argc > 1) return 0;
  const auto until = std::chrono::steady_clock::now() + kEnough;
  uint32_t seed = 0;
  for (; seed < kInputs && (seed < kLeastInputs || std::chrono::steady_clock::now() < until); ++seed) {
    const std::vector<uint8_t> input = RandomInput(seed);
    LLVMFuzzerTestOneInput(input.data(), input.size());
  }
  std::printf("%u inputs\n", seed);
  return 0;
}
