#include "model/checkpoint/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <functional>
#include <limits>

#include "quant/format.h"

namespace sluice::model {
namespace {

using testing::HasSubstr;

// A GGUF file written field by field, so that every field can be wrong.
class Bytes {
 public:
  template <typename T>
  Bytes& put(T value) {
    text_.append(reinterpret_cast<const char*>(&value), sizeof(T));
    return *this;
  }
  Bytes& text(std::string_view s) {
    text_ += s;
    return *this;
  }
  Bytes& string(std::string_view s) { return put<uint64_t>(s.size()).text(s); }
  Bytes& header(uint64_t tensors, uint64_t keys, uint32_t version = 3) {
    return text("GGUF").put(version).put(tensors).put(keys);
  }
  Bytes& key(std::string_view k, GgufType type) { return string(k).put(static_cast<uint32_t>(type)); }
  Bytes& array(std::string_view k, GgufType element, uint64_t count) {
    return key(k, GgufType::array).put(static_cast<uint32_t>(element)).put(count);
  }
  Bytes& tensor(std::string_view name, std::vector<uint64_t> dims, uint32_t type, uint64_t offset) {
    string(name).put(static_cast<uint32_t>(dims.size()));
    for (uint64_t d : dims) put(d);
    return put(type).put(offset);
  }
  Bytes& data(size_t bytes, size_t alignment = 32) {
    text_.resize((text_.size() + alignment - 1) / alignment * alignment + bytes);
    return *this;
  }
  const std::string& str() const { return text_; }

