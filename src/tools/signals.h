// SIGINT and SIGTERM as a question that long work asks, so that it can clean up; SIGBUS as a sentence.
#pragma once

#include "base/error.h"

namespace sluice::tools {

/// From now on the first SIGINT or SIGTERM is only noted; a second one ends the process at once.
void note_interrupts();

/// The signal that was noted; 0: none.
int interrupted();

/// `cancelled` once a signal was noted: the command then exits with 128 + its number.
Status check_interrupted();

/// A mapped file that loses its content (cut short by another process, or on a disk that fails) ends the
/// process with a sentence about it and exit code 2.
void explain_lost_files();

}  // namespace sluice::tools
