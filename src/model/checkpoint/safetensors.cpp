#include "model/checkpoint/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <set>

#include "base/checked.h"
#include "base/json.h"
#include "model/checkpoint/quoted_name.h"

namespace sluice::model {
namespace {

static_assert(std::endian::native == std::endian::little, "tensors are read as they lie in the file");

// The format's own types; the last column is empty for those we list and do not compute with.
struct FormatType {
  std::string_view name;
  uint32_t bits;
  std::optional<DType> dtype;
};
constexpr FormatType kTypes[] = {
    {"F32", 32, DType::f32}, {"F16", 16, DType::f16}, {"BF16", 16, DType::bf16}, {"I8", 8, DType::i8},
    {"I32", 32, DType::i32}, {"I64", 64, DType::i64}, {"U8", 8, DType::u8},      {"BOOL", 8, {}},
    {"I16", 16, {}},         {"U16", 16, {}},         {"U32", 32, {}},           {"U64", 64, {}},
    {"F64", 64, {}},         {"C64", 64, {}},         {"F8_E4M3", 8, {}},        {"F8_E5M2", 8, {}},
    {"F8_E8M0", 8, {}},      {"F8_E4M3FNUZ", 8, {}},  {"F8_E5M2FNUZ", 8, {}},    {"F6_E2M3", 6, {}},
    {"F6_E3M2", 6, {}},      {"F4", 4, {}},
};

// Bounds on what a small hostile header can make us allocate: some 400,000 tensors, 64 dimensions as in
// PyTorch.
constexpr size_t kMaxJsonNodes = 4'000'000;
constexpr size_t kMaxRank = 64;

constexpr size_t kMaxShards = 4096;
constexpr std::string_view kSuffix = ".safetensors";

class HeaderParser {
 public:
  HeaderParser(uint64_t data_start, uint64_t file_size, const std::string& origin)
      : data_start_(data_start), data_bytes_(file_size - data_start), origin_(origin) {}

  Result<SafetensorsHeader> run(const Json& root) {
    if (!root.is_object()) return corrupt("{}: the header is no JSON object", origin_);
    header_.tensors.reserve(root.size());
    for (const auto& [name, value] : root.items()) {
      SLUICE_TRY(name == "__metadata__" ? read_metadata(value) : read_tensor(name, value));
    }
    SLUICE_TRY(check_layout());
    return std::move(header_);
  }

 private:
  Status read_metadata(const Json& object) {
    if (!object.is_object()) return corrupt("{}: __metadata__ is no JSON object", origin_);
    for (const auto& [key, value] : object.items()) {
      if (!value.is_string()) {
        return corrupt("{}: __metadata__ {} is no string", origin_, quoted_name(key));
      }
      header_.metadata.emplace(key, value.get<std::string>());
    }
    return {};
  }

  Status bad(const std::string& name, std::string_view what) const {
    return corrupt("{}: tensor {}: {}", origin_, quoted_name(name), what);
  }

  Status read_tensor(const std::string& name, const Json& object) {
    if (!object.is_object()) return bad(name, "its entry is no JSON object");
    const auto dtype = object.find("dtype"), shape = object.find("shape"),
               offsets = object.find("data_offsets");
    if (dtype == object.end() || !dtype->is_string()) return bad(name, "dtype is missing or no string");
    if (shape == object.end() || !shape->is_array()) return bad(name, "shape is missing or no array");
    if (offsets == object.end() || !offsets->is_array() || offsets->size() != 2 ||
        !offsets->at(0).is_number_unsigned() || !offsets->at(1).is_number_unsigned()) {
      return bad(name, "data_offsets are missing or not two integers from 0");
    }
    SafetensorsTensor tensor;
    tensor.name = name;
    tensor.dtype_name = dtype->get<std::string>();
    const auto begin = offsets->at(0).get<uint64_t>(), end = offsets->at(1).get<uint64_t>();
    if (begin > end || end > data_bytes_) {
      return bad(name,
                 fmt::format("data_offsets [{}, {}] are reversed or beyond the {} bytes of data; the file is "
                             "truncated or corrupt, fetch it again",
                             begin, end, data_bytes_));
    }
    tensor.offset = data_start_ + begin;
    tensor.bytes = end - begin;
    SLUICE_TRY(measure(tensor, *shape));
    header_.tensors.push_back(std::move(tensor));
    return {};
  }

