#include "model/checkpoint/gguf.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <numeric>
#include <unordered_set>

#include "base/checked.h"
#include "model/checkpoint/ggml_types.h"
#include "model/checkpoint/quoted_name.h"

namespace sluice::model {
namespace {

static_assert(std::endian::native == std::endian::little, "numbers are read as they lie in the file");

// Real files have some fifty keys and some thousand tensors. The limits bound what a small hostile file can
// make us allocate; longer names are refused by ggml too.
constexpr uint64_t kMaxKeys = 1 << 16;
constexpr uint64_t kMaxTensors = 1 << 20;
constexpr uint64_t kMaxKeyBytes = 65535;
constexpr uint64_t kMaxNameBytes = 63;
constexpr uint32_t kMaxDims = 4;
constexpr uint64_t kMaxAlignment = 1 << 20;
constexpr uint64_t kDefaultAlignment = 32;

class Parser {
 public:
  Parser(std::span<const std::byte> file, const std::string& origin) : file_(file), origin_(origin) {
    header_.metadata = GgufMetadata(origin);
  }

  Result<GgufHeader> run() {
    uint64_t tensor_count = 0, key_count = 0;
    SLUICE_TRY(read_counts(tensor_count, key_count));
    for (uint64_t i = 0; i < key_count; ++i) SLUICE_TRY(read_pair());
    SLUICE_ASSIGN(const uint64_t alignment, gguf_alignment(header_.metadata));
    header_.tensors.reserve(tensor_count);
    for (uint64_t i = 0; i < tensor_count; ++i) SLUICE_TRY(read_tensor());
    SLUICE_TRY(place_tensors(alignment));
    return std::move(header_);
  }

 private:
  uint64_t left() const { return file_.size() - at_; }

  Status truncated(std::string_view what) const {
    return corrupt("{}: the file ends inside {} at byte {}; it is truncated or corrupt, fetch it again",
                   origin_, what, file_.size());
  }

  template <typename T>
  Status read(T& out, std::string_view what) {
    if (left() < sizeof(T)) return truncated(what);
    std::memcpy(&out, file_.data() + at_, sizeof(T));
    at_ += sizeof(T);
    return {};
  }

  Status read_string(std::string_view& out, std::string_view what) {
    uint64_t length = 0;
    SLUICE_TRY(read(length, what));
    if (length > left()) {
      return corrupt("{}: {} at byte {} declares a string of {} bytes where {} are left", origin_, what,
                     at_ - 8, length, left());
    }
    out = {reinterpret_cast<const char*>(file_.data()) + at_, length};
    at_ += length;
    return {};
  }

  Status read_counts(uint64_t& tensors, uint64_t& keys) {
    uint32_t magic = 0;
    SLUICE_TRY(read(magic, "the magic number"));
    if (magic != 0x46554747) return corrupt("{}: not a GGUF file (it does not start with \"GGUF\")", origin_);
    SLUICE_TRY(read(header_.version, "the version"));
    const uint32_t version = header_.version;
    if (version != 0 && (version & 0xffff) == 0) {
      return unsupported("{}: a big-endian GGUF file; convert the model again on a little-endian machine",
                         origin_);
    }
    if (version != 2 && version != 3) {
      return unsupported("{}: GGUF version {}; versions 2 and 3 are read, convert the model again", origin_,
                         version);
    }
    SLUICE_TRY(read(tensors, "the tensor count"));
    SLUICE_TRY(read(keys, "the key count"));
    // The least a key or a tensor can take: lengths, types and one byte of name.
    if (keys > kMaxKeys || keys > left() / 14) {
      return corrupt("{}: {} metadata keys declared, more than {} or than the file can hold", origin_, keys,
                     kMaxKeys);
    }
    if (tensors > kMaxTensors || tensors > left() / 33) {
      return corrupt("{}: {} tensors declared, more than {} or than the file can hold", origin_, tensors,
                     kMaxTensors);
    }
    return {};
  }

  Status read_pair() {
    const uint64_t start = at_;
    std::string_view key;
    SLUICE_TRY(read_string(key, "a metadata key"));
    if (key.empty() || key.size() > kMaxKeyBytes || key.find('\0') != key.npos) {
      return corrupt("{}: the metadata key at byte {} is empty, longer than {} bytes or holds a NUL", origin_,
                     start, kMaxKeyBytes);
    }
    GgufValue value;
    SLUICE_TRY(read_type(value.type, key));
    if (value.type == GgufType::string) {
      std::string_view text;
      SLUICE_TRY(read_string(text, key));
      value.data = std::string(text);
    } else if (value.type == GgufType::array) {
      SLUICE_TRY(read_array(value, key));
    } else {
      SLUICE_TRY(read_number(value, key));
    }
    if (!header_.metadata.add(std::string(key), std::move(value))) {
      return corrupt("{}: the metadata key {} occurs twice", origin_, quoted_name(key));
    }
    return {};
  }

