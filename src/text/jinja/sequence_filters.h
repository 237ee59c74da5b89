// The filters of jinja2 on sequences: map, select, sort, join and the like.
#pragma once

#include <span>

#include "text/jinja/builtin.h"

namespace sluice::text::jinja {

std::span<const Builtin> sequence_filters();

}  // namespace sluice::text::jinja
