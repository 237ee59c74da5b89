#include "text/jinja/from_json.h"

#include "base/checked.h"

namespace sluice::text::jinja {

Value from_json(Arena& arena, const Json& json, char32_t mark) {
  const Arena::Level level(arena);
  switch (json.type()) {
    case Json::value_t::boolean:
      return Value::boolean(json.get<bool>());
    case Json::value_t::number_integer:
      return Value::integer(json.get<int64_t>());
    case Json::value_t::number_float:
      return Value::real(json.get<double>());
    case Json::value_t::number_unsigned: {
      const auto small = checked_cast<int64_t>(json.get<uint64_t>());
      if (!small) fail("the integer {} of the input does not fit in 64 bits", json.get<uint64_t>());
      return Value::integer(*small);
    }
    case Json::value_t::string: {
      const auto& utf8 = json.get_ref<const std::string&>();
      arena.charge(utf8.size());
      return arena.string(to_text(utf8, mark));
    }
    case Json::value_t::array: {
      std::vector<Value> items;
      arena.charge_items(json.size());
      items.reserve(json.size());
      for (const Json& item : json) items.push_back(from_json(arena, item, mark));
      return Value::list(arena.make<Sequence>(std::move(items)));
    }
    case Json::value_t::object: {
      auto* dict = arena.make<Dict>();
      for (const auto& [key, item] : json.items()) {
        dict->set(arena, arena.string(to_text(key, mark)), from_json(arena, item, mark));
      }
      return Value(dict);
    }
    default:
      return Value::none();
  }
}

}  // namespace sluice::text::jinja