  Status read_type(GgufType& type, std::string_view key) {
    uint32_t number = 0;
    SLUICE_TRY(read(number, "a value type"));
    if (number > static_cast<uint32_t>(GgufType::f64)) {
      return corrupt("{}: {} has the value type {}, which GGUF does not define", origin_, quoted_name(key),
                     number);
    }
    type = static_cast<GgufType>(number);
    return {};
  }

  Status check_booleans(std::span<const std::byte> bytes, std::string_view key) const {
    for (std::byte b : bytes) {
      if (b > std::byte{1})
        return corrupt("{}: {} holds a boolean that is neither 0 nor 1", origin_, quoted_name(key));
    }
    return {};
  }

  Status read_number(GgufValue& value, std::string_view key) {
    const size_t bytes = gguf_type_bytes(value.type);
    if (left() < bytes) return truncated(quoted_name(key));
    if (value.type == GgufType::boolean) SLUICE_TRY(check_booleans(file_.subspan(at_, 1), key));
    visit_number_type(value.type, [&](auto number) {
      using T = decltype(number);
      std::memcpy(&number, file_.data() + at_, sizeof(T));
      if constexpr (std::is_same_v<T, bool>) {
        value.data = number;
      } else if constexpr (std::is_floating_point_v<T>) {
        value.data = static_cast<double>(number);
      } else if constexpr (std::is_signed_v<T>) {
        value.data = static_cast<int64_t>(number);
      } else {
        value.data = static_cast<uint64_t>(number);
      }
    });
    at_ += bytes;
    return {};
  }

  Status read_array(GgufValue& value, std::string_view key) {
    GgufType element{};
    SLUICE_TRY(read_type(element, key));
    uint64_t count = 0;
    SLUICE_TRY(read(count, "an array length"));
    if (element == GgufType::array) {
      return unsupported("{}: {} is an array of arrays; GGUF files in use have none", origin_,
                         quoted_name(key));
    }
    const uint64_t least = element == GgufType::string ? 8 : gguf_type_bytes(element);
    if (count > left() / least) {
      return corrupt("{}: {} declares {} elements where {} bytes are left", origin_, quoted_name(key), count,
                     left());
    }
    if (element == GgufType::string) return read_strings(value, count, key);
    const auto bytes = file_.subspan(at_, count * least);
    if (element == GgufType::boolean) SLUICE_TRY(check_booleans(bytes, key));
    value.data = NumberArray{element, {bytes.begin(), bytes.end()}};
    at_ += bytes.size();
    return {};
  }

  // Twice over the strings: once for the size of the arena, once to fill it.
  Status read_strings(GgufValue& value, uint64_t count, std::string_view key) {
    const uint64_t start = at_;
    std::string_view text;
    for (uint64_t i = 0; i < count; ++i) SLUICE_TRY(read_string(text, key));
    StringArray strings;
    strings.reserve(count, at_ - start - 8 * count);
    at_ = start;
    for (uint64_t i = 0; i < count; ++i) {
      SLUICE_TRY(read_string(text, key));
      strings.push_back(text);
    }
    value.data = std::move(strings);
    return {};
  }

  Status read_tensor() {
    const uint64_t start = at_;
    std::string_view name;
    SLUICE_TRY(read_string(name, "a tensor name"));
    if (name.empty() || name.size() > kMaxNameBytes || name.find('\0') != name.npos) {
      return corrupt("{}: the tensor name at byte {} is empty, longer than {} bytes or holds a NUL", origin_,
                     start, kMaxNameBytes);
    }
    GgufTensor tensor;
    tensor.name = name;
    uint32_t dims = 0, type = 0;
    SLUICE_TRY(read(dims, "a tensor's dimensions"));
    if (dims < 1 || dims > kMaxDims) {
      return corrupt("{}: tensor {} has {} dimensions; 1 to {} are allowed", origin_, quoted_name(name), dims,
                     kMaxDims);
    }
    tensor.shape.resize(dims);
    for (uint32_t i = dims; i-- > 0;) SLUICE_TRY(read(tensor.shape[i], "a tensor's dimensions"));
    SLUICE_TRY(read(type, "a tensor's type"));
    SLUICE_TRY(read(tensor.offset, "a tensor's offset"));
    SLUICE_TRY(measure(tensor, type));
    header_.tensors.push_back(std::move(tensor));
    return {};
  }

