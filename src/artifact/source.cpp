#include "artifact/source.h"

#include <sys/stat.h>

#include <filesystem>

#include "artifact/text_assets.h"

namespace sluice::artifact {

Result<SourceSnapshot::Facts> SourceSnapshot::facts_of(const std::string& path) {
  struct stat st {};
  if (::stat(path.c_str(), &st) != 0) return errno_error(path + ": cannot stat");
  Facts facts{path, st.st_dev, st.st_ino, {}};
  facts.file = {std::filesystem::path(path).filename().string(), static_cast<uint64_t>(st.st_size),
                int64_t{st.st_mtim.tv_sec} * 1'000'000'000 + st.st_mtim.tv_nsec};
  return facts;
}

Result<SourceSnapshot> SourceSnapshot::take(const model::Checkpoint& checkpoint) {
  SourceSnapshot snapshot;
  const bool gguf = checkpoint.kind() == model::Checkpoint::Kind::gguf;
  std::error_code error;
  const auto whole = std::filesystem::weakly_canonical(checkpoint.path(), error);
  snapshot.source_.kind = gguf ? "gguf" : "safetensors";
  snapshot.source_.name = error ? checkpoint.path() : whole.filename().string();

  std::vector<std::string> paths;
  for (const File& file : checkpoint.files()) paths.push_back(file.path());
  if (!gguf) {
    std::vector<std::string> beside = {"config.json", "model.safetensors.index.json"};
    for (const std::string& name : text_files(checkpoint.directory())) beside.push_back(name);
    for (const std::string& name : beside) {
      const std::string path = join_path(checkpoint.directory(), name);
      if (exists(path)) paths.push_back(path);
    }
  }
  for (const std::string& path : paths) {
    SLUICE_ASSIGN(Facts facts, facts_of(path));
    snapshot.source_.files.push_back(facts.file);
    snapshot.facts_.push_back(std::move(facts));
  }
  return snapshot;
}

Status SourceSnapshot::check_unchanged() const {
  for (const Facts& before : facts_) {
    SLUICE_ASSIGN(const Facts now, facts_of(before.path));
    if (now.device != before.device || now.inode != before.inode || now.file != before.file)
      return corrupt("{}: the file was changed while the engine was made from it; run optimize again",
                     before.path);
  }
  return {};
}

}  // namespace sluice::artifact
