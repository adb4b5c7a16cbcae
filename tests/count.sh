#!/bin/sh
# count.sh BUILD [CTEST-OPTION...]: run the tests of a build tree, then print one line that counts them all:
# "N passed, N failed, N skipped". A Criterion program counts its tests (from its TAP report); any other ctest
# entry counts as one. A program that dies before its report is complete counts as one failure more.
set -u
build=$1
shift
rm -rf "$build/tap" && mkdir -p "$build/tap"
log=$build/ctest.log
ctest --test-dir "$build" --output-on-failure --no-tests=error "$@" 2>&1 | tee "$log"

awk -v tap="$build/tap" '
    # "  3/12 Test  #3: runtime@lavapipe ........   Passed    0.12 sec"
    /^ *[0-9]+\/[0-9]+ Test +#[0-9]+: / {
        name = $0; sub(/^ *[0-9]+\/[0-9]+ Test +#[0-9]+: /, "", name); sub(/ .*/, "", name)
        file = tap "/" name ".tap"
        seen = bad = planned = 0
        while ((getline line < file) > 0) {
            if (line ~ /^1\.\./) planned = substr(line, 4) + 0
            else if (line ~ /^not ok/) { bad++; seen++ }
            else if (line ~ /^ok .*# SKIP/) { skipped++; seen++; reason = line; sub(/^ok - */, "", reason); skips = skips "   " name ": " reason "\n" }
            else if (line ~ /^ok/) { passed++; seen++ }
        }
        close(file)
        failed += bad
        if ($0 ~ /\*\*\*Skipped/) { skipped++; skips = skips "   " name "\n" }
        else if ($0 ~ /\*\*\*|Failed/ && !bad) failed++
        else if (seen < planned) failed++
        else if (!planned) passed++
    }
    END {
        if (skips != "") printf "\nskipped:\n%s", skips
        printf "\n%d passed, %d failed, %d skipped\n", passed, failed, skipped
        exit failed > 0 || passed == 0
    }' "$log"
