/* plot.h - pictures of curves for the samples: panels with a frame, a title and lines, written as PNG. And a clock. */
#ifndef SAMPLE_PLOT_H
#define SAMPLE_PLOT_H

#include <stdbool.h>
#include <stddef.h>

typedef struct plot { int width, height; unsigned char *rgb; } plot;
typedef struct plot_panel { int x, y, width, height; double low, high; } plot_panel; /* pixels; the values at its lower and upper edge */

/* White; false when memory is out. */
bool plot_create(plot *p, int width, int height);
void plot_destroy(plot *p);
/* Capital and small letters look the same; unknown characters are blank. Colours are 0xrrggbb. */
void plot_text(plot *p, int x, int y, unsigned colour, const char *text);
/* A frame with a title above it and its two values beside it; what is drawn into it later is cut at the frame. */
plot_panel plot_frame(plot *p, int x, int y, int width, int height, double low, double high, const char *title);
/* y[0..n) from the left edge to the right one. */
void plot_line(plot *p, const plot_panel *panel, const float *y, size_t n, unsigned colour);
/* False: the message was printed. */
bool plot_write(const plot *p, const char *path);

/* Seconds since some moment. */
double plot_now(void);

#endif
