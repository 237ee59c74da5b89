// A tiny model lowered for this machine's CPU, for tests.
#pragma once

#include <functional>
#include <string>

#include "base/check.h"
#include "cpu/cpu_device.h"
#include "model/recipe.h"
#include "model/testing/temp_directory.h"
#include "model/testing/tiny_checkpoint.h"
#include "program/program.h"

namespace sluice::program::testing {

struct TinyProgram {
  model::Model model;
  model::Recipe recipe;
  model::RoleTypes types;
  ops::Backend backend;
  Program program;

  /// Of spec and types, before lowering.
  using Change = std::function<void(TinyProgram&)>;
  struct Options {
    model::Recipe recipe = {};
    std::string isa = "";
    int64_t logit_rows = 4;
    Wishes wishes = {};
  };
  /// Fails a CHECK where anything of it is refused, except that lower()'s refusal is returned.
  static Result<TinyProgram> make(const model::testing::TinyModel& shape, const Change& change,
                                  const Options& options);
};

inline Result<TinyProgram> TinyProgram::make(const model::testing::TinyModel& shape, const Change& change,
                                             const Options& options) {
  const model::testing::TempDirectory dir;
  Status status = model::testing::write_tiny_checkpoint(dir.path(), shape);
  SLUICE_CHECK(status.ok(), "{}", status.message());
  auto model = model::load_model(dir.path());
  SLUICE_CHECK(model.ok(), "{}", model.status().message());
  auto backend = cpu::make_cpu_backend({.threads = 2, .isa = options.isa});
  SLUICE_CHECK(backend.ok(), "{}", backend.status().message());
  TinyProgram tiny{*std::move(model), options.recipe, {}, *std::move(backend), {}};
  status = model::complete(tiny.recipe, tiny.model.spec, tiny.backend.page_tokens);
  SLUICE_CHECK(status.ok(), "{}", status.message());
  std::vector<std::string> notes;
  SLUICE_ASSIGN(tiny.types, model::resolve_types(tiny.model, tiny.recipe, notes));
  if (change) change(tiny);
  SLUICE_ASSIGN(tiny.program, lower(tiny.model.spec, tiny.recipe, tiny.types, tiny.backend,
                                    options.logit_rows, options.wishes));
  return tiny;
}

}  // namespace sluice::program::testing
