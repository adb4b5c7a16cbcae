/* fuzz_targets.h - one function per parser of foreign bytes. Each accepts anything, checks what a caller may rely on,
 * and traps otherwise. test_hostile feeds them damaged files; tests/fuzz_main.c makes libFuzzer programs of them. */
#ifndef TEST_FUZZ_TARGETS_H
#define TEST_FUZZ_TARGETS_H

#include <stddef.h>
#include <stdint.h>

void fuzz_text(const uint8_t *data, size_t size); /* .tuff: parses or says why; what parses prints, and parses again to the same text */
void fuzz_expression(const uint8_t *data, size_t size); /* a user expression over names of every kind */
void fuzz_capsule(const uint8_t *data, size_t size); /* what has the right hash is refused, or is a plan that can be listed and walked */
void fuzz_npy(const uint8_t *data, size_t size);  /* .npy, as every dtype: likewise */

#endif
