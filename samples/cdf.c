/* cdf.c - reads one series from a classic NetCDF file. Header: lists of dims, of attributes and of variables, big-endian, names padded to four bytes;
 * then the records, each with its slice of every variable that has the record dim. */
#include "cdf.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { MOST_DIMS = 64, FLOAT = 5 };

static uint32_t word(FILE *f)
{
    unsigned char b[4] = { 0 };
    return fread(b, 1, 4, f) == 4 ? (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3] : 0;
}

static bool name(FILE *f, char out[64])
{
    const uint32_t n = word(f), padded = (n + 3) / 4 * 4;
    char text[256] = "";
    if (n >= sizeof text || fread(text, 1, padded, f) != padded) return false;
    text[n] = 0;
    snprintf(out, 64, "%.63s", text);
    return true;
}

static bool skip_attributes(FILE *f)
{
    static const uint32_t sizes[] = { 0, 1, 1, 2, 4, 4, 8 };
    char text[64];
    word(f); /* the list's tag */
    for (uint32_t n = word(f); n > 0; n--) {
        if (!name(f, text)) return false;
        const uint32_t type = word(f), count = word(f);
        if (type > 6 || count > 1u << 20 || fseek(f, (long)((sizes[type] * count + 3) / 4 * 4), SEEK_CUR)) return false;
    }
    return true;
}

typedef struct layout { uint32_t records, begin, rows, columns; uint64_t record_bytes; bool found; } layout;

static bool read_header(FILE *f, const char *variable, layout *l)
{
    uint32_t dim[MOST_DIMS] = { 0 };
    char text[64];
    if (word(f) != 0x43444601) return false;
    l->records = word(f);
    word(f);
    const uint32_t dims = word(f);
    for (uint32_t i = 0; i < dims; i++) {
        if (i == MOST_DIMS || !name(f, text)) return false;
        dim[i] = word(f); /* 0: the records */
    }
    if (!skip_attributes(f)) return false;
    word(f);
    for (uint32_t n = word(f); n > 0 && n < 4096; n--) {
        uint32_t ids[8] = { 0 }, rank;
        if (!name(f, text) || (rank = word(f)) > 8) return false;
        for (uint32_t i = 0; i < rank; i++)
            if ((ids[i] = word(f)) >= dims) return false;
        if (!skip_attributes(f)) return false;
        const uint32_t type = word(f), bytes = word(f), begin = word(f);
        if (rank == 0 || dim[ids[0]] != 0) continue;
        l->record_bytes += bytes;
        if (rank != 3 || type != FLOAT || strcmp(text, variable)) continue;
        l->found = true;
        l->begin = begin;
        l->rows = dim[ids[1]];
        l->columns = dim[ids[2]];
    }
    return l->found && !feof(f);
}

int cdf_series(const char *path, const char *variable, int row, int column, float *out, int most)
{
    layout l = { 0 };
    int n = 0;
    FILE *f = fopen(path, "rb");
    if (!f) return 0;
    if (read_header(f, variable, &l) && row >= 0 && column >= 0 && (uint32_t)row < l.rows && (uint32_t)column < l.columns)
        for (; n < most && (uint32_t)n < l.records; n++) {
            const uint64_t at = l.begin + (uint64_t)n * l.record_bytes + ((uint64_t)row * l.columns + (uint64_t)column) * 4;
            if (at > 0x7fffffff || fseek(f, (long)at, SEEK_SET)) break;
            const uint32_t bits = word(f);
            memcpy(&out[n], &bits, sizeof bits);
        }
    fclose(f);
    return n;
}