  Status measure(GgufTensor& tensor, uint32_t type_number) const {
    const GgmlType* type = ggml_type(type_number);
    if (type == nullptr) {
      return unsupported(
          "{}: tensor {} has the ggml type {}, which is unknown or was withdrawn; convert the model again",
          origin_, quoted_name(tensor.name), type_number);
    }
    tensor.dtype_name = type->name;
    tensor.dtype = dtype_from_ggml(type_number);
    std::optional<uint64_t> elems = 1;
    for (uint64_t dim : tensor.shape) {
      elems = dim == 0 || !elems ? std::nullopt : checked_mul<uint64_t>(*elems, dim);
    }
    std::optional<uint64_t> bytes;
    if (elems) bytes = checked_mul<uint64_t>(*elems / type->block_elems, type->block_bytes);
    if (!bytes) {
      return corrupt("{}: tensor {} has a dimension of zero or more elements than 64 bits can count", origin_,
                     quoted_name(tensor.name));
    }
    if (tensor.shape.back() % type->block_elems != 0) {
      return corrupt("{}: the rows of tensor {} have {} elements, no whole number of {} blocks of {}",
                     origin_, quoted_name(tensor.name), tensor.shape.back(), type->name, type->block_elems);
    }
    tensor.bytes = *bytes;
    return {};
  }

  // Offsets are relative to the end of the header, rounded up; makes them absolute and checks that every
  // tensor lies inside the file and on bytes of its own.
  Status place_tensors(uint64_t alignment) {
    std::unordered_set<std::string_view> names;
    const uint64_t base = round_up(at_, alignment);
    for (GgufTensor& tensor : header_.tensors) {
      if (!names.insert(tensor.name).second) {
        return corrupt("{}: tensor {} occurs twice", origin_, quoted_name(tensor.name));
      }
      if (tensor.offset % alignment != 0) {
        return corrupt("{}: the offset {} of tensor {} is no multiple of the alignment {}", origin_,
                       tensor.offset, quoted_name(tensor.name), alignment);
      }
      const auto begin = checked_add<uint64_t>(base, tensor.offset);
      const auto end = begin ? checked_add<uint64_t>(*begin, tensor.bytes) : std::nullopt;
      if (!end || *end > file_.size()) {
        return corrupt(
            "{}: tensor {} ({} bytes at offset {} of the data) reaches beyond the end of the file ({} "
            "bytes); "
            "it is truncated or corrupt, fetch it again",
            origin_, quoted_name(tensor.name), tensor.bytes, tensor.offset, file_.size());
      }
      tensor.offset = *begin;
    }
    return check_overlaps();
  }

  Status check_overlaps() const {
    const auto& tensors = header_.tensors;
    std::vector<uint32_t> order(tensors.size());
    std::iota(order.begin(), order.end(), 0u);
    std::ranges::sort(order, {}, [&](uint32_t i) { return tensors[i].offset; });
    for (size_t i = 1; i < order.size(); ++i) {
      const GgufTensor &before = tensors[order[i - 1]], &after = tensors[order[i]];
      if (before.offset + before.bytes > after.offset) {
        return corrupt("{}: tensors {} and {} overlap", origin_, quoted_name(before.name),
                       quoted_name(after.name));
      }
    }
    return {};
  }

