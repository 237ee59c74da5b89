// What happens to a Program between emission and use.
#pragma once

#include "program/program.h"

namespace sluice::program {

/// h += branch, directly followed by y = norm(h), becomes one step that touches h once.
void fuse_add_norm(Program& program);

/// Gives every buffer its place in the activation arena, so that buffers which live at the same time never
/// overlap and the arena is as small as first-fit makes it; and sizes the workspace.
void plan_memory(Program& program, int parallelism);

}  // namespace sluice::program
