#include "text/vocab.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "text/hash.h"

namespace sluice::text {

void Vocab::reserve(size_t size, size_t bytes) {
  entries_.reserve(size);
  arena_.reserve(bytes);
  table_.assign(std::bit_ceil(std::max<size_t>(size, 8) * 2), 0);
}

// The slot that holds `token`, or the empty one where it belongs.
size_t Vocab::slot_of(std::string_view wanted, uint32_t tag) const {
  const size_t mask = table_.size() - 1;
  for (size_t slot = tag & mask;; slot = (slot + 1) & mask) {
    const uint64_t value = table_[slot];
    if (value == 0) return slot;
    if (value >> 32 == tag && token(static_cast<int32_t>(value & 0xFFFFFFFF) - 1) == wanted) return slot;
  }
}

void Vocab::grow_table() {
  if ((count_ + 1) * 2 <= table_.size()) return;
  const std::vector<uint64_t> old =
      std::exchange(table_, std::vector<uint64_t>(std::max<size_t>(table_.size() * 2, 64)));
  const size_t mask = table_.size() - 1;
  for (const uint64_t value : old) {
    if (value == 0) continue;
    size_t slot = value >> 32 & mask;
    while (table_[slot] != 0) slot = (slot + 1) & mask;
    table_[slot] = value;
  }
}

// Makes room for `id`, which must be free.
Status Vocab::check_free(int32_t id, std::string_view spelling) {
  if (id < 0 || id >= kMaxSize)
    return corrupt("token \"{}\" has id {}, outside [0, {})", spelling, id, kMaxSize);
  if (spelling.size() > kMaxTokenBytes) {
    return corrupt("the token of id {} has {} bytes, the limit is {}", id, spelling.size(), kMaxTokenBytes);
  }
  if (id >= size()) entries_.resize(static_cast<size_t>(id) + 1);
  if (is_defined(id)) return corrupt("id {} is given to \"{}\" and to \"{}\"", id, token(id), spelling);
  return {};
}

void Vocab::define(int32_t id, std::string_view spelling, uint8_t flags) {
  entries_[static_cast<size_t>(id)] = {arena_.size(), static_cast<uint32_t>(spelling.size()),
                                       static_cast<uint8_t>(flags | kDefined)};
  arena_ += spelling;
  max_length_ = std::max(max_length_, spelling.size());
}

Status Vocab::add(int32_t id, std::string_view spelling, uint8_t flags) {
  SLUICE_TRY(check_free(id, spelling));
  grow_table();
  const auto tag = static_cast<uint32_t>(hash_bytes(spelling));
  uint64_t& slot = table_[slot_of(spelling, tag)];
  if (slot != 0) return corrupt("token \"{}\" has ids {} and {}", spelling, (slot & 0xFFFFFFFF) - 1, id);
  slot = uint64_t{tag} << 32 | (static_cast<uint64_t>(id) + 1);
  ++count_;
  define(id, spelling, flags);
  return {};
}

Status Vocab::add_duplicate(int32_t id, std::string_view spelling, uint8_t flags) {
  SLUICE_TRY(check_free(id, spelling));
  define(id, spelling, flags);
  duplicates_.push_back(id);
  return {};
}

void Vocab::set_special(int32_t id) {
  entries_[static_cast<size_t>(id)].flags |= kSpecial;
  if (duplicates_.empty()) return;
  entries_[static_cast<size_t>(*find(token(id)))].flags |= kSpecial;
  for (const int32_t other : duplicates_) {
    if (token(other) == token(id)) entries_[static_cast<size_t>(other)].flags |= kSpecial;
  }
}

std::optional<int32_t> Vocab::find(std::string_view wanted) const {
  if (wanted.size() > max_length_ || table_.empty()) return std::nullopt;
  const uint64_t value = table_[slot_of(wanted, static_cast<uint32_t>(hash_bytes(wanted)))];
  if (value == 0) return std::nullopt;
  return static_cast<int32_t>(value & 0xFFFFFFFF) - 1;
}

size_t Vocab::memory_bytes() const {
  return arena_.capacity() + entries_.capacity() * sizeof(Entry) + table_.capacity() * sizeof(uint64_t);
}

}  // namespace sluice::text
