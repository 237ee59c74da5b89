#include "model/checkpoint/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

namespace sluice::model {
namespace {

using testing::HasSubstr;

std::string file_of(uint64_t length, std::string_view header, size_t data_bytes) {
  std::string file(reinterpret_cast<const char*>(&length), 8);
  file += header;
  file.resize(file.size() + data_bytes);
  return file;
}
std::string file_of(std::string_view header, size_t data_bytes) {
  return file_of(header.size(), header, data_bytes);
}

Result<SafetensorsHeader> parse(std::string_view text) {
  // A copy of exactly this size: reading one byte more is an error under ASan.
  const std::vector<char> exact(text.begin(), text.end());
  return parse_safetensors(std::as_bytes(std::span(exact)), exact.size(), "f.safetensors");
}

std::string small_file() {
  return file_of(R"({"__metadata__":{"format":"pt"},)"
                 R"("b":{"dtype":"BF16","shape":[2,3],"data_offsets":[4,16]},)"
                 R"("s":{"dtype":"F32","shape":[],"data_offsets":[0,4]},)"
                 R"("f":{"dtype":"F8_E4M3","shape":[3],"data_offsets":[16,19]},)"
                 R"("e":{"dtype":"I64","shape":[0,7],"data_offsets":[19,19]}}   )",
                 19);
}

TEST(Safetensors, ReadsTensorsInTheOrderOfTheirBytes) {
  const auto header = parse(small_file());
  ASSERT_TRUE(header.ok()) << header.status().message();
  EXPECT_EQ(header->metadata.at("format"), "pt");
  ASSERT_EQ(header->tensors.size(), 4u);
  const SafetensorsTensor &s = header->tensors[0], &b = header->tensors[1], &f = header->tensors[2];
  EXPECT_EQ(s.name, "s");
  EXPECT_TRUE(s.shape.empty());
  EXPECT_EQ(s.bytes, 4u);
  EXPECT_EQ(b.dtype, DType::bf16);
  EXPECT_THAT(b.shape, testing::ElementsAre(2, 3));
  EXPECT_EQ(b.offset, s.offset + 4);
  EXPECT_EQ(f.dtype, std::nullopt);
  EXPECT_EQ(f.dtype_name, "F8_E4M3");
  EXPECT_EQ(header->tensors[3].bytes, 0u);
  EXPECT_EQ(header->tensors[3].offset, small_file().size());
}

// A header with one tensor "t" with these fields, over 16 bytes of data.
std::string one(std::string_view fields) { return file_of(fmt::format(R"({{"t":{{{}}}}})", fields), 16); }
std::string two(std::string_view first, std::string_view second) {
  return file_of(fmt::format(R"({{"a":{{"dtype":"U8","shape":[8],"data_offsets":{}}},)"
                             R"("b":{{"dtype":"U8","shape":[8],"data_offsets":{}}}}})",
                             first, second),
                 16);
}
std::string many_dims(size_t n) {
  std::string shape = "1";
  for (size_t i = 1; i < n; ++i) shape += ",1";
  return one(fmt::format(R"("dtype":"U8","shape":[{}],"data_offsets":[0,1])", shape));
}

struct BadFile {
  const char* what;
  std::string file;
  const char* message;
};

TEST(Safetensors, BadFilesAreRefused) {
  const BadFile bad_files[] = {
      {"empty", "", "too short"},
      {"7 bytes", std::string(7, '\0'), "too short"},
      {"length 0", file_of(0, "{}", 0), "its header would take 0"},
      {"length 1", file_of(1, "{}", 0), "its header would take 1"},
      {"length beyond the file", file_of(3, "{}", 0), "its header would take 3"},
      {"length 100 MB + 1", file_of(100'000'001, "{}", 0), "100000001"},
      {"length 2^63", file_of(uint64_t{1} << 63, "{}", 0), "9223372036854775808"},
      {"length 2^64 - 1", file_of(UINT64_MAX, "{}", 0), "18446744073709551615"},
      {"no object", file_of("[1]", 0), "no JSON object"},
      {"leading space", file_of(" {}", 0), "no JSON object"},
      {"trailing text", file_of("{} x", 0), "no JSON object"},
      {"trailing newline", file_of("{}\n", 0), "no JSON object"},
      {"second object", file_of("{}{}", 0), "header"},
      {"invalid UTF-8", file_of("{\"\xff\":{}}", 0), "header"},
      {"deep", file_of(R"({"t":)" + std::string(100000, '[') + std::string(100000, ']') + "}", 0),
       "too deep"},
      {"name twice", two("[0,8]", "[8,16]").replace(8 + 2, 1, "b"), "duplicate"},
      {"metadata", file_of(R"({"__metadata__":{"a":1}})", 0), "is no string"},
      {"metadata array", file_of(R"({"__metadata__":["a"]})", 0), "__metadata__"},
      {"entry", file_of(R"({"t":5})", 16), "no JSON object"},
      {"dtype missing", one(R"("shape":[16],"data_offsets":[0,16])"), "dtype is missing"},
      {"dtype number", one(R"("dtype":1,"shape":[16],"data_offsets":[0,16])"), "dtype is missing"},
      {"dtype unknown", one(R"("dtype":"F8_E9M9","shape":[16],"data_offsets":[0,16])"),
       R"(tensor "t" has dtype "F8_E9M9")"},
      {"shape missing", one(R"("dtype":"U8","data_offsets":[0,16])"), "shape is missing"},
      {"shape negative", one(R"("dtype":"U8","shape":[-16],"data_offsets":[0,16])"), "shape holds"},
      {"shape float", one(R"("dtype":"U8","shape":[16.0],"data_offsets":[0,16])"), "shape holds"},
      {"shape overflow", one(R"("dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,16])"),
       "does not take"},
      {"bytes overflow", one(R"("dtype":"F64","shape":[2305843009213693954],"data_offsets":[0,16])"),
       "does not take"},
      {"too small", one(R"("dtype":"U8","shape":[15],"data_offsets":[0,16])"), "does not take the 16 bytes"},
      {"too large", one(R"("dtype":"F32","shape":[5],"data_offsets":[0,16])"), "does not take the 16 bytes"},
      {"half a byte", one(R"("dtype":"F4","shape":[33],"data_offsets":[0,16])"), "does not take"},
      {"65 dimensions", many_dims(65), "65 dimensions"},
      {"rank 2^20", many_dims(1 << 20), "1048576 dimensions"},
      {"offsets missing", one(R"("dtype":"U8","shape":[16])"), "data_offsets are missing"},
      {"offsets negative", one(R"("dtype":"U8","shape":[16],"data_offsets":[-1,15])"),
       "data_offsets are missing"},
      {"three offsets", one(R"("dtype":"U8","shape":[16],"data_offsets":[0,16,16])"),
       "data_offsets are missing"},
      {"reversed", one(R"("dtype":"U8","shape":[16],"data_offsets":[16,0])"), "reversed or beyond"},
      {"beyond the end", one(R"("dtype":"U8","shape":[17],"data_offsets":[0,17])"), "reversed or beyond"},
      {"2^64", one(R"("dtype":"U8","shape":[1],"data_offsets":[18446744073709551615,18446744073709551616])"),
       "data_offsets"},
      {"empty range", one(R"("dtype":"U8","shape":[16],"data_offsets":[0,0])"), "does not take the 0 bytes"},
      {"overlap", two("[0,8]", "[4,12]"), "overlap"},
      {"same bytes", two("[0,8]", "[0,8]"), "overlap"},
      {"hole in front", one(R"("dtype":"U8","shape":[8],"data_offsets":[8,16])"), "leave a hole"},
      {"rest unused", one(R"("dtype":"U8","shape":[8],"data_offsets":[0,8])"), "the tensors end at byte"},
      {"data without tensors", file_of("{}", 1), "the tensors end at byte"},
  };
  for (const BadFile& bad : bad_files) {
    const auto header = parse(bad.file);
    ASSERT_FALSE(header.ok()) << bad.what;
    EXPECT_THAT(header.status().message(), HasSubstr(bad.message)) << bad.what;
    EXPECT_THAT(header.status().message(), testing::StartsWith("f.safetensors")) << bad.what;
    EXPECT_EQ(header.status().message().find('\n'), std::string::npos) << bad.what;
  }
}

TEST(Safetensors, EveryTruncationIsAnError) {
  const std::string file = small_file();
  for (size_t n = 0; n < file.size(); ++n) EXPECT_FALSE(parse(std::string_view(file).substr(0, n)).ok()) << n;
}

TEST(Safetensors, NoBitFlipCrashes) {
  std::string file = small_file();
  for (size_t bit = 0; bit < (file.size() - 19) * 8; ++bit) {
    file[bit / 8] = static_cast<char>(file[bit / 8] ^ (1 << bit % 8));
    if (const auto header = parse(file); header.ok()) {
      for (const SafetensorsTensor& tensor : header->tensors)
        ASSERT_LE(tensor.offset + tensor.bytes, file.size());
    }
    file[bit / 8] = static_cast<char>(file[bit / 8] ^ (1 << bit % 8));
  }
}

// ---- index

TEST(SafetensorsIndex, ReadsTheMap) {
  const auto index = parse_safetensors_index(
      R"({"metadata":{"total_size":4},"weight_map":{"x":"b.safetensors","y":"a.safetensors","z":"b.safetensors"}})",
      "i");
  ASSERT_TRUE(index.ok()) << index.status().message();
  EXPECT_THAT(index->shards, testing::ElementsAre("a.safetensors", "b.safetensors"));
  EXPECT_EQ(index->weight_map.at("x"), 1u);
  EXPECT_EQ(index->weight_map.at("y"), 0u);
}

TEST(SafetensorsIndex, BadOnesAreRefused) {
  for (const char* text :
       {"", "{", "[]", "5", "{}", R"({"weight_map":{}})", R"({"weight_map":[]})", R"({"weight_map":null})",
        R"({"weight_map":{"x":1}})", R"({"weight_map":{"x":null}})",
        R"({"weight_map":{"x":"a.safetensors","x":"b.safetensors"}})"}) {
    const auto index = parse_safetensors_index(text, "i.json");
    ASSERT_FALSE(index.ok()) << text;
    EXPECT_THAT(index.status().message(), testing::StartsWith("i.json")) << text;
  }
  for (const char* shard :
       {"", ".", "..", "../../etc/passwd", "../a.safetensors", "/tmp/a.safetensors", "d/a.safetensors",
        "a.bin", ".safetensors", "a.safetensors\\u0000", "a.safetensors/"}) {
    const auto index =
        parse_safetensors_index(fmt::format(R"({{"weight_map":{{"x":"{}"}}}})", shard), "i.json");
    ASSERT_FALSE(index.ok()) << shard;
    EXPECT_THAT(index.status().message(), HasSubstr("must name a .safetensors file in the same directory"))
        << shard;
  }
}

TEST(SafetensorsIndex, MillionsOfShardsAreRefused) {
  std::string text = R"({"weight_map":{)";
  for (int i = 0; i < 100'000; ++i)
    text += fmt::format(R"({}"t{}":"{}.safetensors")", i == 0 ? "" : ",", i, i);
  EXPECT_THAT(parse_safetensors_index(text + "}}", "i").status().message(), HasSubstr("100000 shards"));
}

// ---- writing

TEST(Safetensors, WritesWhatItReads) {
  const std::vector<float> a = {1, 2, 3, 4, 5, 6};
  const std::vector<uint16_t> b = {7};
  const SafetensorsTensorData tensors[] = {{"odd \"name\"\n", DType::bf16, {}, std::as_bytes(std::span(b))},
                                           {"a", DType::f32, {2, 3}, std::as_bytes(std::span(a))}};
  const auto file = serialize_safetensors(tensors, {{"format", "pt"}});
  ASSERT_TRUE(file.ok()) << file.status().message();
  const auto header = parse(*file);
  ASSERT_TRUE(header.ok()) << header.status().message();
  EXPECT_EQ(header->metadata.at("format"), "pt");
  ASSERT_EQ(header->tensors.size(), 2u);
  EXPECT_EQ(header->tensors[0].name, "odd \"name\"\n");
  EXPECT_EQ(header->tensors[0].offset % 8, 0u);
  const SafetensorsTensor& t = header->tensors[1];
  EXPECT_THAT(t.shape, testing::ElementsAre(2, 3));
  EXPECT_EQ(std::memcmp(file->data() + t.offset, a.data(), t.bytes), 0);
  EXPECT_TRUE(serialize_safetensors({}).ok());
}

TEST(Safetensors, WriterRefusesWhatTheReaderWould) {
  const std::vector<std::byte> data(64);
  const SafetensorsTensorData bad[] = {{"t", DType::f32, {4, 5}, data}, {"t", DType::q8_0, {64}, data}};
  for (const SafetensorsTensorData& tensor : bad) EXPECT_FALSE(serialize_safetensors({{tensor}}).ok());
  const SafetensorsTensorData good = {"t", DType::f32, {4, 4}, data};
  const SafetensorsTensorData twice[] = {good, good};
  EXPECT_FALSE(serialize_safetensors(twice).ok());
}

}  // namespace
}  // namespace sluice::model
