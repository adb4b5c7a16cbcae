/* pack.c - capsules: compiling for devices that need not be present, and programs without a compiler (graph/capsule.h). */
#include "program.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/capsule.h"

enum { VARIANTS = 2 };

/* ---- packing ------------------------------------------------------------------------------------ */

static bool compile_code(tuff_device *dev, tf_plan *plan, const tuff_compile_desc *desc, tf_fault *f)
{
    for (uint32_t i = 0; i < plan->kernels.n; i++) {
        tf_kernel *k = &plan->kernels.data[i];
        tf_spirv code;
        if (desc->progress && !desc->progress(desc->progress_user, "kernels", i, plan->kernels.n))
            return tf_fault_set(f, TUFF_E_CANCELLED, "packing was cancelled after %u of %u kernels", i, plan->kernels.n);
        if (!tf_code_get(dev, k, &code, f))
            return false;
        k->code = tf_arena_copy(&plan->arena, code.words, code.n * sizeof *code.words);
        k->code_words = code.n;
        free(code.words);
        if (!k->code)
            return tf_fault_set(f, TUFF_E_MEMORY, "out of host memory for the code of kernel %s", k->name);
    }
    return true;
}

static bool write_capsule(tuff_device *dev, tf_plan *const *plans, uint32_t n, const char *path, tf_fault *f)
{
    tf_str file;
    tf_str_init(&file, &dev->allocator);
    const bool made = tf_capsule_write((const tf_plan *const *)plans, n, &file) || tf_fault_set(f, TUFF_E_MEMORY, "out of host memory for the capsule");
    const bool ok = made && (tf_file_replace(path, file.data, file.n, true) || tf_fault_set(f, TUFF_E_IO, "%s cannot be written", path));
    tf_str_release(&file);
    return ok;
}

tuff_status tuff_pack(tuff_device *dev, tuff_graph *g, const tuff_compile_desc *desc, const char *path)
{
    static const tuff_compile_desc none;
    if (g) {
        g->compile_status = TUFF_OK;
        g->compile_error = !dev ? "pack: the device is NULL" : !path ? "pack: the path is NULL" : NULL;
    }
    if (!dev || !g || !path)
        return TUFF_E_ARGUMENT;
    desc = desc ? desc : &none;
    const tf_compile_options options = { .no_fusion = desc->no_fusion, .relaxed = desc->relaxed };
    tf_fault f = { TUFF_OK, "" };
    tf_limits limits[VARIANTS] = { dev->caps.limits };
    tf_plan *plans[VARIANTS] = { NULL };
    tuff_status status = tf_caps_floor(NULL, NULL, &limits[1], &f) ? TUFF_OK : f.status;
    uint32_t n = 0;
    for (uint32_t i = desc->deterministic ? 1 : 0; !status && i < VARIANTS; i++) {
        status = tf_compile(g, &limits[i], &options, &dev->allocator, &plans[n]);
        if (status == TUFF_E_LIMIT && n) { /* too large for the least of devices: those like dev can still run it */
            tf_log(dev, TUFF_LOG_WARNING, "no variant for any device: %s", tuff_graph_error(g));
            g->compile_status = status = TUFF_OK;
            g->compile_error = NULL;
        } else if (!status)
            n++;
    }
    for (uint32_t i = 0; !status && i < n; i++)
        status = compile_code(dev, plans[i], desc, &f) ? TUFF_OK : f.status;
    if (!status && !write_capsule(dev, plans, n, path, &f))
        status = f.status;
    for (uint32_t i = 0; i < n; i++)
        tf_plan_destroy(plans[i]);
    if (f.status) {
        g->compile_status = f.status;
        g->compile_error = tf_arena_string(&g->arena, f.text);
    }
    return status;
}

/* ---- loading ------------------------------------------------------------------------------------ */

tuff_status tuff_program_load(tuff_device *dev, const void *data, size_t size, const tuff_compile_desc *desc, tuff_program **out, char *message,
                              size_t message_size)
{
    tf_fault f = { TUFF_OK, "" };
    if (out)
        *out = NULL;
    if (!dev || !data || !out)
        tf_fault_set(&f, TUFF_E_ARGUMENT, "load: %s is NULL", !dev ? "the device" : !data ? "the capsule" : "the place for the program");
    else {
        tf_plan *plan;
        tf_str why;
        tf_str_init(&why, &dev->allocator);
        const tuff_status status = tf_capsule_choose(data, size, &dev->caps.limits, &dev->allocator, &plan, &why);
        if (status)
            tf_fault_set(&f, status, "%.900s", why.data ? why.data : "out of host memory");
        else if (tf_program_from_plan(dev, plan, desc, out, &f))
            tf_plan_destroy(plan);
        tf_str_release(&why);
    }
    if (message && message_size)
        snprintf(message, message_size, "%s", f.text);
    return f.status;
}
