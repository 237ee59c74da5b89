#include "model/shape.h"

#include <span>
#include <utility>

#include "base/check.h"
#include "model/arch_document.h"
#include "model/bind.h"
#include "model/build_spec.h"

namespace sluice::model {

// Generated from shapes.json: the config.json of each shape.
std::span<const std::pair<std::string_view, std::string_view>> embedded_shape_files();

Result<Model> model_of_shape(const std::string& name) {
  SLUICE_CHECK(name.starts_with(kShapePrefix), "{}", name);
  static const Json* shapes = new Json(*parse_json(embedded_shape_files()[0].second, "shapes.json"));
  const auto shape = shapes->find(name.substr(kShapePrefix.size()));
  if (shape == shapes->end()) {
    std::string known;
    for (const auto& entry : shapes->items()) known += (known.empty() ? "" : ", ") + entry.key();
    return invalid_argument("{}: this shape is not known; known are {}", name, known);
  }
  Config config{name, *shape, {}};
  SLUICE_ASSIGN(config.document, arch_for_model_type((*shape)["model_type"].get<std::string>()));
  Checkpoint nothing = Checkpoint::none(name);
  SLUICE_ASSIGN(Spec spec, build_spec(config, nothing));
  Model model{std::move(nothing), std::move(config.values), std::move(config.document), std::move(spec), {}};
  model.weights = expected_weights(model.spec, model.document, DType::bf16);
  return model;
}

}  // namespace sluice::model
