// What happens to a Program between emission and use.
#pragma once

#include <functional>

#include "program/program.h"

namespace sluice::program {

/// h += branch, directly followed by y = norm(h), becomes one step that touches h once.
void fuse_add_norm(Program& program);

/// A gated activation that directly follows the product it is of becomes part of it, where `accepts` says so
/// of the product and what both together are.
using AcceptsGate = std::function<bool(const LinearStep& product, const ops::Linear::Desc& gated)>;
void fuse_gates(Program& program, const AcceptsGate& accepts);

/// Gives buffers that are only read by products which round them that 16-bit type: rounding where a value is
/// made is rounding where it is read, and half the bytes. For backends whose norms, activations and attention
/// write such types.
void round_buffers(Program& program);

/// Gives every buffer its place in the activation arena, so that buffers which live at the same time never
/// overlap and the arena is as small as first-fit makes it; and sizes the workspace.
void plan_memory(Program& program, int parallelism);

}  // namespace sluice::program