  // Takes the shape, and checks that it and the dtype need exactly the bytes that the tensor has.
  Status measure(SafetensorsTensor& tensor, const Json& shape) const {
    const auto type = std::ranges::find(kTypes, tensor.dtype_name, &FormatType::name);
    if (type == std::end(kTypes)) {
      return unsupported("{}: tensor {} has dtype {}, which is none of safetensors' types", origin_,
                         quoted_name(tensor.name), quoted_name(tensor.dtype_name));
    }
    tensor.dtype = type->dtype;
    if (shape.size() > kMaxRank) {
      return bad(tensor.name, fmt::format("{} dimensions; at most {} are possible", shape.size(), kMaxRank));
    }
    std::optional<uint64_t> bits = type->bits;
    for (const Json& dim : shape) {
      if (!dim.is_number_unsigned())
        return bad(tensor.name, "shape holds something else than integers from 0");
      tensor.shape.push_back(dim.get<uint64_t>());
      if (bits) bits = checked_mul<uint64_t>(*bits, tensor.shape.back());
    }
    if (!bits || *bits % 8 != 0 || *bits / 8 != tensor.bytes) {
      return bad(tensor.name, fmt::format("shape [{}] of {} does not take the {} bytes of its data_offsets",
                                          fmt::join(tensor.shape, ", "), type->name, tensor.bytes));
    }
    return {};
  }

  // Tensors follow one another without gaps or overlaps, up to the end of the file.
  Status check_layout() {
    std::ranges::stable_sort(header_.tensors, {},
                             [](const SafetensorsTensor& t) { return std::pair(t.offset, t.bytes); });
    uint64_t at = data_start_;
    for (const SafetensorsTensor& tensor : header_.tensors) {
      if (tensor.offset != at) {
        return bad(tensor.name,
                   fmt::format("its data begins at byte {} where {} was expected: tensors {}", tensor.offset,
                               at, tensor.offset < at ? "overlap" : "leave a hole"));
      }
      at += tensor.bytes;
    }
    if (at != data_start_ + data_bytes_) {
      return corrupt("{}: the tensors end at byte {}, the file at byte {}", origin_, at,
                     data_start_ + data_bytes_);
    }
    return {};
  }

