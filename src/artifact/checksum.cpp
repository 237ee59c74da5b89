#include "artifact/checksum.h"

#include <xxhash.h>

#include <algorithm>
#include <vector>

namespace sluice::artifact {
namespace {

std::string to_hex(XXH128_hash_t hash) { return fmt::format("{:016x}{:016x}", hash.high64, hash.low64); }

}  // namespace

void Checksum::Free::operator()(XXH3_state_s* state) const { XXH3_freeState(state); }

Checksum::Checksum() : state_(XXH3_createState()) {
  if (state_ == nullptr) throw std::bad_alloc();
  XXH3_128bits_reset(state_.get());
}

void Checksum::update(std::span<const std::byte> bytes) {
  XXH3_128bits_update(state_.get(), bytes.data(), bytes.size());
}

std::string Checksum::hex() const { return to_hex(XXH3_128bits_digest(state_.get())); }

std::string checksum_of(std::string_view text) { return to_hex(XXH3_128bits(text.data(), text.size())); }

Result<std::string> checksum_of(const File& file) {
  constexpr uint64_t kPiece = 1 << 20;
  std::vector<std::byte> piece(std::min(kPiece, file.size()));
  Checksum checksum;
  for (uint64_t offset = 0; offset < file.size(); offset += kPiece) {
    const std::span bytes = std::span(piece).first(std::min(kPiece, file.size() - offset));
    SLUICE_TRY(file.read_at(offset, bytes));
    checksum.update(bytes);
  }
  return checksum.hex();
}

}  // namespace sluice::artifact
