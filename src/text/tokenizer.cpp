#include "text/tokenizer.h"

#include <utility>

#include "base/check.h"
#include "text/pipeline.h"
#include "text/utf8.h"

namespace sluice::text {
namespace {

constexpr size_t kMaxTextBytes = size_t{1} << 30;

// A text with broken bytes replaced, and its literal ranges at their new places.
struct CleanText {
  std::string text;
  std::vector<TextRange> literal;
};

CleanText clean(std::string_view text, std::span<const TextRange> literal) {
  CleanText out;
  out.text.reserve(text.size());
  std::vector<size_t*> edges;  // offsets to move, in order
  out.literal.assign(literal.begin(), literal.end());
  for (TextRange& range : out.literal) {
    edges.push_back(&range.begin);
    edges.push_back(&range.end);
  }
  size_t next_edge = 0;
  for (size_t at = 0; at < text.size();) {
    const Utf8Char c = decode_utf8(text.substr(at));
    for (; next_edge < edges.size() && *edges[next_edge] <= at; ++next_edge)
      *edges[next_edge] = out.text.size();
    out.text += c.valid ? text.substr(at, c.length) : kReplacement;
    at += c.length;
  }
  for (; next_edge < edges.size(); ++next_edge) *edges[next_edge] = out.text.size();
  return out;
}

// Appends the ids of a text without added tokens of the first kind.
Status encode_segment(const Pipeline& p, std::string_view segment, const SpecialFilter& filter, bool at_start,
                      std::vector<int32_t>& ids) {
  std::string text(segment);
  SLUICE_TRY(normalize(p.normalizers, text));
  for (const Segment& part : p.added_normalized.split(text, filter)) {
    if (part.id != Segment::kText) {
      ids.push_back(part.id);
      continue;
    }
    Words words;
    words.text = text.substr(part.range.begin, part.range.end - part.range.begin);
    words.ranges = {{0, words.text.size()}};
    words.at_start = at_start && part.range.begin == 0;
    for (const auto& pre_tokenizer : p.pre_tokenizers) SLUICE_TRY(pre_tokenizer->apply(words));
    SLUICE_TRY(p.model->tokenize(words, ids));
  }
  return {};
}

bool overlaps(std::span<const TextRange> ranges, TextRange range) {
  for (const TextRange& r : ranges) {
    if (r.begin < range.end && range.begin < r.end) return true;
  }
  return false;
}

}  // namespace

Tokenizer::Tokenizer(std::shared_ptr<const Pipeline> pipeline) : pipeline_(std::move(pipeline)) {}

Result<std::vector<int32_t>> Tokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  if (text.size() >= kMaxTextBytes) {
    return invalid_argument("a text of {} bytes is too long to encode, the limit is {}", text.size(),
                            kMaxTextBytes);
  }
  const Pipeline& p = *pipeline_;
  std::span<const TextRange> literal = options.literal;
  CleanText cleaned;
  if (!is_valid_utf8(text)) {
    cleaned = clean(text, literal);
    text = cleaned.text;
    literal = cleaned.literal;
  }

  std::vector<int32_t> ids;
  if (options.add_special) ids = p.prefix;
  for (const Segment& segment : p.added.split(text, {options.parse_special, literal})) {
    if (segment.id != Segment::kText) {
      ids.push_back(segment.id);
      continue;
    }
    // Places in a normalised text are not places in the text: near the user's words nothing special is looked
    // for.
    const bool parse = options.parse_special && !overlaps(literal, segment.range);
    const std::string_view part = text.substr(segment.range.begin, segment.range.end - segment.range.begin);
    SLUICE_TRY(encode_segment(p, part, {parse, {}}, segment.range.begin == 0, ids));
  }
  if (options.add_special) ids.insert(ids.end(), p.suffix.begin(), p.suffix.end());
  return ids;
}

Result<std::string> Tokenizer::decode(std::span<const int32_t> ids, bool skip_special) const {
  const Vocab& vocab = pipeline_->vocab;
  DecodeStream stream(pipeline_->decoders, true);
  std::string out;
  for (const int32_t id : ids) {
    if (!vocab.contains(id)) {
      return invalid_argument("token id {} is outside the vocabulary, whose ids are 0 to {}", id,
                              vocab.size() - 1);
    }
    if (vocab.is_defined(id) && !(skip_special && vocab.is_special(id)))
      stream.push(pipeline_->spelling(id), out);
  }
  stream.flush(out);
  return out;
}

std::string Tokenizer::token_bytes(int32_t id) const {
  SLUICE_CHECK(pipeline_->vocab.contains(id), "id={} vocab_size={}", id, vocab_size());
  if (!pipeline_->vocab.is_defined(id)) return {};
  if (pipeline_->vocab.is_special(id)) return std::string(pipeline_->vocab.token(id));
  std::string bytes(pipeline_->spelling(id));
  for (const auto& stage : pipeline_->decoders) bytes = stage->bytes(std::move(bytes));
  return bytes;
}

std::string_view Tokenizer::token(int32_t id) const {
  SLUICE_CHECK(pipeline_->vocab.contains(id), "id={} vocab_size={}", id, vocab_size());
  return pipeline_->vocab.token(id);
}

std::optional<int32_t> Tokenizer::token_to_id(std::string_view token) const {
  return pipeline_->vocab.find(token);
}
int32_t Tokenizer::vocab_size() const { return pipeline_->vocab.size(); }
int32_t Tokenizer::model_vocab_size() const {
  int32_t size = vocab_size();
  while (size > 0 && !(pipeline_->vocab.flags(size - 1) & Vocab::kModel)) --size;
  return size;
}
bool Tokenizer::is_special(int32_t id) const {
  return pipeline_->vocab.contains(id) && pipeline_->vocab.is_special(id);
}

std::optional<int32_t> Tokenizer::bos_id() const { return pipeline_->bos_id; }
std::optional<int32_t> Tokenizer::eos_id() const { return pipeline_->eos_id; }
std::optional<int32_t> Tokenizer::unk_id() const { return pipeline_->unk_id; }
std::optional<int32_t> Tokenizer::pad_id() const { return pipeline_->pad_id; }
const std::vector<int32_t>& Tokenizer::end_ids() const { return pipeline_->end_ids; }

size_t Tokenizer::memory_bytes() const {
  const Pipeline& p = *pipeline_;
  return sizeof(Pipeline) + p.vocab.memory_bytes() + p.added.memory_bytes() +
         p.added_normalized.memory_bytes() + (p.model ? p.model->memory_bytes() : 0);
}

Status set_added_tokens(Pipeline& pipeline, std::vector<AddedToken> tokens) {
  std::vector<AddedToken> raw;
  std::vector<AddedToken> normalized;
  for (AddedToken& token : tokens) {
    if (token.normalized) {
      SLUICE_TRY(normalize(pipeline.normalizers, token.content));
      if (token.content != pipeline.vocab.token(token.id)) pipeline.decode_as[token.id] = token.content;
    }
    (token.normalized ? normalized : raw).push_back(std::move(token));
  }
  pipeline.added = AddedTokenMatcher(std::move(raw));
  pipeline.added_normalized = AddedTokenMatcher(std::move(normalized));
  return {};
}

}  // namespace sluice::text