 private:
  std::string text_;
};

Result<GgufHeader> parse(std::string_view text) {
  // A copy of exactly this size: reading one byte more is an error under ASan.
  const std::vector<char> exact(text.begin(), text.end());
  return parse_gguf(std::as_bytes(std::span(exact)), "f.gguf");
}

std::string path_in_temp(const std::string& name) {
  const std::string dir = testing::TempDir() + "sluice_gguf_" + std::to_string(::getpid());
  std::filesystem::create_directories(dir);
  return dir + "/" + name;
}

NumberArray numbers_of(GgufType type, const auto& values) {
  const auto bytes = std::as_bytes(std::span(values));
  return {type, {bytes.begin(), bytes.end()}};
}

// One of every type, and two tensors.
std::string small_file() {
  Bytes b;
  b.header(2, 15);
  b.key("a.u8", GgufType::u8).put<uint8_t>(200);
  b.key("a.i8", GgufType::i8).put<int8_t>(-3);
  b.key("a.u16", GgufType::u16).put<uint16_t>(60000);
  b.key("a.i16", GgufType::i16).put<int16_t>(-300);
  b.key("a.u32", GgufType::u32).put<uint32_t>(4'000'000'000);
  b.key("a.i32", GgufType::i32).put<int32_t>(-7);
  b.key("a.f32", GgufType::f32).put(1.5f);
  b.key("a.bool", GgufType::boolean).put<uint8_t>(1);
  b.key("a.string", GgufType::string).string("text");
  b.key("a.u64", GgufType::u64).put<uint64_t>(1ull << 63);
  b.key("a.i64", GgufType::i64).put<int64_t>(-(1ll << 40));
  b.key("a.f64", GgufType::f64).put(2.25);
  b.array("a.ints", GgufType::i32, 3).put<int32_t>(1).put<int32_t>(-2).put<int32_t>(3);
  b.array("a.strings", GgufType::string, 3).string("x").string("").string("long");
  b.array("a.bools", GgufType::boolean, 2).put<uint8_t>(1).put<uint8_t>(0);
  b.tensor("w", {32, 2}, 8, 0);  // Q8_0, 68 bytes
  b.tensor("b", {3}, 0, 96);     // F32
  return b.data(96 + 12).str();
}

TEST(Gguf, ReadsEveryType) {
  const auto header = parse(small_file());
  ASSERT_TRUE(header.ok()) << header.status().message();
  const GgufMetadata& m = header->metadata;
  EXPECT_EQ(*m.get_u32("a.u8"), 200u);
  EXPECT_EQ(*m.get_i64("a.i8"), -3);
  EXPECT_EQ(*m.get_u32("a.u16"), 60000u);
  EXPECT_EQ(*m.get_i64("a.i16"), -300);
  EXPECT_EQ(*m.get_u32("a.u32"), 4'000'000'000u);
  EXPECT_EQ(*m.get_i64("a.i32"), -7);
  EXPECT_EQ(*m.get_float("a.f32"), 1.5);
  EXPECT_EQ(*m.get_bool("a.bool"), true);
  EXPECT_EQ(*m.get_string("a.string"), "text");
  EXPECT_EQ(*m.get_u64("a.u64"), 1ull << 63);
  EXPECT_EQ(*m.get_i64("a.i64"), -(1ll << 40));
  EXPECT_EQ(*m.get_float("a.f64"), 2.25);
  EXPECT_THAT(*m.get_array<int32_t>("a.ints"), testing::ElementsAre(1, -2, 3));
  EXPECT_THAT(*m.get_array<uint8_t>("a.bools"), testing::ElementsAre(1, 0));
  const StringArray& strings = **m.get_strings("a.strings");
  ASSERT_EQ(strings.size(), 3u);
  EXPECT_EQ(strings[0], "x");
  EXPECT_EQ(strings[1], "");
  EXPECT_EQ(strings[2], "long");

  ASSERT_EQ(header->tensors.size(), 2u);
  const GgufTensor& w = header->tensors[0];
  EXPECT_EQ(w.name, "w");
  EXPECT_EQ(w.dtype, DType::q8_0);
  EXPECT_EQ(w.dtype_name, "Q8_0");
  EXPECT_THAT(w.shape, testing::ElementsAre(2, 32));  // rows first
  EXPECT_EQ(w.bytes, 68u);
  EXPECT_EQ(w.offset % 32, 0u);
  EXPECT_EQ(header->tensors[1].offset, w.offset + 96);
}

TEST(Gguf, GettersSayWhatIsWrong) {
  const auto header = parse(small_file());
  ASSERT_TRUE(header.ok());
  const GgufMetadata& m = header->metadata;
  EXPECT_THAT(m.get_u32("no.such").status().message(), HasSubstr("f.gguf: the key no.such is missing"));
  EXPECT_EQ(m.get_u32("no.such").status().code(), StatusCode::not_found);
  EXPECT_THAT(m.get_u32("a.i8").status().message(), HasSubstr("a.i8 must be an integer from 0"));  // negative
  EXPECT_FALSE(m.get_u32("a.u64").ok());  // too large
  EXPECT_FALSE(m.get_i64("a.u64").ok());
  EXPECT_FALSE(m.get_u32("a.f32").ok());
  EXPECT_FALSE(m.get_u32("a.bool").ok());
  EXPECT_FALSE(m.get_bool("a.u8").ok());
  EXPECT_FALSE(m.get_string("a.u8").ok());
  EXPECT_THAT(m.get_u32("a.ints").status().message(), HasSubstr("found array of i32"));
  EXPECT_THAT(m.get_strings("a.ints").status().message(), HasSubstr("array of strings"));
  EXPECT_FALSE(m.get_numbers("a.strings").ok());
  EXPECT_THAT(m.get_array<uint32_t>("a.ints").status().message(), HasSubstr("element 1"));
  EXPECT_EQ(*m.get_float("a.i8"), -3.0);
  EXPECT_THAT(*m.get_array<uint32_t>("a.u8"), testing::ElementsAre(200u));  // one for all layers
  // A fallback stands for an absent key, never for a wrong one.
  EXPECT_EQ(*m.get_u32("no.such", 5), 5u);
  EXPECT_EQ(*m.get_u32("a.u8", 5), 200u);
  EXPECT_FALSE(m.get_u32("a.i8", 5).ok());
}

// ---- what must be refused

struct BadFile {
  const char* what;
  std::function<std::string()> make;
  const char* message;
};

Bytes one_key(std::string_view key, GgufType type) {
  Bytes b;
  b.header(0, 1).key(key, type);
  return b;
}
Bytes one_tensor(std::string_view name, std::vector<uint64_t> dims, uint32_t type, uint64_t offset) {
  Bytes b;
  b.header(1, 0).tensor(name, std::move(dims), type, offset);
  return b;
}
std::string two_tensors(uint64_t second_offset, uint64_t elems = 8) {
  Bytes b;
  b.header(2, 0).tensor("a", {elems}, 0, 0).tensor("b", {elems}, 0, second_offset);
  return b.data(256).str();
}
std::string with_alignment(uint32_t alignment) {
  return one_key("general.alignment", GgufType::u32).put(alignment).data(64).str();
}

constexpr uint64_t kHuge[] = {uint64_t{1} << 31, uint64_t{1} << 32, uint64_t{1} << 62, uint64_t{1} << 63,
                              UINT64_MAX};

const BadFile kBadFiles[] = {
    {"empty", [] { return std::string(); }, "ends inside the magic number"},
    {"magic", [] { return std::string("GGML\3\0\0\0", 8); }, "not a GGUF file"},
    {"version 0", [] { return Bytes().header(0, 0, 0).str(); }, "version 0"},
    {"version 1", [] { return Bytes().header(0, 0, 1).str(); }, "version 1"},
    {"version 4", [] { return Bytes().header(0, 0, 4).str(); }, "version 4"},
    {"big endian", [] { return Bytes().header(0, 0, 0x03000000).str(); }, "big-endian"},
    {"empty key", [] { return one_key("", GgufType::u8).put<uint8_t>(1).data(64).str(); },
     "metadata key at byte 24"},
    {"key with NUL",
     [] {
       return one_key({"a\0b", 3}, GgufType::u8).put<uint8_t>(1).str();
     },
     "NUL"},
    {"long key", [] { return one_key(std::string(65536, 'k'), GgufType::u8).put<uint8_t>(1).str(); },
     "longer than"},
    {"key twice",
     [] {
       return Bytes()
           .header(0, 2)
           .key("k", GgufType::u8)
           .put<uint8_t>(1)
           .key("k", GgufType::u8)
           .put<uint8_t>(1)
           .str();
     },
     "\"k\" occurs twice"},
    {"value type 13", [] { return one_key("k", static_cast<GgufType>(13)).put<uint64_t>(0).str(); },
     "value type 13"},
    {"value type -1", [] { return one_key("k", static_cast<GgufType>(-1)).put<uint64_t>(0).str(); },
     "value type"},
    {"boolean 2", [] { return one_key("k", GgufType::boolean).put<uint8_t>(2).str(); }, "neither 0 nor 1"},
    {"array of booleans",
     [] {
       return Bytes().header(0, 1).array("k", GgufType::boolean, 2).put<uint8_t>(1).put<uint8_t>(9).str();
     },
     "neither 0 nor 1"},
    {"array of arrays",
     [] {
       return Bytes().header(0, 1).array("k", GgufType::array, 1).put<uint32_t>(9).put<uint64_t>(1).str();
     },
     "array of arrays"},
    {"array of unknown",
     [] { return Bytes().header(0, 1).array("k", static_cast<GgufType>(77), 1).put<uint64_t>(0).str(); },
     "value type 77"},
    {"string beyond the file",
     [] { return one_key("k", GgufType::string).put<uint64_t>(9).text("12345678").str(); },
     "string of 9 bytes where 8 are left"},
    {"alignment 0", [] { return with_alignment(0); }, "general.alignment"},
    {"alignment 13", [] { return with_alignment(13); }, "general.alignment"},
    {"alignment 2^31", [] { return with_alignment(1u << 31); }, "general.alignment"},
    {"alignment u64",
     [] { return one_key("general.alignment", GgufType::u64).put<uint64_t>(32).data(64).str(); },
     "general.alignment"},
    {"alignment string",
     [] { return one_key("general.alignment", GgufType::string).string("32").data(64).str(); },
     "general.alignment"},
    {"no dimensions", [] { return one_tensor("t", {}, 0, 0).data(64).str(); }, "0 dimensions"},
    {"five dimensions",
     [] {
       return one_tensor("t", {1, 1, 1, 1, 1}, 0, 0).data(64).str();
     },
     "5 dimensions"},
    {"2^32-1 dimensions",
     [] { return Bytes().header(1, 0).string("t").put<uint32_t>(UINT32_MAX).data(64).str(); },
     "4294967295 dimensions"},
    {"dimension 0",
     [] {
       return one_tensor("t", {4, 0}, 0, 0).data(64).str();
     },
     "dimension of zero"},
    {"dimension -1", [] { return one_tensor("t", {UINT64_MAX}, 0, 0).data(64).str(); }, "64 bits"},
    {"2^31 x 2^33",
     [] {
       return one_tensor("t", {1ull << 31, 1ull << 33}, 0, 0).data(64).str();
     },
     "64 bits"},
    {"bytes overflow", [] { return one_tensor("t", {1ull << 62}, 0, 0).data(64).str(); }, "64 bits"},
    {"part of a block", [] { return one_tensor("t", {33}, 8, 0).data(64).str(); },
     "no whole number of Q8_0 blocks"},
    {"blocks by rows",  // 2 x 16 elements fill a block, but no row does
     [] {
       return one_tensor("t", {16, 2}, 8, 0).data(64).str();
     },
     "no whole number of Q8_0 blocks"},
    {"withdrawn type", [] { return one_tensor("t", {32}, 4, 0).data(64).str(); }, "ggml type 4"},
    {"unknown type", [] { return one_tensor("t", {32}, 1000, 0).data(64).str(); }, "ggml type 1000"},
    {"name of 64 bytes", [] { return one_tensor(std::string(64, 't'), {8}, 0, 0).data(64).str(); },
     "longer than 63"},
    {"empty name", [] { return one_tensor("", {8}, 0, 0).text("x").data(64).str(); }, "tensor name"},
    {"name twice",
     [] { return Bytes().header(2, 0).tensor("a", {8}, 0, 0).tensor("a", {8}, 0, 32).data(64).str(); },
     "\"a\" occurs twice"},
    {"unaligned", [] { return two_tensors(36); }, "no multiple of the alignment 32"},
    {"overlap", [] { return two_tensors(32, 16); }, "\"a\" and \"b\" overlap"},
    {"beyond the end", [] { return two_tensors(256); }, "beyond the end"},
    {"offset + size wraps", [] { return two_tensors(UINT64_MAX - 31); }, "beyond the end"},
    {"no data", [] { return one_tensor("t", {8}, 0, 0).str(); }, "beyond the end"},
    {"one byte short", [] { return one_tensor("t", {8}, 0, 0).data(31).str(); }, "beyond the end"},
    {"control characters", [] { return one_tensor("a\nb", {8}, 0, 0).str(); }, R"("a\nb")"},
};

TEST(Gguf, BadFilesAreRefused) {
  for (const BadFile& bad : kBadFiles) {
    const auto header = parse(bad.make());
    ASSERT_FALSE(header.ok()) << bad.what;
    EXPECT_THAT(header.status().message(), HasSubstr(bad.message)) << bad.what;
    EXPECT_THAT(header.status().message(), testing::StartsWith("f.gguf: ")) << bad.what;
    EXPECT_EQ(header.status().message().find('\n'), std::string::npos) << bad.what;
  }
}

TEST(Gguf, HugeCountsAreRefusedBeforeAllocation) {
  for (uint64_t n : kHuge) {
    EXPECT_THAT(parse(Bytes().header(n, 0).data(4096).str()).status().message(),
                HasSubstr("tensors declared"));
    EXPECT_THAT(parse(Bytes().header(0, n).data(4096).str()).status().message(), HasSubstr("keys declared"));
    EXPECT_FALSE(parse(Bytes().header(0, 1).put(n).data(4096).str()).ok()) << "key length";
    EXPECT_FALSE(parse(one_key("k", GgufType::string).put(n).data(4096).str()).ok()) << "string length";
    for (GgufType element : {GgufType::u8, GgufType::f64, GgufType::string}) {
      EXPECT_FALSE(parse(Bytes().header(0, 1).array("k", element, n).data(4096).str()).ok())
          << "array length";
    }
    EXPECT_FALSE(parse(Bytes().header(1, 0).put(n).data(4096).str()).ok()) << "name length";
    EXPECT_FALSE(parse(one_tensor("t", {n}, 0, 0).data(4096).str()).ok()) << "dimension";
    EXPECT_FALSE(parse(one_tensor("t", {32, n}, 8, 0).data(4096).str()).ok()) << "rows";
    EXPECT_FALSE(parse(one_tensor("t", {1}, 0, n).data(4096).str()).ok()) << "offset";
  }
}

TEST(Gguf, EveryTruncationIsAnError) {
  const std::string file = small_file();
  for (size_t n = 0; n < file.size(); ++n) EXPECT_FALSE(parse(std::string_view(file).substr(0, n)).ok()) << n;
}

TEST(Gguf, NoBitFlipCrashes) {
  std::string file = small_file();
  for (size_t bit = 0; bit < file.size() * 8; ++bit) {
    file[bit / 8] = static_cast<char>(file[bit / 8] ^ (1 << bit % 8));
    if (const auto header = parse(file); header.ok()) {
      for (const GgufTensor& tensor : header->tensors) ASSERT_LE(tensor.offset + tensor.bytes, file.size());
    }
    file[bit / 8] = static_cast<char>(file[bit / 8] ^ (1 << bit % 8));
  }
}

TEST(Gguf, UnusualButLegal) {
  EXPECT_TRUE(parse(Bytes().header(0, 0).str()).ok());
  EXPECT_TRUE(parse(Bytes().header(0, 0, 2).str()).ok());
  EXPECT_TRUE(parse(Bytes().header(0, 1).array("k", GgufType::string, 0).str()).ok());
  // A type that is only measured, and a hole between tensors.
  const auto header =
      parse(Bytes().header(2, 0).tensor("a", {3}, 28, 0).tensor("b", {1}, 0, 128).data(132).str());
  ASSERT_TRUE(header.ok()) << header.status().message();
  EXPECT_EQ(header->tensors[0].dtype, std::nullopt);
  EXPECT_EQ(header->tensors[0].dtype_name, "F64");
  EXPECT_EQ(header->tensors[0].bytes, 24u);
}

TEST(Gguf, LargeVocabularyParsesFast) {
  GgufMetadata metadata;
  StringArray tokens;
  std::vector<float> scores;
  for (int i = 0; i < 262144; ++i) {
    tokens.push_back("token" + std::to_string(i));
    scores.push_back(static_cast<float>(-i));
  }
  metadata.set("tokenizer.ggml.tokens", GgufValue::strings(tokens));
  metadata.set("tokenizer.ggml.scores", GgufValue::numbers(numbers_of(GgufType::f32, scores)));
  const auto file = serialize_gguf(metadata);
  ASSERT_TRUE(file.ok());
  const auto start = std::chrono::steady_clock::now();
  const auto header = parse_gguf(std::as_bytes(std::span(*file)), "f.gguf");
  const auto took = std::chrono::steady_clock::now() - start;
  ASSERT_TRUE(header.ok());
  EXPECT_EQ(header->metadata, metadata);
  RecordProperty("parse_us",
                 static_cast<int>(std::chrono::duration_cast<std::chrono::microseconds>(took).count()));
  EXPECT_LT(took, std::chrono::milliseconds(
                      500));  // 3 ms in a release build; sanitizers and a busy machine are slow
}

// ---- writing

TEST(Gguf, WritesWhatItReads) {
  const std::string original = small_file();
  const auto header = parse(original);
  ASSERT_TRUE(header.ok());
  std::vector<GgufTensorData> tensors;
  for (const GgufTensor& t : header->tensors) {
    tensors.push_back(
        {t.name, *t.dtype, t.shape, std::as_bytes(std::span(original)).subspan(t.offset, t.bytes)});
  }
  const auto again = serialize_gguf(header->metadata, tensors);
  ASSERT_TRUE(again.ok()) << again.status().message();
  const auto reread = parse(*again);
  ASSERT_TRUE(reread.ok()) << reread.status().message();
  EXPECT_EQ(reread->metadata, header->metadata);
  ASSERT_EQ(reread->tensors.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(reread->tensors[i].name, header->tensors[i].name);
    EXPECT_EQ(reread->tensors[i].shape, header->tensors[i].shape);
    EXPECT_EQ(again->substr(reread->tensors[i].offset, reread->tensors[i].bytes),
              original.substr(header->tensors[i].offset, header->tensors[i].bytes));
  }
}

TEST(Gguf, WriterRefusesWhatTheReaderWould) {
  GgufMetadata metadata;
  metadata.set("general.alignment", GgufValue::u32(13));
  EXPECT_FALSE(serialize_gguf(metadata).ok());
  const std::vector<std::byte> data(64);
  const GgufTensorData good = {"t", DType::f32, {4, 4}, data};
  EXPECT_TRUE(serialize_gguf(GgufMetadata(), {{good}}).ok());
  const GgufTensorData bad[] = {{"t", DType::f32, {4, 5}, data},
                                {"t", DType::u8, {64}, data},
                                {"", DType::f32, {16}, data},
                                {"t", DType::f32, {1, 1, 1, 4, 4}, data},
                                {"t", DType::f32, {1ull << 63, 1ull << 63}, data}};
  for (const GgufTensorData& tensor : bad) EXPECT_FALSE(serialize_gguf(GgufMetadata(), {{tensor}}).ok());
  const GgufTensorData twice[] = {good, good};
  EXPECT_FALSE(serialize_gguf(GgufMetadata(), twice).ok());
}

// ---- split models

struct Part {
  uint16_t number;
  uint16_t count = 3;
  int32_t tensors = 3;
  std::string tensor = {};  // "t" and its number unless given
  std::string architecture = "llama";
};

void write_part(const std::string& path, const Part& part) {
  GgufMetadata metadata;
  metadata.set("split.no", {GgufType::u16, uint64_t{part.number}});
  metadata.set("split.count", {GgufType::u16, uint64_t{part.count}});
  metadata.set("split.tensors.count", {GgufType::i32, int64_t{part.tensors}});
  metadata.set("general.architecture", GgufValue::string(part.architecture));
  const float value = part.number;
  const std::string name = part.tensor.empty() ? fmt::format("t{}", part.number) : part.tensor;
  const GgufTensorData tensor = {name, DType::f32, {1}, std::as_bytes(std::span(&value, 1))};
  const Status status = write_gguf(path, metadata, {&tensor, 1});
  ASSERT_TRUE(status.ok()) << status.message();
}

TEST(GgufSplit, AllPartsAreRead) {
  const std::string stem = path_in_temp("good");
  for (uint16_t i = 0; i < 3; ++i) write_part(fmt::format("{}-{:05}-of-00003.gguf", stem, i + 1), {i});
  const auto model = GgufFile::open(stem + "-00001-of-00003.gguf");
  ASSERT_TRUE(model.ok()) << model.status().message();
  ASSERT_EQ(model->tensors.size(), 3u);
  for (const GgufTensor& tensor : model->tensors) {
    float value = -1;
    ASSERT_TRUE(
        model->parts[tensor.part].read_at(tensor.offset, std::as_writable_bytes(std::span(&value, 1))).ok());
    EXPECT_EQ(tensor.name, fmt::format("t{}", value));
  }
  EXPECT_THAT(GgufFile::open(stem + "-00002-of-00003.gguf").status().message(),
              HasSubstr("give the first part, " + stem + "-00001-of-00003.gguf"));
}

TEST(GgufSplit, PartsThatDoNotBelongTogether) {
  struct Case {
    const char* what;
    std::vector<Part> parts;
    const char* message;
  };
  const Case cases[] = {
      {"missing", {{0}, {1}}, "no such file"},
      {"order", {{0}, {2}, {1}}, "holds part 3 of 3 where part 2 of 3 belongs"},
      {"count", {{0}, {1, 2}, {2}}, "holds part 2 of 2 where part 2 of 3 belongs"},
      {"total", {{0, 3, 4}, {1, 3, 4}, {2, 3, 4}}, "4 tensors by its split.tensors.count"},
      {"other", {{0}, {1}, {2, 3, 3, "", "gpt2"}}, "another model"},
      {"twice", {{0}, {1}, {2, 3, 3, "t0"}}, "tensor \"t0\" is in"},
  };
  for (const Case& c : cases) {
    const std::string stem = path_in_temp(c.what);
    for (size_t i = 0; i < c.parts.size(); ++i) {
      write_part(fmt::format("{}-{:05}-of-00003.gguf", stem, i + 1), c.parts[i]);
    }
    const auto model = GgufFile::open(stem + "-00001-of-00003.gguf");
    ASSERT_FALSE(model.ok()) << c.what;
    EXPECT_THAT(model.status().message(), HasSubstr(c.message));
  }
}

TEST(GgufSplit, TheNameMustLetTheOthersBeFound) {
  const std::string path = path_in_temp("renamed.gguf");
  write_part(path, {0});
  EXPECT_THAT(GgufFile::open(path).status().message(), HasSubstr("must end in -00001-of-00003.gguf"));
}

// ---- real files

TEST(Gguf, ReadsVocabularies) {
  const std::string dir = std::string(SLUICE_SOURCE_DIR) + "/../shared/testdata/tokenizers";
  if (!is_directory(dir)) GTEST_SKIP() << "no vocabularies at " << dir;
  int read = 0;
  for (const auto& entry : std::filesystem::directory_iterator(dir)) {
    if (entry.path().extension() != ".gguf") continue;
    const auto model = GgufFile::open(entry.path().string());
    ASSERT_TRUE(model.ok()) << model.status().message();
    const auto tokens = model->metadata.get_strings("tokenizer.ggml.tokens");
    ASSERT_TRUE(tokens.ok()) << tokens.status().message();
    EXPECT_GT((*tokens)->size(), 1000u);
    EXPECT_EQ(model->metadata.get_array<int32_t>("tokenizer.ggml.token_type")->size(), (*tokens)->size());
    const auto again = serialize_gguf(model->metadata);
    ASSERT_TRUE(again.ok());
    EXPECT_EQ(parse_gguf(std::as_bytes(std::span(*again)), "again")->metadata, model->metadata);
    ++read;
  }
  EXPECT_GT(read, 0);
}

}  // namespace
}  // namespace sluice::model
