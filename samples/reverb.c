/* reverb - puts a sound into a room: FFT convolution of a WAV with the room's impulse response, left and right.
 *
 *     reverb [IN.wav] [--room IR.wav] [--wet 0.35] [--out reverb.wav] [--device D]
 *
 * Without files a plucked melody and a synthetic hall (decaying noise, higher notes die sooner) are made. WAV files are PCM
 * with 16 bits; a mono room serves both sides. The response is a constant of the graph, so its transform is made once.
 * Prints how much faster than the sound itself the convolution runs, and the distance of some samples from the direct sum. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <tuff/tuff.h>

typedef struct sound { int rate, channels; int64_t frames; float *data; } sound; /* data[channel][frame] */

static double now(void)
{
    struct timespec t;
    timespec_get(&t, TIME_UTC);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- WAV files ------------------------------------------------------------------------------------ */

static uint32_t little(const unsigned char *p, int n)
{
    uint32_t v = 0;
    while (n--) v = v << 8 | p[n];
    return v;
}

static void put(FILE *f, uint32_t v, int n)
{
    for (; n; n--, v >>= 8) fputc((int)(v & 255), f);
}

/* A frame of the data chunk that is at `at` in the file's bytes. */
static bool decode(const unsigned char *bytes, uint32_t size, sound *s)
{
    const int64_t step = 2 * s->channels;
    s->frames = size / step;
    s->data = malloc((size_t)(s->frames * s->channels + 1) * sizeof(float));
    for (int64_t i = 0; s->data && i < s->frames * s->channels; i++)
        s->data[i % s->channels * s->frames + i / s->channels] = (float)(int16_t)little(bytes + 2 * i, 2) / 32768.0f;
    return s->data && s->frames > 0;
}

static bool read_wav(const char *path, sound *s)
{
    FILE *f = fopen(path, "rb");
    unsigned char head[12], chunk[24];
    bool good = f && fread(head, 1, 12, f) == 12 && !memcmp(head, "RIFF", 4) && !memcmp(head + 8, "WAVE", 4), done = false;
    *s = (sound){ 0 };
    while (good && !done && fread(chunk, 1, 8, f) == 8) {
        const uint32_t size = little(chunk + 4, 4);
        if (!memcmp(chunk, "fmt ", 4) && size >= 16) {
            good = fread(chunk + 8, 1, 16, f) == 16 && little(chunk + 22, 2) == 16 && (little(chunk + 8, 2) == 1 || little(chunk + 8, 2) == 0xfffe);
            s->channels = (int)little(chunk + 10, 2);
            s->rate = (int)little(chunk + 12, 4);
            good = good && s->channels >= 1 && s->channels <= 8 && s->rate > 0 && !fseek(f, (long)(size - 16 + (size & 1)), SEEK_CUR);
        } else if (!memcmp(chunk, "data", 4) && s->channels) {
            unsigned char *bytes = size < UINT32_C(1) << 28 ? malloc(size + 1) : NULL;
            const uint32_t got = bytes ? (uint32_t)fread(bytes, 1, size, f) : 0;
            good = done = bytes && decode(bytes, got, s);
            free(bytes);
        } else good = !fseek(f, (long)(size + (size & 1)), SEEK_CUR);
    }
    if (f) fclose(f);
    if (!good || !done) fprintf(stderr, "reverb: %s: %s\n", path, f ? "no WAV with 16-bit PCM" : "cannot be opened");
    return good && done;
}

static bool write_wav(const char *path, const sound *s)
{
    FILE *f = fopen(path, "wb");
    if (!f) {
        fprintf(stderr, "reverb: %s: cannot be written\n", path);
        return false;
    }
    const uint32_t bytes = (uint32_t)(s->frames * s->channels * 2);
    fputs("RIFF", f);
    put(f, 36 + bytes, 4);
    fputs("WAVEfmt ", f);
    put(f, 16, 4);
    put(f, 1, 2);
    put(f, (uint32_t)s->channels, 2);
    put(f, (uint32_t)s->rate, 4);
    put(f, (uint32_t)(s->rate * s->channels * 2), 4);
    put(f, (uint32_t)s->channels * 2, 2);
    put(f, 16, 2);
    fputs("data", f);
    put(f, bytes, 4);
    for (int64_t i = 0; i < s->frames * s->channels; i++) {
        const float v = s->data[i % s->channels * s->frames + i / s->channels];
        put(f, (uint32_t)(int32_t)lrintf(32767.0f * fmaxf(-1.0f, fminf(1.0f, v))), 2);
    }
    return !fclose(f);
}

/* ---- synthetic sounds ------------------------------------------------------------------------------ */

static float noise(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return (float)(*state >> 8) / 8388608.0f - 1.0f;
}

/* Plucked strings: a delay line of noise that is averaged as it goes round (Karplus and Strong). */
static bool melody(sound *s)
{
    static const double notes[] = { 220.0, 261.6, 329.6, 440.0, 392.0, 329.6, 293.7, 246.9 };
    *s = (sound){ .rate = 24000, .channels = 1, .frames = 4 * 24000 };
    s->data = calloc((size_t)s->frames, sizeof(float));
    float line[256];
    uint32_t state = 7;
    for (int64_t n = 0; s->data && n < 8; n++) {
        const int period = (int)(s->rate / notes[n]);
        for (int i = 0; i < period; i++) line[i] = noise(&state);
        for (int64_t i = 0, at = n * s->rate * 2 / 5; at < s->frames; i++, at++) {
            float *here = &line[i % period];
            s->data[at] += 0.25f * *here;
            *here = 0.498f * (*here + line[(i + 1) % period]);
        }
    }
    return s->data != NULL;
}

/* Two sides of noise that decays by 60 dB in 1.4 s and grows duller. */
static bool hall(int rate, sound *s)
{
    *s = (sound){ .rate = rate, .channels = 2, .frames = (int64_t)(1.2 * rate) };
    s->data = calloc((size_t)(2 * s->frames), sizeof(float));
    uint32_t state = 99;
    for (int c = 0; s->data && c < 2; c++) {
        float smooth = 0;
        for (int64_t i = 0; i < s->frames; i++) {
            const double t = (double)i / rate;
            const float open = (float)(0.15 + 0.85 * exp(-3.0 * t));
            smooth += open * (noise(&state) - smooth);
            s->data[c * s->frames + i] = (float)(0.05 * exp(-6.9 * t / 1.4)) * smooth;
        }
    }
    return s->data != NULL;
}

/* ---- the room ---------------------------------------------------------------------------------------- */

/* dry[2, n] + wet * (dry convolved with h[2, k]), the end of the echo included. */
static tuff_graph *build(const sound *room, int64_t n, float wet)
{
    tuff_graph *g = tuff_graph_create(NULL);
    const int64_t k = room->frames;
    const tuff_tensor dry = tuff_input(g, "dry", TUFF_F32, TUFF_SHAPE(2, n));
    tuff_tensor h = tuff_const(g, TUFF_F32, TUFF_SHAPE(room->channels > 1 ? 2 : 1, k), room->data, NULL);
    const tuff_tensor echo = tuff_fft_conv(dry, h, NULL);
    const tuff_tensor direct = tuff_pad(dry, TUFF_INTS(0, 0), TUFF_INTS(0, k - 1), NULL);
    tuff_output(g, "echo", echo);
    tuff_output(g, "mixed", tuff_add(direct, tuff_mul(echo, tuff_literal(g, wet, TUFF_F32))));
    return g;
}

/* Relative L2 distance of `count` samples of the echo from the sum in double precision. */
static double difference(const float *dry, int64_t n, const sound *room, const float *echo, int count)
{
    const int64_t k = room->frames, total = n + k - 1;
    double error = 0, norm = 0;
    for (int i = 0; i < count; i++) {
        const int64_t c = i % 2, t = (int64_t)i * 7919 * 13 % total;
        const float *h = room->data + (room->channels > 1 ? c * k : 0);
        double sum = 0;
        for (int64_t s = t - n + 1 > 0 ? t - n + 1 : 0; s < k && s <= t; s++) sum += (double)h[s] * (double)dry[c * n + t - s];
        const double got = (double)echo[c * total + t];
        error += (got - sum) * (got - sum);
        norm += sum * sum;
    }
    return norm > 0 ? sqrt(error / norm) : sqrt(error);
}

static bool run(tuff_device *dev, const sound *in, const sound *room, float wet, const char *out)
{
    const int64_t n = in->frames, total = n + room->frames - 1;
    float *dry = malloc((size_t)(2 * n) * sizeof(float)), *echo = malloc((size_t)(2 * total) * sizeof(float)), *mixed = malloc((size_t)(2 * total) * sizeof(float));
    tuff_program *p = NULL;
    tuff_graph *g = build(room, n, wet);
    const double start = now();
    bool good = dry && echo && mixed && !tuff_compile(dev, g, NULL, &p);
    if (!good) fprintf(stderr, "reverb: %s\n", tuff_graph_error(g));
    for (int64_t c = 0; good && c < 2; c++) memcpy(dry + c * n, in->data + (in->channels > 1 ? c * n : 0), (size_t)n * sizeof(float));
    good = good && !tuff_write(p, "dry", dry, (size_t)(2 * n) * sizeof(float)) && !tuff_run(p);
    const double first = now() - start, again = now();
    good = good && !tuff_run(p);
    const double seconds = now() - again;
    good = good && !tuff_read(p, "echo", echo, (size_t)(2 * total) * sizeof(float)) && !tuff_read(p, "mixed", mixed, (size_t)(2 * total) * sizeof(float));
    if (p && !good) fprintf(stderr, "reverb: %s\n", tuff_program_error(p));
    float peak = 1;
    for (int64_t i = 0; good && i < 2 * total; i++) peak = fmaxf(peak, fabsf(mixed[i]));
    for (int64_t i = 0; good && i < 2 * total; i++) mixed[i] /= peak;
    good = good && write_wav(out, &(sound){ .rate = in->rate, .channels = 2, .frames = total, .data = mixed });
    if (good) {
        printf("device        %s\n", tuff_device_name(dev));
        printf("sound         %.2f s at %d Hz, room %.2f s\n", (double)n / in->rate, in->rate, (double)room->frames / room->rate);
        printf("difference    %.1e relative, from the direct sum\n", difference(dry, n, room, echo, 400));
        printf("time          %.3f s, first result %.2f s; %.0f times real time\n", seconds, first, (double)total / in->rate / seconds);
        printf("wrote         %s\n", out);
    }
    tuff_program_destroy(p);
    tuff_graph_destroy(g);
    free(dry);
    free(echo);
    free(mixed);
    return good;
}

int main(int argc, char **argv)
{
    const char *in_path = NULL, *room_path = NULL, *out = "reverb.wav", *device = NULL;
    double wet = 0.35;
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (argv[i][0] != '-') { in_path = argv[i]; continue; }
        if (value && !strcmp(argv[i], "--room")) room_path = value;
        else if (value && !strcmp(argv[i], "--wet")) wet = atof(value);
        else if (value && !strcmp(argv[i], "--out")) out = value;
        else if (value && !strcmp(argv[i], "--device")) device = value;
        else {
            fprintf(stderr, "usage: reverb [IN.wav] [--room IR.wav] [--wet 0.35] [--out reverb.wav] [--device D]\n");
            return 2;
        }
        i++;
    }
    sound in = { 0 }, room = { 0 };
    tuff_device *dev = NULL;
    bool good = (in_path ? read_wav(in_path, &in) : melody(&in)) && (room_path ? read_wav(room_path, &room) : hall(in.rate, &room));
    if (good && room.rate != in.rate) {
        fprintf(stderr, "reverb: the room has %d Hz, the sound %d\n", room.rate, in.rate);
        good = false;
    }
    if (good && tuff_device_open(&(tuff_device_desc){ .select = device }, &dev)) {
        fprintf(stderr, "reverb: %s\n", tuff_device_error(NULL));
        good = false;
    }
    good = good && run(dev, &in, &room, (float)wet, out);
    if (dev) tuff_device_close(dev);
    free(in.data);
    free(room.data);
    return good ? 0 : 1;
}
