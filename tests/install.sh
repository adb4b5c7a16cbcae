#!/bin/sh
# install.sh SOURCE BUILD GENERATOR: what is installed can be used: by find_package, by pkg-config, and the shared library
# exports nothing but tuff_*.
set -eu
source=$1 build=$2
work=$build/install-test
rm -rf "$work"
cmake --install "$build" --prefix "$work/prefix" >/dev/null
cmake -G "$3" -S "$source/tests/install" -B "$work/consumer" -DCMAKE_PREFIX_PATH="$work/prefix" -DHELLO="$source/samples/hello.c" >/dev/null
cmake --build "$work/consumer"
"$work/consumer/consumer_static"
"$work/consumer/consumer_shared"

pc=$(find "$work/prefix" -name tuff.pc)
PKG_CONFIG_PATH=$(dirname "$pc")
export PKG_CONFIG_PATH
# shellcheck disable=SC2046
cc -std=c17 "$source/samples/hello.c" -o "$work/hello" $(pkg-config --cflags --libs tuff) -lm
lib=$(pkg-config --variable=libdir tuff)
LD_LIBRARY_PATH=$lib "$work/hello"

others=$(nm -D --defined-only "$lib/libtuff.so" | awk '{ print $NF }' | grep -v '^tuff_' || true)
[ -z "$others" ] || { echo "libtuff.so exports more than tuff_*:"; echo "$others" | head -20; exit 1; }
