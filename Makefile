# make demo   install what is missing, build, get a small chat model, optimise it, answer a question
# make test   build with warnings as errors, run every test, fuzz each parser briefly
# make gpu-test, make gpu-bench   what needs a GPU: correctness, speed
.PHONY: demo test gpu-test gpu-bench build asan fuzz format tidy clean

build:
	scripts/install_dependencies.sh
	cmake --preset release
	cmake --build --preset release

demo:
	scripts/install_dependencies.sh
	cmake --preset release
	cmake --build --preset release --target sluice
	scripts/demo.sh

test: build
	scripts/test.sh

gpu-test: build
	scripts/gpu_test.sh

gpu-bench: build
	scripts/gpu_bench.sh

asan:
	scripts/install_dependencies.sh
	cmake --preset asan
	cmake --build --preset asan
	ctest --preset asan

fuzz:
	scripts/install_dependencies.sh --fuzz
	scripts/fuzz.sh

format:
	git ls-files '*.h' '*.cpp' | xargs clang-format -i

tidy:
	git ls-files 'src/*.cpp' | grep -v _fuzz | xargs -P 2 -n 4 clang-tidy -p build/release --quiet

clean:
	rm -rf build
