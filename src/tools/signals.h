// SIGINT and SIGTERM as a question that long work asks, so that it can clean up.
#pragma once

#include "base/error.h"

namespace sluice::tools {

/// From now on the first SIGINT or SIGTERM is only noted; a second one ends the process at once.
void note_interrupts();

/// The signal that was noted; 0: none.
int interrupted();

/// `cancelled` once a signal was noted: the command then exits with 128 + its number.
Status check_interrupted();

}  // namespace sluice::tools
