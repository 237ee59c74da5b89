// Structural tags: text that is free but for what stands between given tags, in the JSON notation that vLLM
// took from XGrammar.
//
//   {"type": "structural_tag", "format": FORMAT}
//   {"type": "structural_tag", "triggers": ["<f="], "structures": [{"begin": "<f=a>", "schema": S, "end":
//   "</f>"}]}
//
// A FORMAT is an object with a `type`:
//   const_string {value}    json_schema {json_schema}    regex {pattern}    grammar {grammar}, in GBNF
//   any_text {excludes}     free, up to the end of the tag that it stands in
//   sequence {elements}     or {elements}    optional, plus, star {content}    repeat {min, max, content}
//   tag {begin, content, end}: `end` is a string or several of which one ends it
//   triggered_tags {triggers, tags, at_least_one, stop_after_first, excludes}: free text in which a trigger,
//       wherever it appears, is the begin of a tag; with at_least_one a tag stands first
//   tags_with_separator {tags, separator, at_least_one, stop_after_first}: tags and nothing else
//
// Formats that speak of token ids are refused by name. The second notation means triggered_tags.
#pragma once

#include "base/json.h"
#include "text/grammar/grammar.h"

namespace sluice::text::grammar {

/// Errors name the place, from "structural_tag" on.
Result<Grammar> structural_tag_grammar(const Json& tag, const Limits& limits = {});

}  // namespace sluice::text::grammar
