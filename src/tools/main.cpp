#include "tools/verbs.h"

int main(int argc, char** argv) {
  using namespace sluice::tools;
  static constexpr Verb kVerbs[] = {
      {"optimize", "Make an engine directory from a checkpoint", declare_optimize},
      {"run", "Answer a prompt, a conversation or a file of requests", declare_run},
      {"serve", "Answer OpenAI API requests over HTTP", declare_serve},
      {"verify", "Compare a model's results with a reference implementation's", declare_verify},
      {"eval", "Measure how well a model predicts a text", declare_eval},
      {"bench", "Measure how fast a model reads and writes", declare_bench},
      {"bench serve", "Measure how a server over HTTP carries a load", declare_bench_serve},
      {"profile", "Show where the time goes, op by op", declare_profile},
      {"monitor", "Watch the GPUs, and a server", declare_monitor},
      {"inspect", "Print what a model is, how it will run and what memory that takes", declare_inspect},
      {"tokenize", "Text on stdin to token ids, or ids back to text", declare_tokenize},
      {"render", "Print the prompt that a chat template makes of messages", declare_render},
  };
  return run_cli(argc, argv, kVerbs);
}
