/* fft_peers - transforms of tuff, VkFFT (Vulkan) and FFTW (one CPU thread) side by side: the same data, the same device for the
 * first two, least times of alternating runs.
 *
 *     fft_peers [--points 20] [--seconds 0.5] [--plans 3] [--only NAME]
 *
 * Each row has 2^points complex points. "create" is the time from the description to something that can run (tuff: building and
 * compiling the graph; VkFFT: initializeVkFFT), "plan" the time from the description to the first result, since some drivers
 * compile when a kernel first runs: create, and for both one run, recorded, submitted and waited for; both are the least of
 * --plans tries, so without what a process sets up once. Neither has a cache on disk. "error" is the relative L2 distance of
 * some bins from sums in double precision. The device is the first one that Vulkan lists (choose by VK_DRIVER_FILES). */
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <tuff/tuff.h>
#ifdef HAVE_VKFFT
#  define VKFFT_BACKEND 0
#  include "vkFFT.h"
#endif
#ifdef HAVE_FFTW
#  include <fftw3.h>
#endif

typedef struct row { const char *name; int rank; int64_t n[3]; bool real; } row;
static const row rows[] = {
    { "64", 1, { 64 }, false }, { "128", 1, { 128 }, false }, { "256", 1, { 256 }, false }, { "512", 1, { 512 }, false },
    { "1024", 1, { 1024 }, false }, { "2048", 1, { 2048 }, false }, { "4096", 1, { 4096 }, false }, { "8192", 1, { 8192 }, false },
    { "16384", 1, { 16384 }, false }, { "32768", 1, { 32768 }, false }, { "65536", 1, { 65536 }, false }, { "1000", 1, { 1000 }, false },
    { "997", 1, { 997 }, false }, { "16x16", 2, { 16, 16 }, false }, { "256x256", 2, { 256, 256 }, false }, { "512x512", 2, { 512, 512 }, false },
    { "64x64x64", 3, { 64, 64, 64 }, false }, { "1024 r2c", 1, { 1024 }, true }, { "4096 r2c", 1, { 4096 }, true }, { "512x512 r2c", 2, { 512, 512 }, true },
};

typedef struct measured { double create, plan, run, error; bool good; } measured; /* milliseconds, the least of all tries */
static const measured none = { INFINITY, INFINITY, INFINITY, NAN, true };

/* A transform and its data: batch lines of rank dims; real data as floats, complex as pairs. */
typedef struct work {
    const row *r;
    int64_t batch, points, bins; /* points and stored results per batch entry */
    float *in, *out;
} work;

