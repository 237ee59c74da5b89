#include "text/sentencepiece_model.h"

#include <cmath>

#include "text/bpe.h"
#include "text/json_fields.h"
#include "text/pipeline.h"
#include "text/protobuf.h"
#include "text/unigram.h"

namespace sluice::text {
namespace {

constexpr std::string_view kSpaceMark = "\xE2\x96\x81";  // U+2581

// Field numbers of sentencepiece_model.proto.
enum PieceType : uint64_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6
};

struct Piece {
  std::string_view text;
  float score = 0;
  uint64_t type = kNormal;
};

struct ModelProto {
  std::vector<Piece> pieces;
  uint64_t model_type = 1;  // 1 Unigram, 2 BPE, 3 WORD, 4 CHAR
  bool byte_fallback = false;
  int32_t unk_id = 0, bos_id = 1, eos_id = 2, pad_id = -1;
  std::string_view charsmap;
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  bool escape_whitespaces = true;
  bool whitespace_as_suffix = false;
};

// Calls on_field for each field of a message.
template <typename Fn>
Status each_field(std::string_view message, Fn on_field) {
  for (ProtobufReader reader(message); !reader.done();) {
    SLUICE_ASSIGN(const ProtobufField field, reader.next());
    SLUICE_TRY(on_field(field));
  }
  return {};
}

Status read_piece(std::string_view message, ModelProto& model) {
  Piece piece;
  SLUICE_TRY(each_field(message, [&](const ProtobufField& field) {
    if (field.number == 1 && field.bytes) piece.text = *field.bytes;
    if (field.number == 2) piece.score = field.as_float();
    if (field.number == 3) piece.type = field.value;
    return Status();
  }));
  model.pieces.push_back(piece);
  return {};
}

Status read_trainer_spec(std::string_view message, ModelProto& model) {
  return each_field(message, [&](const ProtobufField& field) {
    const auto id = static_cast<int32_t>(field.value);
    switch (field.number) {
      case 3:
        model.model_type = field.value;
        break;
      case 24:
        model.whitespace_as_suffix = field.value != 0;
        break;
      case 35:
        model.byte_fallback = field.value != 0;
        break;
      case 40:
        model.unk_id = id;
        break;
      case 41:
        model.bos_id = id;
        break;
      case 42:
        model.eos_id = id;
        break;
      case 43:
        model.pad_id = id;
        break;
      default:
        break;
    }
    return Status();
  });
}

Status read_normalizer_spec(std::string_view message, ModelProto& model) {
  return each_field(message, [&](const ProtobufField& field) {
    switch (field.number) {
      case 2:
        if (field.bytes) model.charsmap = *field.bytes;
        break;
      case 3:
        model.add_dummy_prefix = field.value != 0;
        break;
      case 4:
        model.remove_extra_whitespaces = field.value != 0;
        break;
      case 5:
        model.escape_whitespaces = field.value != 0;
        break;
      default:
        break;
    }
    return Status();
  });
}

Result<ModelProto> parse(std::string_view bytes) {
  ModelProto model;
  SLUICE_TRY(each_field(bytes, [&](const ProtobufField& field) -> Status {
    if (!field.bytes) return {};
    if (field.number == 1) return read_piece(*field.bytes, model);
    if (field.number == 2) return read_trainer_spec(*field.bytes, model);
    if (field.number == 3) return read_normalizer_spec(*field.bytes, model);
    return {};
  }));
  if (model.pieces.empty()) return corrupt("there are no pieces");
  if (model.model_type != 1 && model.model_type != 2) {
    return unsupported("model_type {} is not supported, only Unigram (1) and BPE (2)", model.model_type);
  }
  if (!model.escape_whitespaces || model.whitespace_as_suffix) {
    return unsupported("escape_whitespaces false and treat_whitespace_as_suffix are not supported");
  }
  return model;
}

Status fill_vocab(const ModelProto& model, Pipeline& p) {
  std::vector<AddedToken> special_tokens;
  std::vector<AddedToken> user_defined;
  for (size_t i = 0; i < model.pieces.size(); ++i) {
    const Piece& piece = model.pieces[i];
    if (!std::isfinite(piece.score)) return corrupt("the score of piece {} is not finite", i);
    if (piece.text.empty()) return corrupt("piece {} is empty", i);
    const bool special = piece.type == kControl || piece.type == kUnknown;
    const bool in_model = piece.type == kNormal || piece.type == kUserDefined || piece.type == kUnused;
    const auto flags = static_cast<uint8_t>((special ? Vocab::kSpecial : 0) | (in_model ? Vocab::kModel : 0));
    SLUICE_TRY(p.vocab.add(static_cast<int32_t>(i), piece.text, flags));
    AddedToken token{.id = static_cast<int32_t>(i), .content = std::string(piece.text), .special = special};
    if (special) special_tokens.push_back(token);
    if (piece.type == kUserDefined) user_defined.push_back(token);
  }
  p.added = AddedTokenMatcher(std::move(special_tokens));
  // User-defined pieces are spelt as the normalised text is, with marks for spaces.
  p.added_normalized = AddedTokenMatcher(std::move(user_defined));
  return {};
}

Status set_ids(const ModelProto& model, std::string_view config_text, Pipeline& p) {
  const auto valid = [&](int32_t id) {
    return id >= 0 && id < p.vocab.size() ? std::optional<int32_t>(id) : std::nullopt;
  };
  p.unk_id = valid(model.unk_id);
  p.bos_id = valid(model.bos_id);
  p.eos_id = valid(model.eos_id);
  p.pad_id = valid(model.pad_id);
  if (p.eos_id) p.end_ids.push_back(*p.eos_id);

  Json config(Json::value_t::object);
  if (!config_text.empty()) {
    SLUICE_ASSIGN(config, parse_json(config_text, "tokenizer_config.json", {.allow_nan_literals = true}));
  }
  const Fields fields(config, "tokenizer_config.json");
  SLUICE_ASSIGN(const bool add_bos, fields.boolean("add_bos_token", model.model_type == 2));
  SLUICE_ASSIGN(const bool add_eos, fields.boolean("add_eos_token", model.model_type == 1));
  if (add_bos && p.bos_id) p.prefix.push_back(*p.bos_id);
  if (add_eos && p.eos_id) p.suffix.push_back(*p.eos_id);
  return {};
}

Status build(std::string_view bytes, std::string_view config, Pipeline& p) {
  SLUICE_ASSIGN(const ModelProto model, parse(bytes));
  SLUICE_TRY(fill_vocab(model, p));
  SLUICE_TRY(set_ids(model, config, p));

  if (!model.charsmap.empty()) {
    SLUICE_ASSIGN(PrecompiledCharsmap map, PrecompiledCharsmap::create(model.charsmap));
    p.normalizers.push_back(make_sentencepiece_charsmap(std::move(map)));
  }
  if (model.remove_extra_whitespaces) p.normalizers.push_back(make_collapse_spaces());
  if (model.add_dummy_prefix) p.normalizers.push_back(make_prepend(std::string(kSpaceMark)));
  SLUICE_ASSIGN(Pattern space, Pattern::literal(" "));
  p.normalizers.push_back(make_replace(std::move(space), std::string(kSpaceMark)));

  if (model.model_type == 2) {
    std::vector<float> scores;
    for (const Piece& piece : model.pieces) scores.push_back(piece.score);
    p.model = std::make_unique<ScoredBpe>(p.vocab, scores, p.unk_id);
  } else {
    std::vector<double> scores;
    for (const Piece& piece : model.pieces) scores.push_back(piece.score);
    p.model = std::make_unique<Unigram>(p.vocab, std::move(scores), p.unk_id, model.byte_fallback);
  }

  SLUICE_ASSIGN(Pattern mark, Pattern::literal(kSpaceMark));
  p.decoders.push_back(make_replace_decoder(std::move(mark), " ", false));
  p.decoders.push_back(make_byte_fallback_decoder());
  p.decoders.push_back(make_fuse_decoder());
  if (model.add_dummy_prefix) p.decoders.push_back(make_strip_decoder(" ", 1, 0, true));
  return {};
}

}  // namespace

Result<Tokenizer> make_sentencepiece_tokenizer(std::string_view model, std::string_view tokenizer_config) {
  auto pipeline = std::make_shared<Pipeline>();
  const Status built = build(model, tokenizer_config, *pipeline);
  if (!built.ok()) return built.with_context("tokenizer.model");
  return Tokenizer(std::move(pipeline));
}

}  // namespace sluice::text
