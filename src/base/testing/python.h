// The Python that some tests compare with or drive.
#pragma once

#include <cstdlib>
#include <string>

namespace sluice {

/// SLUICE_PYTHON, or python3.
inline std::string test_python() {
  const char* set = std::getenv("SLUICE_PYTHON");
  return set != nullptr ? set : "python3";
}

/// Empty where it can import the package; else why a test is skipped.
inline std::string test_python_lacks(const std::string& package) {
  if (std::system((test_python() + " -c 'import " + package + "' 2>/dev/null").c_str()) == 0) return {};
  return test_python() + " cannot import " + package + "; `pip install " + package + "` makes this test run";
}

}  // namespace sluice
