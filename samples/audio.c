/* audio - a streaming filter on a WAV file: resonances that ring, as a diagonal state-space model.
 *
 * Each mode of the model is a damped oscillation, x' = (-decay + 2 pi i f) x + u. The sound comes in blocks, as from a sound card; the
 * program's state lives on the device between them (tuff_state), so the blocks join without a seam. At the end the same sound is
 * filtered in one piece by a convolution with the model's kernel, and the two are compared.
 *
 *     audio [IN.wav] [--out filtered.wav] [--block 512] [--device D]
 *
 * IN.wav holds 16-bit samples, one or two channels; without it, plucked notes are made up. Prints the real-time factor: seconds of sound
 * per second of work. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <tuff/tuff.h>

enum { MODES = 12 };
#define PI 3.14159265358979323846

typedef struct sound { int channels, rate; int64_t length; float *samples; } sound; /* [channels, length] */

/* ---- WAV ---- */

static uint32_t little(const unsigned char *p, int bytes)
{
    uint32_t v = 0;
    for (int i = 0; i < bytes; i++) v |= (uint32_t)p[i] << 8 * i;
    return v;
}

static bool read_samples(FILE *f, uint32_t bytes, sound *s)
{
    unsigned char pair[2];
    s->length = bytes / 2 / (uint32_t)s->channels;
    s->samples = malloc(((size_t)s->length * (size_t)s->channels + 1) * sizeof *s->samples);
    for (int64_t i = 0; s->samples && i < s->length * s->channels; i++) {
        if (fread(pair, 1, 2, f) != 2) return false;
        s->samples[i % s->channels * s->length + i / s->channels] = (float)(int16_t)little(pair, 2) / 32768.0f;
    }
    return s->samples != NULL;
}

static bool read_wav(const char *path, sound *s)
{
    unsigned char head[16], chunk[8];
    FILE *f = fopen(path, "rb");
    bool good = f && fread(head, 1, 12, f) == 12 && !memcmp(head, "RIFF", 4) && !memcmp(head + 8, "WAVE", 4), done = false;
    while (good && !done && fread(chunk, 1, 8, f) == 8) {
        const uint32_t bytes = little(chunk + 4, 4);
        if (!memcmp(chunk, "data", 4)) {
            good = done = s->channels > 0 && read_samples(f, bytes, s);
        } else if (!memcmp(chunk, "fmt ", 4) && bytes >= 16 && bytes < 1000) {
            good = fread(head, 1, 16, f) == 16 && little(head, 2) == 1 && little(head + 14, 2) == 16 && !fseek(f, (long)bytes - 16, SEEK_CUR);
            s->channels = (int)little(head + 2, 2);
            s->rate = (int)little(head + 4, 4);
            good = good && (s->channels == 1 || s->channels == 2) && s->rate >= 1000 && s->rate <= 384000;
        } else
            good = bytes < 1u << 30 && !fseek(f, (long)(bytes + bytes % 2), SEEK_CUR);
    }
    if (f) fclose(f);
    if (!good || !done) fprintf(stderr, "audio: %s cannot be read, or is no WAV file of 16-bit samples with one or two channels\n", path);
    return good && done;
}

static void put(unsigned char *p, uint32_t v, int bytes)
{
    for (int i = 0; i < bytes; i++) p[i] = (unsigned char)(v >> 8 * i);
}

static bool write_wav(const char *path, const sound *s)
{
    const uint32_t bytes = (uint32_t)(s->length * s->channels * 2);
    unsigned char head[44] = "RIFF....WAVEfmt ....", pair[2];
    FILE *f = fopen(path, "wb");
    put(head + 4, 36 + bytes, 4);
    put(head + 16, 16, 4);
    put(head + 20, 1, 2);
    put(head + 22, (uint32_t)s->channels, 2);
    put(head + 24, (uint32_t)s->rate, 4);
    put(head + 28, (uint32_t)(s->rate * s->channels * 2), 4);
    put(head + 32, (uint32_t)(s->channels * 2), 2);
    put(head + 34, 16, 2);
    memcpy(head + 36, "data", 4);
    put(head + 40, bytes, 4);
    bool good = f && fwrite(head, 1, sizeof head, f) == sizeof head;
    for (int64_t i = 0; good && i < s->length * s->channels; i++) {
        const float v = s->samples[i % s->channels * s->length + i / s->channels];
        put(pair, (uint32_t)(uint16_t)(int16_t)lrintf(32767.0f * fmaxf(-1.0f, fminf(1.0f, v))), 2);
        good = fwrite(pair, 1, 2, f) == 2;
    }
    if (f && fclose(f)) good = false;
    if (!good) fprintf(stderr, "audio: %s could not be written\n", path);
    return good;
}

