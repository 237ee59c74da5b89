// JSON Schema (draft 2020-12, and what older drafts spell the same) as a grammar of JSON texts.
//
// Every text that the grammar matches is valid under the schema; not every valid text is matched:
//   - members come in the order of `properties`; others only where additionalProperties (or an object without
//     `properties`) allows them, behind those that are listed;
//   - white space and numbers are those of json_text.h, each format the usual spellings of it;
//   - a schema without `type` whose keywords all speak of one type means values of that type.
// A keyword that is not understood is refused by name, as is a combination that cannot be decided; what only
// describes (title, default, examples, x-...) is passed over.
#pragma once

#include "base/json.h"
#include "text/grammar/grammar.h"

namespace sluice::text::grammar {

/// Errors name the place as a JSON pointer.
Result<Grammar> schema_grammar(const Json& schema, const Limits& limits = {});

/// Any JSON object.
Grammar json_object_grammar();

/// Adds a schema's value to a grammar that has other rules besides; `where` names it in errors.
class JsonText;
Result<NodeId> add_schema(Grammar& grammar, JsonText& text, const Json& schema, const std::string& where,
                          const Limits& limits);

}  // namespace sluice::text::grammar