static double now(void)
{
    struct timespec t;
    timespec_get(&t, TIME_UTC);
    return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

/* Relative L2 error of 12 bins in 2 batch entries. */
static double error_of(const work *w)
{
    const row *r = w->r;
    const int64_t last = r->n[r->rank - 1], kept = r->real ? last / 2 + 1 : last;
    double e = 0, norm = 0;
    for (int64_t b = 0; b < w->batch; b += w->batch > 1 ? w->batch - 1 : 1)
        for (int64_t s = 0; s < 12; s++) {
            const int64_t bin = (s * 2654435761 + 7 * s) % w->bins;
            int64_t k[3] = { 0, 0, bin % kept }, rest = bin / kept;
            for (int i = r->rank - 2; i >= 0; i--) {
                k[i + 3 - r->rank] = rest % r->n[i];
                rest /= r->n[i];
            }
            double re = 0, im = 0;
            for (int64_t j = 0; j < w->points; j++) {
                double turn = 0;
                int64_t at = j;
                for (int i = r->rank - 1; i >= 0; i--) {
                    turn += (double)(at % r->n[i] * k[i + 3 - r->rank] % r->n[i]) / (double)r->n[i];
                    at /= r->n[i];
                }
                const double c = cos(6.283185307179586 * turn), d = -sin(6.283185307179586 * turn);
                const float *x = &w->in[(r->real ? 1 : 2) * (b * w->points + j)];
                const double xi = r->real ? 0 : (double)x[1];
                re += (double)x[0] * c - xi * d;
                im += (double)x[0] * d + xi * c;
            }
            const float *y = &w->out[2 * (b * w->bins + bin)];
            e += ((double)y[0] - re) * ((double)y[0] - re) + ((double)y[1] - im) * ((double)y[1] - im);
            norm += re * re + im * im;
        }
    return sqrt(e / norm);
}

/* ---- tuff ----------------------------------------------------------------------------------------- */

typedef struct ours { tuff_graph *g; tuff_program *p; } ours;

static bool ours_begin(tuff_device *dev, const work *w, ours *o, measured *m)
{
    tuff_shape shape = { .rank = w->r->rank + 1, .dim = { w->batch } };
    tuff_ints axes = { .n = w->r->rank };
    for (int i = 0; i < w->r->rank; i++) {
        shape.dim[i + 1] = w->r->n[i];
        axes.v[i] = i + 1;
    }
    const double start = now();
    o->g = tuff_graph_create(NULL);
    const tuff_tensor x = tuff_input(o->g, "x", w->r->real ? TUFF_F32 : TUFF_C64, shape);
    tuff_output(o->g, "y", tuff_fft(x, &(tuff_fft_desc){ .kind = w->r->real ? TUFF_FFT_R2C : TUFF_FFT_C2C, .axes = axes }));
    const size_t bytes = (size_t)(w->batch * w->points) * (w->r->real ? 4 : 8);
    m->good = m->good && !tuff_compile(dev, o->g, NULL, &o->p);
    const double create = now() - start;
    if (!m->good) fprintf(stderr, "tuff: %s\n", tuff_graph_error(o->g));
    m->good = m->good && !tuff_write(o->p, "x", w->in, bytes);
    const double first = now();
    m->good = m->good && !tuff_run(o->p);
    m->plan = fmin(m->plan, create + now() - first);
    m->create = fmin(m->create, create);
    m->good = m->good && !tuff_read(o->p, "y", w->out, (size_t)(w->batch * w->bins) * 8);
    m->error = m->good ? error_of(w) : NAN;
    return m->good;
}

static void ours_end(ours *o)
{
    tuff_program_destroy(o->p);
    tuff_graph_destroy(o->g);
    *o = (ours){ 0 };
}

static void ours_run(const ours *o, measured *m)
{
    const double start = now();
    m->good = m->good && !tuff_run(o->p);
    m->run = fmin(m->run, now() - start);
}

/* ---- VkFFT ------------------------------------------------------------------------------------------ */

#ifdef HAVE_VKFFT
typedef struct gpu {
    VkInstance instance;
    VkPhysicalDevice physical;
    VkDevice device;
    VkQueue queue;
    VkCommandPool pool;
    VkFence fence;
    uint32_t memory_type;
} gpu;

static bool gpu_open(gpu *v)
{
    const VkApplicationInfo app = { .sType = VK_STRUCTURE_TYPE_APPLICATION_INFO, .apiVersion = VK_API_VERSION_1_1 };
    uint32_t one = 1;
    if (vkCreateInstance(&(VkInstanceCreateInfo){ .sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO, .pApplicationInfo = &app }, NULL, &v->instance)) return false;
    if (vkEnumeratePhysicalDevices(v->instance, &one, &v->physical) < 0 || !one) return false;
    const float priority = 1;
    const VkDeviceQueueCreateInfo queue = { .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO, .queueCount = 1, .pQueuePriorities = &priority };
    if (vkCreateDevice(v->physical, &(VkDeviceCreateInfo){ .sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO, .queueCreateInfoCount = 1, .pQueueCreateInfos = &queue }, NULL, &v->device)) return false;
    vkGetDeviceQueue(v->device, 0, 0, &v->queue);
    const VkCommandPoolCreateInfo pool = { .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO, .flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT };
    const VkFenceCreateInfo fence = { .sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO };
    if (vkCreateCommandPool(v->device, &pool, NULL, &v->pool) || vkCreateFence(v->device, &fence, NULL, &v->fence)) return false;
    VkPhysicalDeviceMemoryProperties p;
    vkGetPhysicalDeviceMemoryProperties(v->physical, &p);
    const VkMemoryPropertyFlags want = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    for (v->memory_type = 0; v->memory_type < p.memoryTypeCount; v->memory_type++)
        if ((p.memoryTypes[v->memory_type].propertyFlags & want) == want) return true;
    return false;
}

typedef struct peer {
    VkFFTApplication app;
    VkBuffer buffer;
    VkDeviceMemory memory;
    uint64_t bytes;
    void *mapped;
    VkCommandBuffer commands;
} peer;

static bool peer_submit(const gpu *v, const peer *p)
{
    return !vkQueueSubmit(v->queue, 1, &(VkSubmitInfo){ .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO, .commandBufferCount = 1, .pCommandBuffers = &p->commands }, v->fence) &&
           !vkWaitForFences(v->device, 1, &v->fence, VK_TRUE, UINT64_MAX) && !vkResetFences(v->device, 1, &v->fence);
}

/* In place; rows of real transforms are padded to 2 (n / 2 + 1) floats. */
static void peer_fill(const work *w, const peer *p)
{
    const int64_t last = w->r->n[w->r->rank - 1], padded = w->r->real ? last + 2 : 2 * last, given = w->r->real ? last : 2 * last;
    for (int64_t l = 0; l < w->batch * w->points / last; l++) memcpy((float *)p->mapped + l * padded, w->in + l * given, (size_t)given * 4);
}

static bool peer_begin(gpu *v, const work *w, peer *p, measured *m)
{
    const row *r = w->r;
    memset(p, 0, sizeof *p);
    p->bytes = (uint64_t)(w->batch * w->bins) * 8;
    const VkBufferCreateInfo info = { .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO, .size = p->bytes, .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT };
    if (vkCreateBuffer(v->device, &info, NULL, &p->buffer)) return false;
    VkMemoryRequirements need;
    vkGetBufferMemoryRequirements(v->device, p->buffer, &need);
    const VkMemoryAllocateInfo memory = { .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO, .allocationSize = need.size, .memoryTypeIndex = v->memory_type };
    if (vkAllocateMemory(v->device, &memory, NULL, &p->memory) || vkBindBufferMemory(v->device, p->buffer, p->memory, 0) ||
        vkMapMemory(v->device, p->memory, 0, VK_WHOLE_SIZE, 0, &p->mapped)) return false;
    peer_fill(w, p);

    const double start = now();
    VkFFTConfiguration c;
    memset(&c, 0, sizeof c);
    c.FFTdim = (uint64_t)r->rank;
    for (int i = 0; i < r->rank; i++) c.size[i] = (uint64_t)r->n[r->rank - 1 - i];
    c.numberBatches = (uint64_t)w->batch;
    c.performR2C = r->real;
    c.physicalDevice = &v->physical;
    c.device = &v->device;
    c.queue = &v->queue;
    c.commandPool = &v->pool;
    c.fence = &v->fence;
    c.buffer = &p->buffer;
    c.bufferSize = &p->bytes;
    const VkFFTResult status = initializeVkFFT(&p->app, c);
    if (status != VKFFT_SUCCESS) {
        fprintf(stderr, "VkFFT: error %d for %s\n", (int)status, r->name);
        return false;
    }
    m->create = fmin(m->create, now() - start);
    const VkCommandBufferAllocateInfo allocate = { .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO, .commandPool = v->pool, .commandBufferCount = 1 };
    if (vkAllocateCommandBuffers(v->device, &allocate, &p->commands) ||
        vkBeginCommandBuffer(p->commands, &(VkCommandBufferBeginInfo){ .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO })) return false;
    VkFFTLaunchParams launch;
    memset(&launch, 0, sizeof launch);
    launch.commandBuffer = &p->commands;
    m->good = VkFFTAppend(&p->app, -1, &launch) == VKFFT_SUCCESS && !vkEndCommandBuffer(p->commands) && peer_submit(v, p);
    m->plan = fmin(m->plan, now() - start);
    memcpy(w->out, p->mapped, p->bytes);
    m->error = m->good ? error_of(w) : NAN;
    return m->good;
}

static void peer_run(const gpu *v, const work *w, const peer *p, measured *m)
{
    peer_fill(w, p); /* in place: repeated transforms would overflow */
    const double start = now();
    m->good = m->good && peer_submit(v, p);
    m->run = fmin(m->run, now() - start);
}

static void peer_end(const gpu *v, peer *p)
{
    if (p->commands) vkFreeCommandBuffers(v->device, v->pool, 1, &p->commands);
    deleteVkFFT(&p->app);
    vkDestroyBuffer(v->device, p->buffer, NULL);
    vkFreeMemory(v->device, p->memory, NULL);
}
#endif

/* ---- FFTW ------------------------------------------------------------------------------------------- */

#ifdef HAVE_FFTW
static double fftw_time(const work *w, double seconds)
{
    int n[3];
    for (int i = 0; i < w->r->rank; i++) n[i] = (int)w->r->n[i];
    float *in = fftwf_malloc((size_t)(w->batch * w->points) * 8);
    fftwf_complex *out = fftwf_malloc((size_t)(w->batch * w->bins) * 8);
    const fftwf_plan plan = w->r->real
        ? fftwf_plan_many_dft_r2c(w->r->rank, n, (int)w->batch, in, NULL, 1, (int)w->points, out, NULL, 1, (int)w->bins, FFTW_MEASURE)
        : fftwf_plan_many_dft(w->r->rank, n, (int)w->batch, (fftwf_complex *)in, NULL, 1, (int)w->points, out, NULL, 1, (int)w->bins, FFTW_FORWARD, FFTW_MEASURE);
    memcpy(in, w->in, (size_t)(w->batch * w->points) * (w->r->real ? 4 : 8));
    double best = INFINITY;
    for (double start = now(); now() - start < 1e3 * seconds;) {
        const double t = now();
        fftwf_execute(plan);
        best = fmin(best, now() - t);
    }
    fftwf_destroy_plan(plan);
    fftwf_free(in);
    fftwf_free(out);
    return best;
}
#endif

/* ---- the table --------------------------------------------------------------------------------------- */

int main(int argc, char **argv)
{
    int points = 20, plans = 3;
    double seconds = 0.5;
    const char *only = NULL;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--points")) points = atoi(argv[i + 1]);
        else if (!strcmp(argv[i], "--seconds")) seconds = atof(argv[i + 1]);
        else if (!strcmp(argv[i], "--plans")) plans = atoi(argv[i + 1]);
        else if (!strcmp(argv[i], "--only")) only = argv[i + 1];
    }
    tuff_device *dev = NULL;
    if (tuff_device_open(&(tuff_device_desc){ .cache_dir = "" }, &dev)) {
        fprintf(stderr, "fft_peers: %s\n", tuff_device_error(NULL));
        return 1;
    }
#ifdef HAVE_VKFFT
    gpu v = { 0 };
    if (!gpu_open(&v)) {
        fprintf(stderr, "fft_peers: no Vulkan device for VkFFT\n");
        return 1;
    }
#endif
    printf("%s, 2^%d points a row; times in ms, least of alternating runs\n", tuff_device_name(dev), points);
    printf("create: description to runnable; plan: create and the first run, least of %d; no cache on disk\n", plans);
    printf("%-12s %8s %8s %8s %6s %8s %8s %8s %8s %9s %9s %8s\n", "", "tuff", "GFLOP/s", "VkFFT", "ratio", "create", "create V", "plan", "plan V", "error", "error V", "FFTW");
    double logs = 0;
    int compared = 0;
    bool good = true;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const row *r = &rows[i];
        if (only && strcmp(only, r->name)) continue;
        work w = { .r = r, .points = r->n[0] };
        for (int a = 1; a < r->rank; a++) w.points *= r->n[a];
        w.batch = (INT64_C(1) << points) / w.points;
        w.batch = w.batch ? w.batch : 1;
        w.bins = r->real ? w.points / r->n[r->rank - 1] * (r->n[r->rank - 1] / 2 + 1) : w.points;
        w.in = malloc((size_t)(w.batch * w.points) * 8);
        w.out = malloc((size_t)(w.batch * w.bins) * 8);
        if (!w.in || !w.out) return 1;
        uint32_t state = 1;
        for (int64_t j = 0; j < 2 * w.batch * w.points; j++) {
            state = state * 1664525u + 1013904223u;
            w.in[j] = (float)(state >> 8) / 8388608.0f - 1.0f;
        }
        measured a = none, b = none;
        ours o = { 0 };
        for (int k = 0; k < plans; k++) {
            ours_end(&o);
            good = ours_begin(dev, &w, &o, &a) && good;
        }
#ifdef HAVE_VKFFT
        peer p;
        for (int k = 0; k < plans; k++) {
            if (k) peer_end(&v, &p);
            if (!peer_begin(&v, &w, &p, &b)) b.good = false;
        }
#endif
        for (double start = now(); a.good && now() - start < 1e3 * seconds;) {
            ours_run(&o, &a);
#ifdef HAVE_VKFFT
            if (b.good) peer_run(&v, &w, &p, &b);
#endif
        }
        double fftw = NAN;
#ifdef HAVE_FFTW
        fftw = fftw_time(&w, seconds / 2);
#endif
        const double flops = (r->real ? 2.5 : 5.0) * (double)(w.batch * w.points) * log2((double)w.points);
        printf("%-12s %8.2f %8.2f %8.2f %6.2f %8.0f %8.0f %8.0f %8.0f %9.1e %9.1e %8.2f\n", r->name, a.run, flops / a.run * 1e-6, b.run, b.run / a.run, a.create,
               b.create, a.plan, b.plan, a.error, b.error, fftw);
        fflush(stdout);
        if (b.good) {
            logs += log(b.run / a.run);
            compared++;
        }
#ifdef HAVE_VKFFT
        peer_end(&v, &p);
#endif
        ours_end(&o);
        free(w.in);
        free(w.out);
    }
    if (compared) printf("geometric mean of %d ratios VkFFT / tuff: %.2f\n", compared, exp(logs / compared));
    tuff_device_close(dev);
    return good ? 0 : 1;
}