  uint64_t data_start_, data_bytes_;
  const std::string& origin_;
  SafetensorsHeader header_;
};

// The header's length, which is at most what the format and the file allow.
Result<uint64_t> header_length(std::span<const std::byte> prefix, uint64_t file_size,
                               const std::string& origin) {
  if (prefix.size() < 8 || file_size < 8) {
    return corrupt("{}: {} bytes, too short for a safetensors file", origin, file_size);
  }
  uint64_t length = 0;
  std::memcpy(&length, prefix.data(), 8);
  if (length < 2 || length > kMaxSafetensorsHeader || length > file_size - 8) {
    return corrupt(
        "{}: no safetensors file, or truncated: its header would take {} of {} bytes (at most {} are "
        "allowed)",
        origin, length, file_size, kMaxSafetensorsHeader);
  }
  return length;
}

bool is_plain_shard_name(std::string_view name) {
  return name.size() > kSuffix.size() && name.ends_with(kSuffix) && name.find('/') == name.npos &&
         name.find('\0') == name.npos;
}

}  // namespace

Result<SafetensorsHeader> parse_safetensors(std::span<const std::byte> prefix, uint64_t file_size,
                                            const std::string& origin) {
  SLUICE_ASSIGN(const uint64_t length, header_length(prefix, file_size, origin));
  if (prefix.size() - 8 < length)
    return corrupt("{}: the file ends inside its header; fetch it again", origin);
  std::string_view text(reinterpret_cast<const char*>(prefix.data()) + 8, length);
  // Padding is spaces, and behind only.
  while (text.ends_with(' ')) text.remove_suffix(1);
  if (!text.starts_with('{') || !text.ends_with('}')) {
    return corrupt("{}: no safetensors file: its header is no JSON object", origin);
  }
  const JsonLimits limits = {.max_depth = 4, .max_nodes = kMaxJsonNodes};
  SLUICE_ASSIGN(const Json root, parse_json(text, origin + " (header)", limits));
  return HeaderParser(8 + length, file_size, origin).run(root);
}

Result<SafetensorsFile> SafetensorsFile::open(const std::string& path) {
  SLUICE_ASSIGN(File file, File::open(path));
  std::vector<std::byte> prefix(std::min<uint64_t>(8, file.size()));
  SLUICE_TRY(file.read_at(0, prefix));
  SLUICE_ASSIGN(const uint64_t length, header_length(prefix, file.size(), path));
  prefix.resize(8 + length);
  SLUICE_TRY(file.read_at(8, std::span(prefix).subspan(8)));
  SLUICE_ASSIGN(SafetensorsHeader header, parse_safetensors(prefix, file.size(), path));
  return SafetensorsFile{std::move(file), std::move(header)};
}

Result<SafetensorsIndex> parse_safetensors_index(std::string_view text, const std::string& origin) {
  SLUICE_ASSIGN(const Json root, parse_json(text, origin, {.max_depth = 8, .max_nodes = kMaxJsonNodes}));
  const auto map = root.is_object() ? root.find("weight_map") : root.end();
  if (map == root.end() || !map->is_object() || map->empty()) {
    return corrupt("{}: weight_map is missing, empty or no object", origin);
  }
  std::map<std::string, uint32_t> shards;
  for (const auto& [tensor, shard] : map->items()) {
    if (!shard.is_string() || !is_plain_shard_name(shard.get_ref<const std::string&>())) {
      return corrupt(
          "{}: weight_map {} must name a .safetensors file in the same directory, found {}", origin,
          quoted_name(tensor),
          shard.is_string() ? quoted_name(shard.get_ref<const std::string&>()) : shard.type_name());
    }
    shards.emplace(shard.get_ref<const std::string&>(), 0);
  }
  if (shards.size() > kMaxShards) {
    return corrupt("{}: {} shards named; at most {} are possible", origin, shards.size(), kMaxShards);
  }
  SafetensorsIndex index;
  for (auto& [name, number] : shards) {
    number = static_cast<uint32_t>(index.shards.size());
    index.shards.push_back(name);
  }
  for (const auto& [tensor, shard] : map->items()) {
    index.weight_map.emplace(tensor, shards.at(shard.get_ref<const std::string&>()));
  }
  return index;
}

Result<std::string> serialize_safetensors(std::span<const SafetensorsTensorData> tensors,
                                          const std::map<std::string, std::string>& metadata) {
  Json root = Json::object();
  if (!metadata.empty()) root["__metadata__"] = metadata;
  uint64_t end = 0;
  for (const SafetensorsTensorData& tensor : tensors) {
    const auto type = std::ranges::find(kTypes, std::optional(tensor.dtype), &FormatType::dtype);
    if (type == std::end(kTypes)) {
      return unsupported("tensor {} has the type {}, which safetensors does not have",
                         quoted_name(tensor.name), name(tensor.dtype));
    }
    const uint64_t begin = end;
    end += tensor.data.size();
    root[tensor.name] = {{"dtype", type->name}, {"shape", tensor.shape}, {"data_offsets", {begin, end}}};
  }
  std::string header = dump_json(root);
  header.resize(round_up<size_t>(header.size(), 8), ' ');  // aligns the data
  const uint64_t length = header.size();
  std::string file(reinterpret_cast<const char*>(&length), 8);
  file += header;
  file.reserve(file.size() + end);
  for (const SafetensorsTensorData& tensor : tensors) {
    file.append(reinterpret_cast<const char*>(tensor.data.data()), tensor.data.size());
  }
  // The reader is the judge of names and sizes.
  SLUICE_ASSIGN(const auto check,
                parse_safetensors(std::as_bytes(std::span(file)), file.size(), "safetensors to be written"));
  return file;
}

Status write_safetensors(const std::string& path, std::span<const SafetensorsTensorData> tensors,
                         const std::map<std::string, std::string>& metadata) {
  SLUICE_ASSIGN(const std::string file, serialize_safetensors(tensors, metadata));
  return write_file_atomically(path, file);
}

}  // namespace sluice::model
