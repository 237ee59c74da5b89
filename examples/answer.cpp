// answer MODEL PROMPT: prints the model's continuation of a prompt as it is made.
#include <sluice/engine.h>

#include <iostream>

int main(int argc, char** argv) try {
  if (argc != 3) {
    std::cerr << "usage: answer MODEL PROMPT\n";
    return 2;
  }
  sluice::Engine engine(argv[1]);
  auto stream = engine.submit({.prompt = argv[2], .sampling = {.temperature = 0, .max_tokens = 64}});
  if (!stream.ok()) throw sluice::Error(stream.status());
  sluice::Event event;
  while (stream->next(event)) std::cout << event.text << std::flush;
  std::cout << '\n';
  return event.error.ok() ? 0 : 1;
} catch (const sluice::Error& error) {
  std::cerr << "error: " << error.what() << '\n';
  return 2;
}
