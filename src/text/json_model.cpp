// The model and the post-processor of tokenizer.json.
#include <algorithm>
#include <cmath>

#include "text/bpe.h"
#include "text/json_components.h"
#include "text/unigram.h"
#include "text/word_models.h"

namespace sluice::text {
namespace {

// Models that compare every beginning of a word with the vocabulary do work in proportion to their longest
// token.
constexpr size_t kMaxPieceBytes = 1024;

Result<std::string> model_type(const Fields& model) {
  SLUICE_ASSIGN(const std::string type, model.string("type", ""));
  if (!type.empty()) return type;
  // Files from before the field existed.
  if (model.find("merges") != nullptr) return std::string("BPE");
  if (const Json* vocab = model.find("vocab"); vocab != nullptr && vocab->is_array())
    return std::string("Unigram");
  return corrupt("{} is missing; it must name the model", model.where("type"));
}

Status add_token(Pipeline& pipeline, const std::string& token, const Json& id, const std::string& where) {
  if (!id.is_number_integer()) return corrupt("{}: the id of \"{}\" must be an integer", where, token);
  const auto number =
      id.is_number_unsigned() && id.get<uint64_t>() > INT64_MAX ? INT64_MAX : id.get<int64_t>();
  if (number < 0 || number >= Vocab::kMaxSize) {
    return corrupt("{}: the id of \"{}\" is {}, outside [0, {})", where, token, dump_json(id),
                   Vocab::kMaxSize);
  }
  return pipeline.vocab.add(static_cast<int32_t>(number), token, Vocab::kModel).with_context(where);
}

Status read_unigram_vocab(const Fields& model, Pipeline& pipeline) {
  SLUICE_ASSIGN(const Json* vocab, model.array("vocab"));
  pipeline.vocab.reserve(vocab->size(), vocab->size() * 8);
  // Trainers may list a token twice; its last id is the one that texts get.
  for (size_t i = vocab->size(); i-- > 0;) {
    const Json& entry = (*vocab)[i];
    if (!entry.is_array() || entry.size() != 2 || !entry[0].is_string() || !entry[1].is_number()) {
      return corrupt("{}[{}] must be a token and its score", model.where("vocab"), i);
    }
    const auto& token = entry[0].get_ref<const std::string&>();
    const auto id = static_cast<int32_t>(std::min<size_t>(i, Vocab::kMaxSize));
    const Status added = pipeline.vocab.find(token) ? pipeline.vocab.add_duplicate(id, token, Vocab::kModel)
                                                    : pipeline.vocab.add(id, token, Vocab::kModel);
    if (!added.ok()) return added.with_context(model.where("vocab"));
  }
  if (vocab->empty()) return corrupt("{} is empty", model.where("vocab"));
  return {};
}

// The id of a token that a field names; nothing when the field is missing or null.
Result<std::optional<int32_t>> named_token(const Fields& model, const char* field, const Vocab& vocab) {
  if (model.find(field) == nullptr) return std::optional<int32_t>();
  SLUICE_ASSIGN(const std::string name, model.string(field));
  const auto id = vocab.find(name);
  if (!id) return corrupt("{} is \"{}\", which is not in the vocabulary", model.where(field), name);
  return std::optional<int32_t>(*id);
}

Status read_merges(const Fields& model, MergeListReader& reader) {
  SLUICE_ASSIGN(const Json* merges, model.array("merges"));
  const std::string where = model.where("merges");
  for (size_t i = 0; i < merges->size(); ++i) {
    const Json& merge = (*merges)[i];
    Status added;
    if (merge.is_string()) {
      const auto& line = merge.get_ref<const std::string&>();
      if (line.starts_with("#version")) continue;
      added = reader.add_line(line);
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      added = reader.add(merge[0].get_ref<const std::string&>(), merge[1].get_ref<const std::string&>());
    } else {
      added = corrupt("merge {} must be a string of two tokens or a pair of strings", i);
    }
    if (!added.ok()) return added.with_context(where);
  }
  return {};
}

Status read_bpe(const Fields& model, Pipeline& pipeline) {
  BpeOptions options;
  SLUICE_ASSIGN(options.unk_id, named_token(model, "unk_token", pipeline.vocab));
  SLUICE_ASSIGN(options.fuse_unk, model.boolean("fuse_unk", false));
  SLUICE_ASSIGN(options.byte_fallback, model.boolean("byte_fallback", false));
  SLUICE_ASSIGN(options.ignore_merges, model.boolean("ignore_merges", false));
  SLUICE_ASSIGN(options.continuing_subword_prefix, model.string("continuing_subword_prefix", ""));
  SLUICE_ASSIGN(options.end_of_word_suffix, model.string("end_of_word_suffix", ""));
  SLUICE_ASSIGN(const Json* merges, model.array("merges"));
  MergeListReader reader(pipeline.vocab, merges->size(), options.continuing_subword_prefix);
  SLUICE_TRY(read_merges(model, reader));
  pipeline.unk_id = options.unk_id;
  pipeline.model = std::make_unique<RankedBpe>(pipeline.vocab, reader.take(), std::move(options));
  return {};
}

Status check_piece_lengths(const Fields& model, const Vocab& vocab) {
  for (int32_t id = 0; id < vocab.size(); ++id) {
    if ((vocab.flags(id) & Vocab::kModel) && vocab.token(id).size() > kMaxPieceBytes) {
      return corrupt("{}: the token of id {} has {} bytes, the limit of this model is {}",
                     model.where("vocab"), id, vocab.token(id).size(), kMaxPieceBytes);
    }
  }
  return {};
}

Status read_unigram(const Fields& model, Pipeline& pipeline) {
  SLUICE_ASSIGN(const Json* vocab, model.array("vocab"));
  std::vector<double> scores(static_cast<size_t>(pipeline.vocab.size()), 0.0);
  for (size_t i = 0; i < vocab->size(); ++i) {
    scores[i] = (*vocab)[i][1].get<double>();
    if (!std::isfinite(scores[i])) return corrupt("{}[{}]: the score is not finite", model.where("vocab"), i);
  }
  if (model.find("unk_id") != nullptr) {
    SLUICE_ASSIGN(const int64_t unk, model.integer("unk_id"));
    if (unk < 0 || static_cast<size_t>(unk) >= vocab->size()) {
      return corrupt("{} is {}, the vocabulary has {} tokens", model.where("unk_id"), unk, vocab->size());
    }
    pipeline.unk_id = static_cast<int32_t>(unk);
  }
  SLUICE_ASSIGN(const bool byte_fallback, model.boolean("byte_fallback", false));
  if (byte_fallback && !ByteTokens::find(pipeline.vocab)) {
    return corrupt("{} is true, but the vocabulary lacks some of the tokens <0x00> to <0xFF>",
                   model.where("byte_fallback"));
  }
  pipeline.model =
      std::make_unique<Unigram>(pipeline.vocab, std::move(scores), pipeline.unk_id, byte_fallback);
  return {};
}

Status read_word_piece(const Fields& model, Pipeline& pipeline) {
  WordPieceOptions options;
  SLUICE_ASSIGN(pipeline.unk_id, named_token(model, "unk_token", pipeline.vocab));
  if (!pipeline.unk_id) return corrupt("{} is missing, which WordPiece needs", model.where("unk_token"));
  options.unk_id = *pipeline.unk_id;
  SLUICE_ASSIGN(options.continuing_prefix, model.string("continuing_subword_prefix", "##"));
  SLUICE_ASSIGN(const int64_t max_chars, model.integer("max_input_chars_per_word", 100));
  if (max_chars < 1) return corrupt("{} is {}", model.where("max_input_chars_per_word"), max_chars);
  options.max_chars = static_cast<size_t>(max_chars);
  pipeline.model = std::make_unique<WordPiece>(pipeline.vocab, std::move(options));
  return {};
}

// One element of a template: "Sequence" A, or a special token and its ids.
Status read_template_piece(const Json& piece, const Fields& fields, bool& behind, Pipeline& pipeline,
                           std::vector<int32_t>& prefix, std::vector<int32_t>& suffix) {
  const std::string where = fields.where("single");
  const bool known = piece.is_object() && piece.size() == 1 &&
                     (piece.begin().key() == "Sequence" || piece.begin().key() == "SpecialToken");
  if (!known) return corrupt("{} must hold SpecialToken and Sequence objects", where);
  const Fields content(piece.begin().value(), where + "." + piece.begin().key());
  SLUICE_ASSIGN(const std::string id, content.string("id"));
  if (piece.begin().key() == "Sequence") {
    if (behind || id != "A") return unsupported("{} must hold the sequence A once", where);
    behind = true;
    return {};
  }
  SLUICE_ASSIGN(const Json* specials, fields.object("special_tokens"));
  const Fields special_tokens(*specials, fields.where("special_tokens"));
  SLUICE_ASSIGN(const Json* special, special_tokens.object(id.c_str()));
  const Fields token(*special, special_tokens.where(id));
  SLUICE_ASSIGN(const Json* ids, token.array("ids"));
  for (const Json& value : *ids) {
    if (!value.is_number_integer() || value < 0 || value >= pipeline.vocab.size()) {
      return corrupt("{} holds {}, which is no id of the vocabulary", token.where("ids"), dump_json(value));
    }
    (behind ? suffix : prefix).push_back(value.get<int32_t>());
  }
  return {};
}

Status read_template(const Fields& fields, Pipeline& pipeline) {
  SLUICE_ASSIGN(const Json* single, fields.array("single"));
  std::vector<int32_t> prefix;
  std::vector<int32_t> suffix;
  bool behind = false;
  for (const Json& piece : *single) {
    SLUICE_TRY(read_template_piece(piece, fields, behind, pipeline, prefix, suffix));
  }
  if (!behind) return unsupported("{} must hold the sequence A once", fields.where("single"));
  pipeline.prefix.insert(pipeline.prefix.begin(), prefix.begin(), prefix.end());
  pipeline.suffix.insert(pipeline.suffix.end(), suffix.begin(), suffix.end());
  return {};
}

// "cls" or "sep" of a BertProcessing: [token, id].
Result<int32_t> read_token_pair(const Fields& fields, const char* name, const Vocab& vocab) {
  SLUICE_ASSIGN(const Json* pair, fields.array(name));
  const bool valid =
      pair->size() == 2 && (*pair)[1].is_number_integer() && (*pair)[1] >= 0 && (*pair)[1] < vocab.size();
  if (!valid) return corrupt("{} must be a token and its id in the vocabulary", fields.where(name));
  return (*pair)[1].get<int32_t>();
}

Status read_one_post_processor(const Json& json, const std::string& where, Pipeline& pipeline, int depth) {
  if (json.is_null()) return {};
  if (!json.is_object() || depth > 16)
    return corrupt("{} must be an object or null, not nested deeply", where);
  const Fields fields(json, where);
  SLUICE_ASSIGN(const std::string type, fields.string("type"));
  if (type == "Sequence") {
    SLUICE_ASSIGN(const Json* parts, fields.array("processors"));
    for (size_t i = 0; i < parts->size(); ++i) {
      const std::string part = fmt::format("{}[{}]", fields.where("processors"), i);
      SLUICE_TRY(read_one_post_processor((*parts)[i], part, pipeline, depth + 1));
    }
    return {};
  }
  if (type == "ByteLevel") return {};  // concerns offsets only
  if (type == "TemplateProcessing") return read_template(fields, pipeline);
  if (type == "BertProcessing" || type == "RobertaProcessing") {
    SLUICE_ASSIGN(const int32_t cls, read_token_pair(fields, "cls", pipeline.vocab));
    SLUICE_ASSIGN(const int32_t sep, read_token_pair(fields, "sep", pipeline.vocab));
    pipeline.prefix.insert(pipeline.prefix.begin(), cls);
    pipeline.suffix.push_back(sep);
    return {};
  }
  return unsupported("{}.type \"{}\" is not supported; the tokenizer would give wrong ids without it", where,
                     type);
}

}  // namespace

Status read_model_vocab(const Fields& model, Pipeline& pipeline) {
  SLUICE_ASSIGN(const std::string type, model_type(model));
  if (type == "Unigram") return read_unigram_vocab(model, pipeline);
  if (type != "BPE" && type != "WordPiece" && type != "WordLevel") {
    return unsupported("{} \"{}\" is not supported", model.where("type"), type);
  }
  SLUICE_ASSIGN(const Json* vocab, model.object("vocab"));
  pipeline.vocab.reserve(vocab->size(), vocab->size() * 8);
  const std::string where = model.where("vocab");
  for (auto token = vocab->begin(); token != vocab->end(); ++token) {
    SLUICE_TRY(add_token(pipeline, token.key(), token.value(), where));
  }
  return {};
}

Status read_model(const Fields& model, Pipeline& pipeline) {
  SLUICE_ASSIGN(const std::string type, model_type(model));
  if (type == "BPE") return read_bpe(model, pipeline);
  SLUICE_TRY(check_piece_lengths(model, pipeline.vocab));
  if (type == "Unigram") return read_unigram(model, pipeline);
  if (type == "WordPiece") return read_word_piece(model, pipeline);
  SLUICE_ASSIGN(pipeline.unk_id, named_token(model, "unk_token", pipeline.vocab));
  pipeline.model = std::make_unique<WordLevel>(pipeline.vocab, pipeline.unk_id);
  return {};
}

Status read_post_processor(const Json& json, const std::string& where, Pipeline& pipeline) {
  return read_one_post_processor(json, where, pipeline, 0);
}

}  // namespace sluice::text
