#!/bin/sh
# long.sh SOURCE BUILD SWIFTSHADER-DIR: everything ./check --long runs, one line per part, then the count of all.
#   the short tests | the same under AddressSanitizer and UBSan | clang, warnings as errors | gcc -O0 -std=c17 strict
#   longer fuzzing, every length of a transform, synchronisation validation | the configuration without glslang, also cross-built for Windows
set -u
source=$1 build=$2 swift=$3
logs=$build/long
mkdir -p "$logs"
passed=0 failed=0 skipped=0
jobs=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
swift_option=-DTUFF_SWIFTSHADER=${swift:+$swift/vk_swiftshader_icd.json}

# Adds the counts of a log's last line; a log without one is a failure.
add_counts() {
    counts=$(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed, \([0-9]*\) skipped$/\1 \2 \3/p' "$1" | tail -1)
    # shellcheck disable=SC2086
    set -- ${counts:-0 1 0}
    passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
}

# part NAME COMMAND...: one pass or one failure.
part() {
    name=$1
    shift
    printf '== %s: ' "$name"
    if "$@" >"$logs/$name.log" 2>&1; then
        echo passed
        passed=$((passed + 1))
    else
        echo "FAILED, see $logs/$name.log"
        failed=$((failed + 1))
    fi
}

skip() {
    echo "== $1: skipped, $2"
    skipped=$((skipped + 1))
}

# tree NAME CMAKE-OPTION...: configure and build beside the main build.
tree() {
    dir=$build-$1
    shift
    cmake -G Ninja -S "$source" -B "$dir" "$swift_option" "$@" && cmake --build "$dir" -j "$jobs"
}

count() { # NAME BUILD: run its tests
    echo "== testing $1"
    sh "$source/tests/count.sh" "$2" >"$logs/$1-tests.log" 2>&1
    tail -1 "$logs/$1-tests.log"
    add_counts "$logs/$1-tests.log"
}

# The compiler-less library needs only Vulkan's headers; a folder with nothing but those keeps the host's
# other headers out of the cross-build.
mingw() {
    include=$logs/mingw-include
    mkdir -p "$include"
    for name in vulkan vk_video; do
        [ ! -e "/usr/include/$name" ] || ln -sfn "/usr/include/$name" "$include/$name"
    done
    cmake -G Ninja -S "$source" -B "$build-mingw" -DCMAKE_SYSTEM_NAME=Windows -DCMAKE_C_COMPILER=x86_64-w64-mingw32-gcc \
        -DCMAKE_CXX_COMPILER=x86_64-w64-mingw32-g++ -DTUFF_COMPILER=OFF -DTUFF_TOOLS=OFF -DTUFF_TESTS=OFF \
        "-DCMAKE_C_FLAGS=-isystem $include -Werror" "-DCMAKE_INCLUDE_PATH=$include" "-DVULKAN_HEADERS_DIR=$include" &&
        cmake --build "$build-mingw" -j "$jobs"
}

# A library without a compiler runs capsules, and from the cache that another one filled; it names what is not in that.
cached_run() {
    graph=$source/tests/graphs/transformer_block.tuff
    rm -rf "$logs/shipped"
    TUFF_CACHE_DIR=$logs/shipped "$build/tuff" run "$graph" > "$logs/compiled.txt" &&
        TUFF_CACHE_DIR=$logs/shipped "$build-nocompiler/tuff" run "$graph" > "$logs/cached.txt" && cmp "$logs/compiled.txt" "$logs/cached.txt" &&
        "$build/tuff" pack "$graph" -o "$logs/shipped.capsule" &&
        TUFF_CACHE_DIR=$logs/empty "$build-nocompiler/tuff" run "$logs/shipped.capsule" > "$logs/packed.txt" && cmp "$logs/compiled.txt" "$logs/packed.txt" &&
        ! TUFF_CACHE_DIR=$logs/empty "$build-nocompiler/tuff" run "$graph" 2> "$logs/missing.txt" && grep -q "is not in the cache" "$logs/missing.txt"
}

count release "$build"

part asan-build tree asan -DCMAKE_BUILD_TYPE=RelWithDebInfo -DTUFF_SANITIZE=ON
count asan "$build-asan"

if command -v clang >/dev/null 2>&1; then
    part clang-build tree clang -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_COMPILER=clang -DCMAKE_CXX_COMPILER=clang++ -DCMAKE_C_FLAGS=-Werror
    count clang "$build-clang"
else
    skip clang-build "clang is not installed"
fi
if command -v clang >/dev/null 2>&1; then
    part fuzz-build tree fuzz -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_C_COMPILER=clang -DCMAKE_CXX_COMPILER=clang++ -DTUFF_SANITIZE=ON -DTUFF_FUZZ=ON
    for target in fuzz_text fuzz_expression fuzz_npy fuzz_capsule; do
        mkdir -p "$logs/$target"
        longest=2048
        [ $target != fuzz_capsule ] || { longest=65536 && "$build/tuff" pack "$source/tests/graphs/linear.tuff" --deterministic -o "$logs/$target/seed"; }
        part $target "$build-fuzz/tests/$target" "-max_total_time=${TUFF_FUZZ_SECONDS:-120}" -max_len=$longest "-artifact_prefix=$logs/$target/" "$logs/$target"
    done
fi
part gcc-debug tree debug -DCMAKE_BUILD_TYPE=Debug "-DCMAKE_C_FLAGS=-O0 -Werror -pedantic-errors"
part no-compiler tree nocompiler -DTUFF_COMPILER=OFF -DTUFF_TESTS=OFF -DCMAKE_C_FLAGS=-Werror
part no-compiler-runs cached_run
if command -v x86_64-w64-mingw32-gcc >/dev/null 2>&1; then
    part mingw mingw
else
    skip mingw "gcc-mingw-w64-x86-64 is not installed"
fi
TUFF_FUZZ=${TUFF_FUZZ:-400}
export TUFF_FUZZ
for entry in $(ctest --test-dir "$build" -N | sed -n 's/.*: \(fuzz@[a-z]*\)$/\1/p'); do
    part "long-$entry" ctest --test-dir "$build" -R "^$entry\$" --timeout 3000 --output-on-failure --no-tests=error
done

# Every length of a transform up to 4096, and some up to 2^24, against double precision.
for entry in $(ctest --test-dir "$build" -N | sed -n 's/.*: \(fft@[a-z]*\)$/\1/p'); do
    for lengths in 1,4096 65521 65536 100003 531441 1048576 1000000 16777216; do
        part "lengths-$lengths-$entry" env TUFF_TEST_FFT_LENGTHS=$lengths ctest --test-dir "$build" -R "^$entry\$" --timeout 6000 --output-on-failure --no-tests=error
    done
done

# Every device under the validation layer with its synchronisation checks; a message fails the test.
if ls /usr/share/vulkan/explicit_layer.d/VkLayer_khronos_validation.json >/dev/null 2>&1; then
    for entry in $(ctest --test-dir "$build" -N | sed -n 's/.*: \(\(runtime\|ops_gpu\|kernels\|attention\|fft\|fuzz\)@[a-z]*\)$/\1/p'); do
        part "validate-$entry" env TUFF_TEST_VALIDATE=1 TUFF_FUZZ=60 ctest --test-dir "$build" -R "^$entry\$" --timeout 3000 --output-on-failure --no-tests=error
    done
else
    skip validate "the Khronos validation layer is not installed"
fi

printf '\n%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" = 0 ]