/* Short dull plucks, two seconds. */
static bool make_sound(sound *s)
{
    *s = (sound){ .channels = 2, .rate = 22050, .length = 44100, .samples = malloc(88200 * sizeof *s->samples) };
    for (int64_t i = 0; s->samples && i < s->length; i++)
        for (int c = 0; c < 2; c++) {
            const double t = (double)(i % 8820) / s->rate, f = 110.0 * pow(2.0, (double)(i / 8820 * 3 + 4 * c) / 12);
            s->samples[c * s->length + i] = (float)(0.3 * exp(-30 * t) * (sin(2 * PI * f * t) + 0.4 * sin(6 * PI * f * t)));
        }
    return s->samples != NULL;
}

/* ---- the model ---- */

typedef struct model { tuff_tensor lam, b, c, dt, d; } model;

/* A chord of resonances with their octaves, the same for each channel. */
static model make_model(tuff_graph *g, int channels, int rate)
{
    float lam[2 * 2 * MODES], b[2 * 2 * MODES] = { 0 }, c[2 * 2 * MODES] = { 0 }, dt[2], d[2];
    for (int h = 0; h < channels; h++) {
        for (int i = 0; i < MODES; i++) {
            const int at = 2 * (h * MODES + i);
            lam[at] = -3.0f - (float)i;
            lam[at + 1] = (float)(2 * PI * 110 * pow(2, i / 3 + (i % 3 == 1 ? 4 : i % 3 == 2 ? 7 : 0) / 12.0));
            b[at] = 1;
            c[at] = 25.0f / (1 + (float)(i / 3));
        }
        dt[h] = 1.0f / (float)rate;
        d[h] = 0.7f;
    }
    const tuff_shape modes = TUFF_SHAPE(channels, MODES), features = TUFF_SHAPE(channels);
    return (model){ tuff_const(g, TUFF_C64, modes, lam, NULL), tuff_const(g, TUFF_C64, modes, b, NULL), tuff_const(g, TUFF_C64, modes, c, NULL),
                    tuff_const(g, TUFF_F32, features, dt, NULL), tuff_const(g, TUFF_F32, features, d, NULL) };
}

/* length samples per run, carrying the state; or the whole sound by a convolution. */
static tuff_program *make_program(tuff_device *dev, const sound *s, int64_t length, bool whole)
{
    tuff_graph *g = tuff_graph_create(NULL);
    tuff_program *p = NULL;
    const model m = make_model(g, s->channels, s->rate);
    const tuff_tensor u = tuff_input(g, "u", TUFF_F32, TUFF_SHAPE(1, s->channels, length));
    if (whole) {
        const tuff_tensor k = tuff_s4d_kernel(m.lam, m.b, m.c, m.dt, length, NULL);
        tuff_output(g, "y", tuff_causal_conv(u, k, &(tuff_causal_conv_desc){ .d = m.d }));
    } else {
        const tuff_tensor state = tuff_state(g, "ringing", TUFF_C64, TUFF_SHAPE(1, s->channels, MODES));
        const tuff_tensor y = tuff_s4_scan(u, m.lam, m.b, m.c, m.dt, &(tuff_s4_scan_desc){ .d = m.d, .state = state });
        tuff_output(g, "y", y);
        tuff_assign(state, tuff_result(y, 1));
    }
    if (tuff_compile(dev, g, NULL, &p)) fprintf(stderr, "audio: %s\n", tuff_graph_error(g));
    tuff_graph_destroy(g);
    return p;
}