  std::span<const std::byte> file_;
  const std::string& origin_;
  uint64_t at_ = 0;
  GgufHeader header_;
};

// What the keys of a split say; count is 1 for a model in one file.
struct Split {
  uint64_t number = 0;  // from 0
  uint64_t count = 1;
  std::optional<uint64_t> tensors;  // of all parts
};

constexpr uint64_t kMaxParts = 4096;

Result<Split> read_split(const GgufMetadata& metadata, const std::string& path) {
  Split split;
  SLUICE_ASSIGN(split.number, metadata.get_u64("split.no", 0));
  SLUICE_ASSIGN(split.count, metadata.get_u64("split.count", 1));
  if (split.count == 0) split.count = 1;
  if (split.count > kMaxParts || split.number >= split.count) {
    return corrupt("{}: says it is part {} of {}; at most {} parts are possible", path, split.number + 1,
                   split.count, kMaxParts);
  }
  if (metadata.has("split.tensors.count")) {
    SLUICE_ASSIGN(split.tensors, metadata.get_u64("split.tensors.count"));
  }
  return split;
}

std::string part_suffix(uint64_t number, uint64_t count) {
  return fmt::format("-{:05}-of-{:05}.gguf", number + 1, count);
}

// Opens a file and takes its tensors; the caller looks at what is left of the header.
Result<GgufHeader> add_file(GgufFile& model, const std::string& path) {
  SLUICE_ASSIGN(File file, File::open(path));
  SLUICE_ASSIGN(const MappedFile mapped, MappedFile::open(path));
  SLUICE_ASSIGN(GgufHeader header, parse_gguf(mapped.bytes(), path));
  for (GgufTensor& tensor : header.tensors) {
    tensor.part = static_cast<uint32_t>(model.parts.size());
    model.tensors.push_back(std::move(tensor));
  }
  model.parts.push_back(std::move(file));
  return header;
}

Status add_part(GgufFile& model, const std::string& path, uint64_t number, uint64_t count) {
  SLUICE_ASSIGN(const GgufHeader header, add_file(model, path));
  SLUICE_ASSIGN(const Split split, read_split(header.metadata, path));
  if (split.number != number || split.count != count) {
    return corrupt("{}: holds part {} of {} where part {} of {} belongs", path, split.number + 1, split.count,
                   number + 1, count);
  }
  // Parts repeat little of the first one's metadata; what they do repeat must be the same.
  for (const auto& [key, value] : header.metadata.entries()) {
    const GgufValue* first = model.metadata.find(key);
    if (key == "split.no" || first == nullptr || *first == value) continue;
    return corrupt("{}: its {} differs from that of the first part; it belongs to another model", path,
                   quoted_name(key));
  }
  return {};
}

Status check_whole(const GgufFile& model, const Split& split) {
  const std::string& path = model.parts.front().path();
  if (split.tensors && *split.tensors != model.tensors.size()) {
    return corrupt("{}: the model has {} tensors by its split.tensors.count, its {} parts hold {}", path,
                   *split.tensors, split.count, model.tensors.size());
  }
  std::unordered_set<std::string_view> names;
  for (const GgufTensor& tensor : model.tensors) {
    if (names.insert(tensor.name).second) continue;
    return corrupt("{}: tensor {} is in {} and in an earlier part", path, quoted_name(tensor.name),
                   model.parts[tensor.part].path());
  }
  return {};
}

}  // namespace

Result<uint64_t> gguf_alignment(const GgufMetadata& metadata) {
  const GgufValue* value = metadata.find("general.alignment");
  if (value == nullptr) return kDefaultAlignment;
  const auto* number = value->type == GgufType::u32 ? std::get_if<uint64_t>(&value->data) : nullptr;
  if (number == nullptr || !std::has_single_bit(*number) || *number > kMaxAlignment) {
    return corrupt("{}: general.alignment must be a u32 power of two of at most {}", metadata.origin(),
                   kMaxAlignment);
  }
  return *number;
}

Result<GgufHeader> parse_gguf(std::span<const std::byte> file, const std::string& origin) {
  return Parser(file, origin).run();
}

Result<GgufFile> GgufFile::open(const std::string& path) {
  GgufFile model;
  SLUICE_ASSIGN(GgufHeader first, add_file(model, path));
  model.metadata = std::move(first.metadata);
  SLUICE_ASSIGN(const Split split, read_split(model.metadata, path));
  if (split.count == 1) return model;

  const std::string suffix = part_suffix(split.number, split.count);
  if (!path.ends_with(suffix)) {
    return invalid_argument("{}: is part {} of {}; its name must end in {} for the others to be found", path,
                            split.number + 1, split.count, suffix);
  }
  const std::string stem = path.substr(0, path.size() - suffix.size());
  if (split.number != 0) {
    return invalid_argument("{}: is part {} of {}; give the first part, {}{}", path, split.number + 1,
                            split.count, stem, part_suffix(0, split.count));
  }
  for (uint64_t i = 1; i < split.count; ++i) {
    SLUICE_TRY(add_part(model, stem + part_suffix(i, split.count), i, split.count));
  }
  SLUICE_TRY(check_whole(model, split));
  return model;
}

}  // namespace sluice::model
