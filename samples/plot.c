/* plot.c - pictures of curves for the samples. */
#include "plot.h"

#include <math.h>
#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* 3 x 5 dots, a row per octal digit from the top. */
static const char letters[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ.-+:/()%=,";
static const unsigned dots[] = {
    075557, 026227, 071747, 071717, 055711, 074717, 074757, 071122, 075757, 075717, 025755, 065656, 034443, 065556, 074647, 074644,
    034553, 055755, 072227, 011153, 055655, 044447, 057755, 065555, 025552, 065644, 025563, 065655, 034216, 072222, 055557, 055552,
    055775, 055255, 055222, 071247, 000002, 000700, 002720, 002020, 011244, 012221, 042224, 051245, 007070, 000024,
};

bool plot_create(plot *p, int width, int height)
{
    const size_t bytes = (size_t)width * (size_t)height * 3;
    *p = (plot){ width, height, malloc(bytes) };
    if (p->rgb) memset(p->rgb, 255, bytes);
    return p->rgb != NULL;
}

void plot_destroy(plot *p)
{
    free(p->rgb);
    p->rgb = NULL;
}

/* Mixes the colour in by `cover` from 0 to 1. */
static void dot(plot *p, int x, int y, unsigned colour, double cover)
{
    if (x < 0 || y < 0 || x >= p->width || y >= p->height) return;
    unsigned char *at = p->rgb + 3 * ((size_t)y * (size_t)p->width + (size_t)x);
    for (int i = 0; i < 3; i++) at[i] = (unsigned char)lrint(at[i] + cover * ((double)(colour >> (16 - 8 * i) & 255) - at[i]));
}

void plot_text(plot *p, int x, int y, unsigned colour, const char *text)
{
    for (; *text; text++, x += 8) {
        const char c = (char)(*text >= 'a' && *text <= 'z' ? *text - 'a' + 'A' : *text), *place = strchr(letters, c);
        for (int bit = 0; place && bit < 15; bit++)
            for (int k = 0; dots[place - letters] >> (14 - bit) & 1 && k < 4; k++)
                dot(p, x + bit % 3 * 2 + k % 2, y + bit / 3 * 2 + k / 2, colour, 1);
    }
}

plot_panel plot_frame(plot *p, int x, int y, int width, int height, double low, double high, const char *title)
{
    char number[32];
    for (int i = 0; i < width; i++) dot(p, x + i, y, 0x999999, 1), dot(p, x + i, y + height - 1, 0x999999, 1);
    for (int i = 0; i < height; i++) dot(p, x, y + i, 0x999999, 1), dot(p, x + width - 1, y + i, 0x999999, 1);
    plot_text(p, x, y - 14, 0x222222, title);
    snprintf(number, sizeof number, "%.3g", high);
    plot_text(p, x - 8 * (int)strlen(number) - 4, y, 0x666666, number);
    snprintf(number, sizeof number, "%.3g", low);
    plot_text(p, x - 8 * (int)strlen(number) - 4, y + height - 10, 0x666666, number);
    return (plot_panel){ x, y, width, height, low, high };
}

/* Column by column: the curve's range inside the column, with soft edges. */
void plot_line(plot *p, const plot_panel *panel, const float *y, size_t n, unsigned colour)
{
    const double scale = (panel->height - 3) / (panel->high - panel->low);
    for (int column = 1; column + 1 < panel->width && n > 1; column++) {
        double low = INFINITY, high = -INFINITY;
        for (int step = 0; step <= 8; step++) {
            const double at = (double)(n - 1) * (column - 1 + step / 8.0) / (panel->width - 2);
            const size_t i = (size_t)at < n - 1 ? (size_t)at : n - 2;
            const double v = (double)y[i] + (at - (double)i) * ((double)y[i + 1] - (double)y[i]);
            const double row = panel->y + 1 + (panel->high - v) * scale;
            low = fmin(low, row);
            high = fmax(high, row);
        }
        low = fmax(low - 0.7, panel->y + 1);
        high = fmin(high + 0.7, panel->y + panel->height - 2);
        for (int row = (int)floor(low); row <= (int)high; row++) {
            const double cover = fmin(high, row + 1) - fmax(low, row);
            if (cover > 0) dot(p, panel->x + column, row, colour, cover);
        }
    }
}

bool plot_write(const plot *p, const char *path)
{
    png_image image = { .version = PNG_IMAGE_VERSION, .format = PNG_FORMAT_RGB, .height = (png_uint_32)p->height, .width = (png_uint_32)p->width };
    const bool good = png_image_write_to_file(&image, path, 0, p->rgb, 0, NULL);
    if (!good) fprintf(stderr, "%s: %s\n", path, image.message);
    return good;
}

double plot_now(void)
{
    struct timespec t;
    timespec_get(&t, TIME_UTC);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