static double now(void)
{
    struct timespec t;
    timespec_get(&t, TIME_UTC);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Block after block; the last one is filled up with silence. */
static bool stream(tuff_program *p, const sound *in, sound *out, int64_t block, double *seconds)
{
    const size_t bytes = (size_t)(in->channels * block) * sizeof(float);
    float *piece = malloc(bytes);
    bool good = piece != NULL;
    const double start = now();
    for (int64_t at = 0; good && at < in->length; at += block) {
        const size_t n = (size_t)(in->length - at < block ? in->length - at : block);
        memset(piece, 0, bytes);
        for (int c = 0; c < in->channels; c++) memcpy(piece + c * block, in->samples + c * in->length + at, n * sizeof(float));
        good = !tuff_write(p, "u", piece, bytes) && !tuff_run(p) && !tuff_read(p, "y", piece, bytes);
        for (int c = 0; c < in->channels; c++) memcpy(out->samples + c * in->length + at, piece + c * block, n * sizeof(float));
    }
    *seconds = now() - start;
    if (!good && p) fprintf(stderr, "audio: %s\n", tuff_program_error(p));
    free(piece);
    return good;
}

static bool run(const char *device, const sound *in, int64_t block, const char *path)
{
    const size_t n = (size_t)(in->length * in->channels);
    tuff_device *dev = NULL;
    sound out = *in, check = *in;
    double seconds = 0, whole_seconds = 0, error = 0, norm = 0;
    if (tuff_device_open(&(tuff_device_desc){ .select = device }, &dev)) {
        fprintf(stderr, "audio: %s\n", tuff_device_error(NULL));
        return false;
    }
    out.samples = malloc(n * sizeof(float));
    check.samples = malloc(n * sizeof(float));
    tuff_program *blocks = make_program(dev, in, block, false), *whole = make_program(dev, in, in->length, true);
    bool good = out.samples && check.samples && blocks && whole;
    /* The first pass makes the pipelines. */
    good = good && stream(blocks, in, &out, block, &seconds) && !tuff_reset(blocks, NULL) && stream(blocks, in, &out, block, &seconds);
    good = good && stream(whole, in, &check, in->length, &whole_seconds);
    for (size_t i = 0; good && i < n; i++) {
        error += ((double)out.samples[i] - (double)check.samples[i]) * ((double)out.samples[i] - (double)check.samples[i]);
        norm += (double)check.samples[i] * (double)check.samples[i];
    }
    good = good && write_wav(path, &out);
    if (good) {
        const double length = (double)in->length / in->rate;
        printf("sound       %.2f s, %d channels at %d Hz, blocks of %d samples (%.1f ms)\n", length, in->channels, in->rate, (int)block, 1e3 * (double)block / in->rate);
        printf("device      %s\n", tuff_device_name(dev));
        printf("real time   factor %.1f: %.3f s of work, %.2f ms per block\n", length / seconds, seconds, 1e3 * seconds / ceil((double)in->length / (double)block));
        printf("difference  %.1e relative to one convolution\n", sqrt(error / fmax(norm, 1e-30)));
        printf("wrote       %s\n", path);
    }
    free(out.samples);
    free(check.samples);
    tuff_program_destroy(blocks);
    tuff_program_destroy(whole);
    tuff_device_close(dev);
    return good;
}

int main(int argc, char **argv)
{
    const char *in_path = NULL, *out_path = "filtered.wav", *device = NULL;
    int64_t block = 512;
    sound in = { 0 };
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (argv[i][0] != '-') { in_path = argv[i]; continue; }
        if (!strcmp(argv[i], "--out")) out_path = value;
        else if (!strcmp(argv[i], "--block")) block = atoi(value);
        else if (!strcmp(argv[i], "--device")) device = value;
        else block = 0;
        i++;
    }
    if (block < 1 || block > 65536) {
        fprintf(stderr, "usage: audio [IN.wav] [--out filtered.wav] [--block 512] [--device D]\n       block: 1 to 65536 samples\n");
        return 2;
    }
    bool good = in_path ? read_wav(in_path, &in) : make_sound(&in);
    if (good && (in.length < 1 || in.length > 1 << 24)) {
        fprintf(stderr, "audio: %s holds %lld samples; 1 to 2^24 are possible\n", in_path ? in_path : "the sound", (long long)in.length);
        good = false;
    }
    good = good && run(device, &in, block, out_path);
    free(in.samples);
    return good ? 0 : 1;
}
