// The shapes in which calls are answered, whole and streamed.
#pragma once

#include "serve/generation.h"

namespace sluice::serve {

std::unique_ptr<Formatter> chat_formatter(bool stream);
std::unique_ptr<Formatter> completion_formatter();
/// `echo`: what a response repeats of its request; `obfuscate`: as of a Call.
std::unique_ptr<Formatter> response_formatter(Json echo, bool obfuscate);

}  // namespace sluice::serve
